"""The documentation: every command, link and path in it exists."""

from __future__ import annotations

import ast
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

import click
import pytest
from dvc.cli import DvcParserError
from dvc.cli.parser import get_main_parser

from stages.__main__ import cli
from stages.base.git import git
from tests.helpers.project import SOURCE

PAGES = [
    SOURCE / "README.md",
    SOURCE / "CONTRIBUTING.md",
    SOURCE / "SECURITY.md",
    *sorted((SOURCE / "docs").glob("*.md")),
]
LANGUAGES = {"bash", "powershell", "python", "text", "yaml"}
# programs that a test machine may lack
ELSEWHERE = ("apt-get", "docker", "export", "make", "py", "python", "python3", "ray", "scp", "source", "srun", "ssh",
             "zenml")  # fmt: skip
FOLDERS = ("benchmarks", "data", "docs", "integrations", "models", "presets", "reports", "stages", "tests", "tools")
README_LINES = 130
PROGRAMS = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])

PATH = re.compile(rf"(?<![\w./:-])(?:{'|'.join(FOLDERS)})/[\w./*-]*[\w*/]")
NAME = re.compile(r"(?<![\w./*-])[\w.*-]+\.(?:md|toml|lock|txt|in)\b(?!\()")
INLINE = re.compile(r"`([^`]+)`")
LINK = re.compile(r"\]\(([^)\s]+)\)")

of_pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def fences(page: Path) -> Iterator[tuple[str, str]]:
    """Yield the language and the text of each fence."""
    language: str | None = None
    lines: list[str] = []
    for line in page.read_text(encoding="utf-8").splitlines():
        if line.lstrip().startswith("```"):
            if language is None:
                language, lines = line.strip().removeprefix("```"), []
            else:
                yield language, "\n".join(lines)
                language = None
        else:
            lines.append(line)
    assert language is None, f"{page.name}: the last fence is not closed"


def prose(page: Path) -> str:
    return re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


def commands(page: Path) -> list[list[str]]:
    """Return the words of each command in a fence, and of each inline command of make, dvc, git and Python."""
    lines = [
        line for language, text in fences(page) if language in ("bash", "powershell") for line in text.splitlines()
    ]
    lines += [span for span in INLINE.findall(prose(page)) if re.match(r"(make|dvc|git|python -m) ", span)]
    words = [shlex.split(line, comments=True, posix="\\" not in line) for line in lines if not line.startswith("$env:")]
    return [command for command in words if command]


def dvc_error(arguments: Sequence[str]) -> str:
    try:
        get_main_parser().parse_args(arguments)
    except (DvcParserError, SystemExit) as error:
        return f"dvc's parser refuses it: {error}"
    return ""


def git_error(arguments: Sequence[str]) -> str:
    return "" if arguments[0] in git("--list-cmds=main").split() else "git has no such command"


