"""Pin every dependency for Linux, macOS and Windows and Python 3.11 to 3.13.

    python tools/lock.py [--upgrade]

Reads requirements.in, requirements-dev.in, requirements-ray.in and, for the environment of ZenML,
integrations/zenml/requirements.in. Writes the pins of each to a file of its name, and requirements-cuda.txt, which has
the NVIDIA libraries of torch on Linux. These are constraints and not requirements, so that a machine with torch's CPU
build does not install gigabytes that it cannot use. It needs uv (`pip install uv`).
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
UV = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--universal", "--python-version", "3.11"]
UV += ["--no-emit-index-url", "--no-header", "--annotation-style", "line"]
CUDA = re.compile(r"(nvidia-(?!ml-py)|cuda-|triton==)")


def compiled(source: str, present: list[str], *options: str) -> list[str]:
    """Return the pins for a file of direct dependencies. Without --upgrade, the present pins stay if they still fit."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "pins.txt"
        target.write_text("\n".join(present) + "\n", encoding="utf-8")
        subprocess.run([*UV, source, "--output-file", str(target), *options], cwd=ROOT, check=True)
        return pins(target)


def pins(path: Path) -> list[str]:
    """Return the present pins of a file, or none if it does not exist."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return [line for line in lines if line and not line.startswith(("#", "-c"))]


def write(name: str, *lines: str) -> None:
    """Write the lines to a file of the repository."""
    (ROOT / name).write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--upgrade", action="store_true", help="allow new versions")
    options = ["--upgrade"] if parser.parse_args().upgrade else []
    present = [*pins(ROOT / "requirements.txt"), *pins(ROOT / "requirements-cuda.txt")]
    everything = compiled("requirements.in", present, *options)
    by = "by `python tools/lock.py`"
    write(
        "requirements-cuda.txt", f"# torch's NVIDIA libraries on Linux, pinned {by}.", *filter(CUDA.match, everything)
    )
    others = [line for line in everything if not CUDA.match(line)]
    write("requirements.txt", f"# Everything, pinned {by}.", "-c requirements-cuda.txt", *others)
    for name, purpose in (
        ("requirements-dev", "For the tests"),
        ("requirements-ray", "For a Ray cluster"),
        ("integrations/zenml/requirements", "For ZenML"),
    ):
        pinned = compiled(f"{name}.in", pins(ROOT / f"{name}.txt"), *options)
        write(f"{name}.txt", f"# {purpose}, pinned {by}.", *pinned)


if __name__ == "__main__":
    main()
