"""Where results come from: the machine and the versions that made them."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path

import psutil

PACKAGES = ("ultralytics", "torch", "optuna", "dvc", "mlflow")


def hardware() -> str:
    """The processor, its cores, the memory and the GPUs of this machine."""
    import torch  # takes seconds, and only a whole report names the GPUs

    cores = psutil.cpu_count(logical=False) or os.cpu_count() or 1
    parts = [f"{_processor()}, {cores} cores", f"{psutil.virtual_memory().total / 2**30:.0f} GiB of memory"]
    gpus = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    return "; ".join([*parts, ", ".join(gpus) or "no GPU"])


def _processor() -> str:
    try:  # elsewhere Python knows the name; on Linux it knows the architecture alone
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def versions() -> str:
    """Python and the packages that results depend on."""
    return ", ".join([f"Python {platform.python_version()}", *(f"{name} {version(name)}" for name in PACKAGES)])
