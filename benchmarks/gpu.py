"""Measure how many trainings at once on one GPU are the fastest: the value for `tune.trials_per_gpu`.

    python -m benchmarks.gpu [--counts 1 2 4 8] [--epochs 3] [--device 0]

For each number, as many processes train the model of params.yaml on data/prepared at the same time, with its imgsz and
batch. The number with the most trainings in an hour is the best. The time to start a process and CUDA counts here, but
not in a study, where a worker trains one trial after another: so give enough epochs. The memory is what the trainings
add to that in use before them. `--device cpu` tries the measurement on a machine without a GPU.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil

from benchmarks.common import at_least_one, environment, last_line, scratch
from stages.base import failures
from stages.base.failures import Failure
from stages.base.formatting import markdown_table
from stages.base.paths import DATA, ROOT
from stages.report.machine import hardware

TRAIN = """
import sys
from pathlib import Path
from stages.base.paths import DATA
from stages.detector.training import train
from stages.detector.ultralytics import set_threads
from stages.params import file as params_file
folder, epochs, device = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
set_threads(1)
train({**params_file.load().training(), "epochs": epochs, "device": device}, DATA, folder)
"""


def measure(count: int, epochs: int, device: str) -> tuple[float, float]:
    """Train `count` models at the same time.

    Returns:
        The seconds until the last one has ended, and the greatest memory in GB that they use: of the GPU, or of the
        processes on a CPU.

    Raises:
        Failure: A training failed. If smaller numbers worked, lack of memory was probably the reason. The text has the
            last line that it printed.
    """
    shown = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")  # the numbers of the cards that a user may take
    card = shown[int(device)] if device != "cpu" and shown != [""] else device
    visible = {} if device == "cpu" else {"CUDA_VISIBLE_DEVICES": card}
    before = _memory([], device)
    begun, most = time.monotonic(), 0.0
    with scratch() as folder:
        arguments = [str(epochs), "cpu" if device == "cpu" else "0"]
        logs = [folder / f"{number}.log" for number in range(count)]
        processes: list[subprocess.Popen[bytes]] = []
        try:
            for log in logs:  # not at once: if one cannot start, those before it must end
                processes += [_start([str(log.with_suffix("")), *arguments], visible, log)]
            while any(process.poll() is None for process in processes):
                most = max(most, _memory(processes, device) - before)
                time.sleep(0.2)
        finally:
            for process in processes:
                process.kill()
                process.wait()
        seconds = time.monotonic() - begun
        for process, log in zip(processes, logs, strict=True):
            if process.returncode:
                printed = last_line(log.read_text(encoding="utf-8", errors="replace"))
                raise Failure(f"exit status {process.returncode}: {printed}")
    return seconds, most


def _start(arguments: list[str], visible: dict[str, str], log: Path) -> subprocess.Popen[bytes]:
    variables = environment({**visible, "PYTHONPATH": str(ROOT)})
    with log.open("wb") as output:
        command = [sys.executable, "-c", TRAIN, *arguments]
        return subprocess.Popen(command, cwd=ROOT, env=variables, stdout=output, stderr=subprocess.STDOUT)


def _memory(processes: list[subprocess.Popen[bytes]], device: str) -> float:
    """Return the memory in use, in GB: of the whole GPU, or of the processes on a CPU."""
    if device != "cpu":
        import torch

        free, whole = torch.cuda.mem_get_info(int(device))
        return (whole - free) / 1e9
    used = 0.0
    for process in processes:
        try:
            used += psutil.Process(process.pid).memory_info().rss / 1e9
        except psutil.NoSuchProcess:
            continue
    return used


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--counts", type=at_least_one, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--epochs", type=at_least_one, default=3)
    parser.add_argument("--device", default="0", help="the number of a GPU, or cpu")
    options = parser.parse_args()
    if not (DATA / "data.yaml").is_file():
        raise Failure("data/prepared is missing: run `dvc repro prepare`")
    if options.device != "cpu":
        import torch

        if not torch.cuda.is_available():
            raise Failure("torch finds no GPU here; `--device cpu` tries the measurement without one")
        if not options.device.isdecimal() or int(options.device) >= torch.cuda.device_count():
            parser.error(f"--device must be cpu or a number below {torch.cuda.device_count()}, the number of GPUs")
    print(hardware())
    rows, rates = [], {}
    for count in options.counts:
        try:
            seconds, memory = measure(count, options.epochs, options.device)
        except Failure as failure:
            print(f"{count} at once failed: {failure}", file=sys.stderr)
            rows.append([str(count), "failed", "-", "-"])
            break
        rates[count] = 3600 * count / seconds
        rows.append([str(count), f"{seconds:.1f}", f"{rates[count]:.0f}", f"{memory:.1f}"])
    print("\n".join(markdown_table(("trainings at once", "seconds", "trainings in an hour", "memory in GB"), rows)))
    if rates:
        print(f"tune.trials_per_gpu: {max(rates, key=lambda count: rates[count])}")


if __name__ == "__main__":
    failures.run(main)