def make_error(arguments: Sequence[str]) -> str:
    text = (SOURCE / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", text, flags=re.MULTILINE))
    variables = set(re.findall(r"\$\((?:if \$\()?([A-Z_]+)\)", text))
    unknown = [word for word in arguments if word.partition("=")[0] not in (variables if "=" in word else targets)]
    return f"the Makefile has no {', '.join(unknown)}" if unknown else ""


def python_error(arguments: Sequence[str]) -> str:
    if arguments[0] != "-m":
        return "" if (SOURCE / arguments[0]).is_file() else f"{arguments[0]} does not exist"
    module, rest = arguments[1], list(arguments[2:])
    if module == "stages":
        name = rest[0] if rest else "--help"
        if name == "--help":
            return ""
        if name not in cli.commands:
            return f"python -m stages has no command {name}"
        try:
            cli.commands[name].make_context(name, rest[1:])
        except click.ClickException as error:
            return error.format_message()
        return ""
    return "" if find_spec(module) else f"there is no module {module}"


CHECKS = {"dvc": dvc_error, "git": git_error, "make": make_error, "python": python_error}


def slug(heading: str) -> str:
    """Return the anchor that GitHub gives to a heading."""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


def anchors(page: Path) -> set[str]:
    return {slug(heading) for heading in re.findall(r"^#+ (.+)$", prose(page), flags=re.MULTILINE)}


def is_there(path: str) -> bool:
    """Whether a path exists, or git ignores it: such a file is made by a command."""
    if "*" in path:
        return any(SOURCE.glob(path))
    return (SOURCE / path).exists() or not subprocess.run(
        ["git", "check-ignore", "-q", path], cwd=SOURCE, check=False
    ).returncode


@of_pages
def test_every_fence_has_a_known_language(page: Path) -> None:
    assert {language for language, _ in fences(page)} <= LANGUAGES


@of_pages
def test_every_command_exists(page: Path) -> None:
    wrong = []
    for command in commands(page):
        name, arguments = command[0], command[1:]
        if name in CHECKS and arguments:
            error = CHECKS[name](arguments)
        else:
            there = name in ELSEWHERE or shutil.which(name, path=PROGRAMS) or name.endswith("activate")
            error = "" if there else "there is no such program"
        if error:
            wrong.append(f"{' '.join(command)}: {error}")
    assert wrong == []


@of_pages
def test_every_python_fence_is_valid_and_imports_names_that_exist(page: Path) -> None:
    for language, text in fences(page):
        if language != "python":
            continue
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("stages"):
                spec = find_spec(node.module or "")
                assert spec is not None, node.module
                assert spec.origin is not None
                body = ast.parse(Path(spec.origin).read_text(encoding="utf-8")).body
                defined = {item.name for item in body if isinstance(item, ast.FunctionDef | ast.ClassDef)}
                assert {alias.name for alias in node.names} <= defined


@pytest.mark.parametrize("page", [*PAGES, SOURCE / "CHANGELOG.md"], ids=lambda page: page.name)
def test_every_relative_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    for target in LINK.findall(prose(page)):
        if target.startswith(("http://", "https://")):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), target


@of_pages
def test_every_path_exists(page: Path) -> None:
    text = re.sub(r"https?://\S+", "", LINK.sub("]", page.read_text(encoding="utf-8")))
    names = {Path(line).name for line in git("ls-files", "--cached", "--others", "--exclude-standard").splitlines()}
    missing = [path for path in PATH.findall(text) if not is_there(path)]
    missing += [name for name in NAME.findall(text) if not any(Path(known).match(name) for known in names)]
    assert missing == []


@of_pages
def test_every_pinned_version_is_that_of_the_requirements(page: Path) -> None:
    pins = (SOURCE / "requirements.txt").read_text(encoding="utf-8")
    for pin in re.findall(r"[\w-]+==[\d.]+\d", page.read_text(encoding="utf-8")):
        assert re.search(rf"^{re.escape(pin)}(?![\d.])", pins, flags=re.MULTILINE), pin


def test_every_file_and_folder_of_the_tree_in_the_readme_exists() -> None:
    tree = next(text for _, text in fences(SOURCE / "README.md") if "\nstages/ " in text)
    top = ""
    for line in tree.splitlines():
        for name in re.split(r"\s{3,}", line.strip())[0].split():
            top = "" if not line.startswith(" ") else top
            assert (SOURCE / top / name).exists(), name
            top = top or name


def test_every_section_that_the_page_on_tuning_explains_is_in_the_report() -> None:
    page = (SOURCE / "docs" / "tuning.md").read_text(encoding="utf-8").partition("## Read reports/decision.md")[2]
    explained = set(re.findall(r"^### (.+)$", page, flags=re.MULTILINE)) - {"The short report"}
    template = (SOURCE / "stages" / "report" / "decision.md.j2").read_text(encoding="utf-8")
    sections = set(re.findall(r"^##? (.+)$", template, flags=re.MULTILINE)) - {"What is missing"}
    assert explained == sections


def test_the_readme_is_short() -> None:
    assert len((SOURCE / "README.md").read_text(encoding="utf-8").splitlines()) <= README_LINES
