"""Pin every dependency for Linux, macOS and Windows and Python 3.11 to 3.13.

    python tools/lock.py [--upgrade]

Reads requirements.in and requirements-dev.in; writes requirements.txt, requirements-dev.txt, and requirements-cuda.txt:
the NVIDIA libraries that torch brings along on Linux. They are constraints, not requirements, so that a machine with
torch's CPU build does not install gigabytes that it cannot use. Needs uv (`pip install uv`).
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
UV = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--universal", "--python-version", "3.11"]
UV += ["--no-emit-index-url", "--no-header", "--annotation-style", "line"]
CUDA = re.compile(r"(nvidia-(?!ml-py)|cuda-|triton==)")


def compiled(source: str, target: str) -> list[str]:
    """The pins of a file of direct dependencies. Without --upgrade, pins of `target` that still fit are kept."""
    command = [*UV, source, "--output-file", target, *sys.argv[1:]]
    subprocess.run(command, cwd=ROOT, check=True)
    return (ROOT / target).read_text(encoding="utf-8").splitlines()


def main() -> None:
    kept = ROOT / "requirements.txt"
    cuda = ROOT / "requirements-cuda.txt"
    if kept.exists() and cuda.exists():  # uv takes the present pins from the file that it writes
        kept.write_text(kept.read_text(encoding="utf-8") + cuda.read_text(encoding="utf-8"), encoding="utf-8")
    pins = compiled("requirements.in", "requirements.txt")
    written = "by `python tools/lock.py`"
    cuda.write_text(
        "\n".join([f"# torch's NVIDIA libraries on Linux, pinned {written}.", *filter(CUDA.match, pins)]) + "\n",
        encoding="utf-8",
    )
    others = [line for line in pins if not CUDA.match(line) and not line.startswith(("#", "-c"))]
    kept.write_text(
        "\n".join([f"# Everything, pinned {written}.", "-c requirements-cuda.txt", *others]) + "\n", encoding="utf-8"
    )
    compiled("requirements-dev.in", "requirements-dev.txt")


if __name__ == "__main__":
    main()
