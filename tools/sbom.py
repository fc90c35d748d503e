"""Write a bill of materials and a report of licences: sbom/bom.json (CycloneDX) and sbom/licences.md.

    python tools/sbom.py

Both list the packages of requirements.txt and requirements-cuda.txt that this environment has, so on Linux with torch's
CPU build no library of NVIDIA. Packages of the tests are left out. It needs cyclonedx-bom, of requirements-dev.txt.
"""

from __future__ import annotations

import json
import platform
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "sbom"
PIN = re.compile(r"^([\w.-]+)==", re.MULTILINE)


def normal(name: str) -> str:
    """Return the name of a package as package indexes compare names."""
    return re.sub(r"[-_.]+", "-", name).lower()


def pinned() -> set[str]:
    """Return the names of the packages that a run needs."""
    files = (ROOT / "requirements.txt", ROOT / "requirements-cuda.txt")
    return {normal(name) for file in files for name in PIN.findall(file.read_text(encoding="utf-8"))}


def installed(python: str = sys.executable) -> dict[str, Any]:
    """Return the bill of materials of all packages in an environment.

    Raises:
        subprocess.CalledProcessError: The environment cannot be read. The program has printed the reason.
    """
    command = [sys.executable, "-m", "cyclonedx_py", "environment", "--output-reproducible", python]
    return dict(json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout))


def only(bill: dict[str, Any], names: set[str]) -> dict[str, Any]:
    """Return a bill of materials with the packages of some names, and the arrows between them."""
    components = [component for component in bill["components"] if normal(component["name"]) in names]
    kept = {component["bom-ref"] for component in components}
    arrows = [
        {**arrow, "dependsOn": depends} if (depends := [ref for ref in arrow.get("dependsOn", ()) if ref in kept])
        else {"ref": arrow["ref"]}
        for arrow in bill["dependencies"] if arrow["ref"] in kept
    ]  # fmt: skip
    return {**bill, "components": components, "dependencies": arrows}


def licence(component: dict[str, Any]) -> str:
    """Return the licences that a package declares, or "not declared"."""
    names = []
    for entry in component.get("licenses", ()):
        inside = entry.get("license", {})
        name = entry.get("expression") or inside.get("id") or inside.get("name", "")
        names.append(" ".join(name.rpartition("::")[2].split())[:120])
    return "; ".join(dict.fromkeys(filter(None, names))) or "not declared"


def report(components: Iterable[dict[str, Any]]) -> str:
    """Return the licences of packages in Markdown: the number of each, then a line for each package."""
    rows = sorted((normal(component["name"]), component["version"], licence(component)) for component in components)
    counts = Counter(licence for _, _, licence in rows)
    system = f"{platform.system()}, Python {platform.python_version()}"
    lines = [
        "# Licences of the packages of a run",
        f"{len(rows)} packages on {system}. The texts are what the packages declare. This project: AGPL-3.0 (LICENSE).",
        "| Licence | Packages |\n|---|---:|\n" + "\n".join(f"| {name} | {n} |" for name, n in counts.most_common()),
        "| Package | Version | Licence |\n|---|---|---|\n" + "\n".join(f"| {' | '.join(row)} |" for row in rows),
    ]
    return "\n\n".join(lines) + "\n"


def main() -> None:
    bill = only(installed(), pinned())
    FOLDER.mkdir(exist_ok=True)
    for name, text in (("bom.json", json.dumps(bill, indent=2) + "\n"), ("licences.md", report(bill["components"]))):
        (FOLDER / name).write_text(text, encoding="utf-8", newline="\n")
    print(f"{len(bill['components'])} packages: sbom/bom.json and sbom/licences.md")


if __name__ == "__main__":
    main()
