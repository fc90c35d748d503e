"""Describe the machine and the package versions that produced the results."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path

import psutil

PACKAGES = ("ultralytics", "torch", "optuna", "dvc", "mlflow")


def hardware() -> str:
    """Return the processor, its cores, the memory and the GPUs of this machine as text."""
    import torch  # takes seconds, and only the full report names the GPUs

    cores = psutil.cpu_count(logical=False) or os.cpu_count() or 1
    parts = [f"{_processor()}, {cores} cores", f"{psutil.virtual_memory().total / 2**30:.0f} GiB of memory"]
    gpus = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    return "; ".join([*parts, ", ".join(gpus) or "no GPU"])


def _processor() -> str:
    try:  # on Linux, Python knows the architecture but not the name of the processor
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def versions() -> str:
    """Return the versions of Python and of the packages that results depend on as text."""
    return ", ".join([f"Python {platform.python_version()}", *(f"{name} {version(name)}" for name in PACKAGES)])
