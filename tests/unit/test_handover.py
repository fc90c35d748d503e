"""The files by which a repository is handed over: valid by their schemas, and true of this project."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from stages.base.git import git
from tests.helpers.project import SOURCE, Project

GITHUB = SOURCE / ".github"
FORMS = [path for path in sorted((GITHUB / "ISSUE_TEMPLATE").glob("*.yml")) if path.name != "config.yml"]
SCHEMAS = {
    "citation-file-format": [SOURCE / "CITATION.cff"],
    "dependabot": [GITHUB / "dependabot.yml"],
    "github-issue-config": [GITHUB / "ISSUE_TEMPLATE" / "config.yml"],
    "github-issue-forms": FORMS,
    "github-workflows": sorted((GITHUB / "workflows").glob("*.yml")),
}
PROGRAMS = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
PRE_COMMIT = SOURCE / ".pre-commit-config.yaml"


def ran(*command: str, folder: Path = SOURCE) -> subprocess.CompletedProcess[str]:
    program = shutil.which(command[0], path=PROGRAMS)
    assert program is not None, f"{command[0]} is not installed: python -m pip install -r requirements-dev.txt"
    return subprocess.run(
        [program, *command[1:]], cwd=folder, env=Project(folder).environment({"PATH": PROGRAMS}), capture_output=True,
        encoding="utf-8", check=False,
    )  # fmt: skip


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("schema", sorted(SCHEMAS))
def test_a_file_has_the_form_of_its_schema(schema: str) -> None:
    assert SCHEMAS[schema]
    done = ran("check-jsonschema", "--builtin-schema", f"vendor.{schema}", *map(str, SCHEMAS[schema]))
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_wrong_workflow_is_found(tmp_path: Path) -> None:
    """The check works without a network."""
    file = tmp_path / "wrong.yml"
    file.write_text("on: push\njobs: {test: {runs-on: linux, stepz: []}}\n", encoding="utf-8")
    assert ran("check-jsonschema", "--builtin-schema", "vendor.github-workflows", str(file)).returncode == 1


def test_the_workflows_have_no_known_risk(tmp_path: Path) -> None:
    done = ran("zizmor", "--offline", "--pedantic", "--quiet", str(GITHUB))
    assert done.returncode == 0, done.stdout + done.stderr
    (tmp_path / "risk.yml").write_text(
        "on: issues\njobs: {a: {runs-on: linux, steps: [{run: 'echo ${{ github.event.issue.title }}'}]}}\n",
        encoding="utf-8",
    )
    assert ran("zizmor", "--offline", "--quiet", str(tmp_path / "risk.yml")).returncode != 0


def test_each_hook_is_a_program_of_this_environment() -> None:
    assert ran("pre-commit", "validate-config", str(PRE_COMMIT)).returncode == 0
    (repo,) = read(PRE_COMMIT)["repos"]
    assert repo["repo"] == "local"
    for hook in repo["hooks"]:
        assert hook["language"] == "system"
        assert shutil.which(hook["entry"].split()[0], path=PROGRAMS), hook["entry"]


def test_the_hooks_check_what_lint_checks() -> None:
    lint = (SOURCE / "Makefile").read_text(encoding="utf-8").partition("\nlint:")[2].partition("\n\n")[0]
    programs = re.findall(r"^\t\$\(BIN\)/(.+)$", lint, flags=re.MULTILINE)
    entries = " ".join(hook["entry"] for hook in read(PRE_COMMIT)["repos"][0]["hooks"])
    assert programs
    assert [line for line in programs if line.replace(" --check", "").removesuffix(" .") not in entries] == []


@pytest.mark.parametrize(
    ("name", "content", "hook"),
    [
        ("large.bin", b"x" * 600_000, "large-files"),
        ("notes.md", b"<<<<<<< HEAD\none\n=======\nother\n>>>>>>> branch\n", "merge-markers"),
        ("Params.yaml", b"{}\n", "case-conflict"),
        ("bad.py", b"import os\n", "ruff-check"),
    ],
)
def test_a_commit_that_must_not_be_is_refused(tmp_path: Path, name: str, content: bytes, hook: str) -> None:
    project = Project(tmp_path)
    for file in (".pre-commit-config.yaml", "pyproject.toml"):
        shutil.copyfile(SOURCE / file, tmp_path / file)
    (tmp_path / "params.yaml").write_text("{}\n", encoding="utf-8")
    project.run("git", "init", "-q")
    project.commit()
    assert ran("pre-commit", "run", hook, "--all-files", folder=tmp_path).returncode == 0
    (tmp_path / name).write_bytes(content)
    project.run("git", "add", "-A")
    done = ran("pre-commit", "run", hook, folder=tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Failed" in done.stdout


def test_the_container_has_the_python_of_the_services_and_makes_the_environment() -> None:
    container = json.loads((SOURCE / ".devcontainer" / "devcontainer.json").read_text(encoding="utf-8"))
    compose = (SOURCE / "docker-compose.yml").read_text(encoding="utf-8")
    (image,) = re.findall(r"FROM (python:\S+)-slim", compose)
    assert container["image"] == image
    (target,) = re.findall(r"make (\S+)", container["postCreateCommand"])
    assert re.search(rf"^{re.escape(target)}:", (SOURCE / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    packages = re.findall(r"lib\S+", container["onCreateCommand"])
    assert " ".join(packages) in (SOURCE / "docs" / "installation.md").read_text(encoding="utf-8")
    assert "TORCH_INDEX" in container["containerEnv"]


def test_the_citation_has_the_title_and_the_licence_of_the_readme() -> None:
    citation = read(SOURCE / "CITATION.cff")
    readme = (SOURCE / "README.md").read_text(encoding="utf-8")
    assert citation["cff-version"] == "1.2.0"
    assert readme.startswith(f"# {citation['title']}\n")
    assert f"[{citation['license']}](LICENSE)" in readme


TEXTS = [GITHUB / "pull_request_template.md", *FORMS]  # tests/unit/test_docs.py reads the pages


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.name)
def test_every_path_and_link_of_a_text_exists(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    known = {
        Path(name).name
        for name in git("ls-files", "--cached", "--others", "--exclude-standard", root=SOURCE).splitlines()
    }
    names = re.findall(r"(?<![\w./])[\w./-]*\w\.(?:md|yml|yaml|lock|toml)\b", text) + re.findall(r"\]\(([^)#]+)", text)
    assert [name for name in names if Path(name).name not in known] == []


def test_a_vulnerability_is_reported_in_private() -> None:
    assert "Do not open a public issue" in (SOURCE / "SECURITY.md").read_text(encoding="utf-8")
    assert "SECURITY.md" in (GITHUB / "ISSUE_TEMPLATE" / "bug.yml").read_text(encoding="utf-8")
