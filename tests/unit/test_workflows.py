"""The workflows of .github: valid, with few rights, and each of their shell steps runs, as far as it can run here."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from stages.base.git import git
from tests.helpers.project import SOURCE, Project

FOLDER = SOURCE / ".github" / "workflows"
WORKFLOWS = sorted(FOLDER.glob("*.yml"))
PROGRAMS = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
BASH = shutil.which("bash")

INSTALLATION = {"Install the libraries of OpenCV", "Install the packages", "Install pip-audit"}
"""Steps that no test runs: they need the network or change the machine."""
DOCUMENTED = {
    "Run the tests that take long": "CONTRIBUTING.md",
    "Run the fast tests": "docs/installation.md",
    "Run the pipeline": "docs/installation.md",
}
"""Steps that other tests do, and the page that gives the same command to users."""
RUN_HERE = {
    "Audit the pins",
    "Draw the plots beside those of the base",
    "Install torch for the CPU",
    "Run lint and tests",
    "Write the summary",
}

of_workflows = pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
needs_bash = pytest.mark.skipif(BASH is None or sys.platform == "win32", reason="the steps run in bash on Linux")


def read(path: Path) -> dict[str, Any]:
    # YAML 1.1 reads the key `on` as true; GitHub does not
    return {"on" if key is True else key: value for key, value in yaml.safe_load(path.read_text("utf-8")).items()}


def steps() -> Iterator[dict[str, Any]]:
    for path in WORKFLOWS:
        for job in read(path)["jobs"].values():
            yield from job["steps"]


def script(name: str) -> str:
    """Return the shell script of a step. Steps of one name in several workflows must be the same."""
    (text,) = {step["run"] for step in steps() if step.get("name") == name}
    return str(text)


def run(name: str, folder: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a step as GitHub does with `shell: bash`."""
    assert BASH is not None
    variables = Project(folder).environment({"PATH": PROGRAMS, **env})
    command = [BASH, "--noprofile", "--norc", "-eo", "pipefail", "-c", script(name)]
    return subprocess.run(command, cwd=folder, env=variables, capture_output=True, encoding="utf-8", check=False)


@of_workflows
def test_a_workflow_has_few_rights_and_ends(path: Path) -> None:
    workflow = read(path)
    assert workflow["permissions"] == {"contents": "read"}
    assert workflow["concurrency"]["group"] == "${{ github.workflow }}-${{ github.ref }}"
    assert workflow["defaults"] == {"run": {"shell": "bash"}}
    for job in workflow["jobs"].values():
        assert 0 < job["timeout-minutes"] <= 120
        assert "permissions" not in job
    assert "pull_request_target" not in workflow["on"]
    assert "secrets." not in path.read_text(encoding="utf-8")


@of_workflows
def test_an_action_is_pinned_by_its_commit_with_the_version_in_a_comment(path: Path) -> None:
    lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if "uses:" in line]
    assert lines
    for line in lines:
        assert re.fullmatch(r"(- )?uses: actions/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line)


def test_one_action_has_one_version() -> None:
    names = {step["uses"] for step in steps() if "uses" in step}
    assert len({name.partition("@")[0] for name in names}) == len(names)


@of_workflows
def test_no_workflow_names_a_package_index(path: Path) -> None:
    assert not re.search(r"https?://|index-url(?! \"\$TORCH_INDEX\")", path.read_text(encoding="utf-8"))


def test_the_tests_run_on_each_system_with_each_python_of_the_readme() -> None:
    job = read(FOLDER / "tests.yml")["jobs"]["fast"]
    readme = (SOURCE / "README.md").read_text(encoding="utf-8")
    (versions,) = re.findall(r"You need Python (3\.\d+), (3\.\d+) or (3\.\d+),", readme)
    assert job["strategy"]["matrix"]["python"] == list(versions)
    assert [re.split(r"-", name)[0] for name in job["strategy"]["matrix"]["system"]] == ["ubuntu", "macos", "windows"]


def test_every_list_of_packages_is_audited_when_it_changes() -> None:
    audit = read(FOLDER / "audit.yml")
    tracked = git("ls-files", "requirements*.txt", "*/requirements.txt", root=SOURCE).split()
    audited = audit["jobs"]["audit"]["strategy"]["matrix"]["requirements"]
    assert sorted(audited) == sorted(tracked)
    paths = audit["on"]["pull_request"]["paths"]
    assert [name for name in audited if not any(Path(name).match(path) for path in paths)] == []


def test_the_pipeline_runs_when_something_that_decides_a_result_changes() -> None:
    paths = read(FOLDER / "experiment.yml")["on"]["pull_request"]["paths"]
    stages = yaml.safe_load((SOURCE / "dvc.yaml").read_text(encoding="utf-8"))["stages"].values()
    needed = {dependency for stage in stages for dependency in stage["deps"]}
    made = ("data/", "models/", "reports/")  # by an earlier stage
    code = {name for name in needed if not name.startswith(made)} | {"params.yaml", "dvc.yaml", "dvc.lock"}
    folders = tuple(path.removesuffix("**") for path in paths if path.endswith("/**"))
    assert {name for name in code if name not in paths and not name.startswith(folders)} == set()


def test_every_shell_step_is_installed_documented_or_run_here() -> None:
    names = {step["name"] for step in steps() if "run" in step}
    assert names == INSTALLATION | set(DOCUMENTED) | RUN_HERE
    for step in steps():
        assert "${{" not in step.get("run", ""), "a value of GitHub in a script is a way to run code: use env"


@pytest.mark.parametrize("name", sorted(DOCUMENTED))
def test_a_step_has_the_command_of_the_documentation(name: str) -> None:
    page = (SOURCE / DOCUMENTED[name]).read_text(encoding="utf-8")
    assert re.search(rf"^{re.escape(script(name).strip())}(\s|$)", page, flags=re.MULTILINE)


def test_the_files_that_are_installed_exist() -> None:
    scripts = "\n".join(step["run"] for step in steps() if step.get("name") in INSTALLATION)
    files = re.findall(r"-r (\S+)", scripts)
    assert files
    assert [name for name in files if not (SOURCE / name).is_file()] == []


@needs_bash
def test_torch_is_installed_from_the_index_of_the_variable_in_the_pinned_versions(tmp_path: Path) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "python").write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n', encoding="utf-8")
    (programs / "python").chmod(0o755)
    shutil.copyfile(SOURCE / "requirements.txt", tmp_path / "requirements.txt")
    path = f"{programs}{os.pathsep}{PROGRAMS}"
    done = run("Install torch for the CPU", tmp_path, PATH=path, RUNNER_TEMP=str(tmp_path), TORCH_INDEX="the index")
    arguments = ["-m", "pip", "install", "--index-url", "the index", "-r", str(tmp_path / "torch.txt")]
    assert (done.returncode, done.stdout.splitlines()) == (0, arguments)
    pins = (tmp_path / "torch.txt").read_text(encoding="utf-8").split()
    assert [pin.partition("==")[0] for pin in pins] == ["torch", "torchvision"]


@needs_bash
@pytest.mark.skipif(shutil.which("make") is None, reason="make is not on this machine")
@pytest.mark.parametrize("index", ["", "INDEX"])
def test_make_installs_torch_from_the_index_and_runs_lint_and_tests(tmp_path: Path, index: str) -> None:
    for name in ("Makefile", "requirements.txt", "requirements-cuda.txt", "requirements-dev.txt"):
        shutil.copyfile(SOURCE / name, tmp_path / name)
    done = run("Run lint and tests", tmp_path, MAKEFLAGS="n", TORCH_INDEX=index)
    assert done.returncode == 0, done.stderr
    assert ("--index-url INDEX torch==" in done.stdout) == bool(index)
    for command in (
        "ruff check .",
        "mypy",
        "lint-imports --no-cache",
        'pytest -m "not long and not ray and not zenml"',
    ):
        assert re.search(rf"^\.venv/bin/{re.escape(command)}$", done.stdout, flags=re.MULTILINE)


@needs_bash
def test_the_audit_fails_unless_every_package_was_audited(tmp_path: Path) -> None:
    """pip-audit itself needs the network. Its options decide whether a package that it does not find is an error."""
    (tmp_path / "pip-audit").write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n', encoding="utf-8")
    (tmp_path / "pip-audit").chmod(0o755)
    done = run("Audit the pins", tmp_path, PATH=f"{tmp_path}{os.pathsep}{PROGRAMS}", REQUIREMENTS="requirements.txt")
    assert (done.returncode, done.stdout.splitlines()[-2:]) == (0, ["-r", "requirements.txt"])
    assert "--strict" in done.stdout.splitlines()


@pytest.fixture(scope="module")
def changed(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A repository with the committed results, after a run with other metrics."""
    project = Project(tmp_path_factory.mktemp("changed"))
    for name in git("ls-files", "--cached", "--others", "--exclude-standard", root=SOURCE).splitlines():
        if name.startswith(("reports/", "dvc.", "params.yaml", ".dvc")) and (SOURCE / name).is_file():
            (project.root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(SOURCE / name, project.root / name)
    project.run("git", "init", "-q")
    project.keep_caches_inside()
    project.commit("the base")
    metrics = project.text("reports/evaluate/metrics.json")
    project.replace("reports/evaluate/metrics.json", re.findall(r'"mAP50": [\d.]+', metrics)[0], '"mAP50": 0.99')
    shutil.copyfile(SOURCE / "reports" / "example" / "decision.md", project.root / "reports" / "decision.md")
    return project


@needs_bash
def test_the_summary_has_the_metrics_beside_the_base_and_the_decision_without_broken_pictures(
    changed: Project, tmp_path: Path
) -> None:
    summary = tmp_path / "summary.md"
    summary.write_text("from a step before\n", encoding="utf-8")
    base = changed.run("git", "rev-parse", "HEAD").stdout.strip()
    done = run("Write the summary", changed.root, BASE=base, ARTIFACT="LINK", GITHUB_STEP_SUMMARY=str(summary))
    assert (done.returncode, done.stderr) == (0, "")
    text = summary.read_text(encoding="utf-8")
    assert text.startswith("from a step before\n## Metrics\n")
    assert f"({base[:7]})" in text
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("| ")]
    (row,) = (row for row in rows if row[:2] == ["reports/evaluate/metrics.json", "mAP50"])
    assert row[3] == "0.99"
    assert float(row[4]) == pytest.approx(0.99 - float(row[2]), abs=1e-4)
    assert "[results](LINK)" in text
    assert "\n# Decision\n" in text
    assert "![" not in text
    assert "reports/figures/progress.png in the artifact" in text
    assert len(text.encode("utf-8")) < 2**20, "GitHub shows at most 1 MiB"


@needs_bash
def test_a_summary_without_metrics_fails(changed: Project, tmp_path: Path) -> None:
    summary = tmp_path / "summary.md"
    done = run("Write the summary", changed.root, BASE="nowhere", ARTIFACT="", GITHUB_STEP_SUMMARY=str(summary))
    assert done.returncode != 0


@needs_bash
def test_the_plots_are_drawn_where_the_artifact_expects_them(changed: Project) -> None:
    base = changed.run("git", "rev-parse", "HEAD").stdout.strip()
    done = run("Draw the plots beside those of the base", changed.root, BASE=base)
    assert done.returncode == 0, done.stderr
    (upload,) = (step for step in steps() if step.get("id") == "upload")
    folders = upload["with"]["path"].split()
    assert folders == ["dvc_plots", "reports"]
    page = (changed.root / folders[0] / "index.html").read_text(encoding="utf-8")
    assert base[:7] in page or base in page
    assert "workspace" in page
