"""Rules for code that runs on Linux, macOS and Windows, and the branches for systems that the tests do not run on."""

from __future__ import annotations

import ast
import os
import platform
import re
import shlex
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from benchmarks import prepare
from stages.base.git import git
from stages.base.paths import DATA_REPORT, PREPARED_DATA
from stages.experiments import workshop
from stages.report import machine
from stages.workers import process
from tests.helpers.project import SOURCE

CODE = [path for folder in ("stages", "tools", "benchmarks") for path in sorted((SOURCE / folder).rglob("*.py"))]
FILES = git("ls-files", "--cached", "--others", "--exclude-standard", root=SOURCE).splitlines()

POSIX_MODULES = {"fcntl", "grp", "posix", "pty", "pwd", "resource", "termios", "tty"}
POSIX_CALLS = {"os.fork", "os.forkpty", "os.killpg", "os.setsid", "os.mkfifo", "os.geteuid", "os.getuid", "os.chown"}
RENAMES = {"stages/workers/ray_node.py"}  # a folder that must not replace another one; a Ray cluster is Linux only
RESERVED = {"con", "prn", "aux", "nul", *(f"{name}{number}" for name in ("com", "lpt") for number in range(1, 10))}


def name_of(node: ast.expr) -> str:
    """Return a name with its dots: `os.rename`; an expression before a dot is left out: `.rename`."""
    if isinstance(node, ast.Attribute):
        return f"{name_of(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def keywords(call: ast.Call) -> dict[str, object]:
    return {
        word.arg: word.value.value if isinstance(word.value, ast.Constant) else ...
        for word in call.keywords
        if word.arg
    }


def is_text_without_encoding(call: ast.Call, name: str) -> bool:
    """Whether a call reads or writes text with the encoding of the system, which is not UTF-8 on every Windows."""
    words, method = keywords(call), name.rpartition(".")[2]
    if "encoding" in words:
        return False
    if method == "read_text":
        return not call.args
    if method == "write_text":
        return len(call.args) < 2
    if name in ("open", "io.open", "os.fdopen") or (
        method == "open" and name.partition(".")[0] not in ("Image", "os", "tarfile")
    ):
        place = 1 if name in ("open", "io.open", "os.fdopen") else 0
        mode = call.args[place] if len(call.args) > place else None
        text = mode.value if isinstance(mode, ast.Constant) else words.get("mode", "r")
        return isinstance(text, str) and "b" not in text and re.fullmatch(r"[rwax+t]+", text) is not None
    return False


def problems(source: str, path: str = "") -> Iterator[str]:
    """Yield the places of a module that do not work on every system."""
    tree = ast.parse(source)
    for statement in tree.body:
        if isinstance(statement, ast.Import | ast.ImportFrom):
            from_module = [statement.module or ""] if isinstance(statement, ast.ImportFrom) else []
            modules = from_module or [alias.name for alias in statement.names]
            yield from (f"imports {module} at the top" for module in modules if module in POSIX_MODULES)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and name_of(node) in POSIX_CALLS:
            yield f"{node.lineno}: {name_of(node)} is not on Windows"
        if not isinstance(node, ast.Call):
            continue
        name, words = name_of(node.func), keywords(node)
        if is_text_without_encoding(node, name):
            yield f"{node.lineno}: {name} has no encoding"
        if words.get("text") and "encoding" not in words and not path.startswith("benchmarks/"):
            yield f"{node.lineno}: {name} reads text without an encoding"
        if words.get("shell"):
            yield f"{node.lineno}: a shell is another one on Windows"
        if name.endswith(".rename") and path not in RENAMES:
            yield f"{node.lineno}: {name} does not replace a file on Windows: use replace"
        method = name.rpartition(".")[2]
        if method in ("Process", "Pool") and name.partition(".")[0] in ("multiprocessing", "mp", "Process", "Pool"):
            yield f"{node.lineno}: {name} needs a context that spawns"
        if method == "ProcessPoolExecutor" and not any(
            "spawn" in ast.unparse(word) for word in [*node.args, *node.keywords]
        ):
            yield f"{node.lineno}: {name} needs a context that spawns"
        if method in ("get_context", "set_start_method") and [ast.unparse(word) for word in node.args] != ["'spawn'"]:
            yield f"{node.lineno}: {name} must spawn"


@pytest.mark.parametrize("path", CODE, ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_code_runs_on_every_system(path: Path) -> None:
    assert list(problems(path.read_text(encoding="utf-8"), path.relative_to(SOURCE).as_posix())) == []


@pytest.mark.parametrize(
    "line",
    [
        "import fcntl",
        "from resource import getrusage",
        "os.fork()",
        "os.killpg(1, 9)",
        "path.read_text()",
        "path.write_text('a')",
        "path.open()",
        "path.open('w')",
        "open('a')",
        "open('a', 'w', newline='')",
        "os.fdopen(1, 'w')",
        "subprocess.run('ls', shell=True)",
        "subprocess.run(['ls'], text=True)",
        "os.rename(a, b)",
        "path.rename(other)",
        "multiprocessing.Process(target=print)",
        "Pool(2)",
        "ProcessPoolExecutor(2)",
        "get_context('fork')",
        "get_context()",
    ],
)
def test_the_check_finds(line: str) -> None:
    assert len(list(problems(line))) == 1


@pytest.mark.parametrize(
    "line",
    [
        "def work():\n    import resource",
        "path.read_text(encoding='utf-8')",
        "path.write_text('a', 'utf-8')",
        "path.open('rb')",
        "open('a', 'wb')",
        "os.replace(a, b)",
        "path.replace(other)",
        "spawn = get_context('spawn')\nspawn.Process(target=print)\nProcessPoolExecutor(2, spawn)",
        "Image.open('a')",
        "os.open('a', os.O_WRONLY)",
        "subprocess.run(['ls'], text=True, encoding='utf-8')",
    ],
)
def test_the_check_accepts(line: str) -> None:
    assert list(problems(line)) == []


def test_a_module_that_starts_processes_does_nothing_when_a_process_imports_it() -> None:
    """A spawned process imports the main module again: what stands at its top would run twice."""
    wrong = []
    for path in CODE:
        source = path.read_text(encoding="utf-8")
        if "get_context" not in source:
            continue
        for statement in ast.parse(source).body:
            call = statement.value if isinstance(statement, ast.Expr) else None
            if isinstance(call, ast.Call) or isinstance(statement, ast.For | ast.While | ast.With):
                wrong.append(f"{path.name}, line {statement.lineno}")
    assert wrong == []


def test_windows_allows_every_name_of_a_file() -> None:
    assert len(FILES) > 200
    parts = {part for file in FILES for part in file.split("/")}
    assert {part for part in parts if re.search(r'[<>:"\\|?*\x00-\x1f]|[. ]$', part)} == set()
    assert {part for part in parts if part.partition(".")[0].lower() in RESERVED} == set()
    assert [file for file in FILES if len(file) > 120] == []


def test_no_names_differ_only_in_case() -> None:
    folders = {"/".join(file.split("/")[:depth]) for file in FILES for depth in range(1, file.count("/") + 1)}
    assert [name for name, count in Counter(name.lower() for name in {*FILES, *folders}).items() if count > 1] == []


def test_the_commands_of_the_pipeline_need_no_shell() -> None:
    """On Windows, DVC runs them in cmd, which has other variables, quotes and operators than a POSIX shell."""
    stages = yaml.safe_load((SOURCE / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    commands = {name: stage["cmd"] for name, stage in stages.items()}
    assert commands
    for name, command in commands.items():
        assert shlex.split(command) == ["python", "-m", f"stages.{name}"]


def test_text_files_have_the_same_line_ends_on_every_system() -> None:
    checked = subprocess.run(
        ["git", "check-attr", "eol", "--", "params.yaml", "stages/train.py", "reports/train/metrics.json"],
        cwd=SOURCE, capture_output=True, encoding="utf-8", check=True,
    )  # fmt: skip
    assert checked.stdout.count("eol: lf") == 3


# The branches for other systems ---------------------------------------------------------------------------------------

WINDOWS_OUTPUT = """
import io, os, sys
from pathlib import Path
from stages.workers.training import output_to

class Console(io.RawIOBase):  # as on Windows: it writes to the console whatever dup2 has done to the descriptor
    def __init__(self):
        self.console = os.dup(1)
    def writable(self):
        return True
    def write(self, data):
        return os.write(self.console, data)

console = io.TextIOWrapper(io.BufferedWriter(Console()), encoding="utf-8", write_through=True)
sys.stdout = sys.stderr = console
sys.platform = "win32"
print("before")
with output_to(Path(sys.argv[1])):
    print("from Python: \\u00e9")
    os.write(1, b"from C\\n")
sys.stdout = console
print("after")
"""


def test_a_worker_on_a_windows_console_writes_its_log(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "worker.log"
    done = subprocess.run(
        [sys.executable, "-c", WINDOWS_OUTPUT, str(log)], cwd=SOURCE, capture_output=True, encoding="utf-8", check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(log.read_text(encoding="utf-8").split("\n")) == ["", "from C", "from Python: é"]
    assert done.stdout.split() == ["before", "after"]


def test_without_links_a_trial_gets_a_copy_of_the_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows allows links for some users only."""

    def refused(*_: object, **__: object) -> None:
        raise OSError(1314, "A required privilege is not held by the client")

    data = tmp_path / "main" / PREPARED_DATA
    for folder in (data, tmp_path / "main" / DATA_REPORT):
        folder.mkdir(parents=True)
    (data / "data.yaml").write_text("names: [person]\n", encoding="utf-8")
    monkeypatch.setattr(Path, "symlink_to", refused)
    trial = object.__new__(workshop.Workshop)
    trial.data, trial.root = data, tmp_path / "trial"
    trial.root.mkdir()
    trial._link_data()
    copy = trial.root / PREPARED_DATA
    assert not copy.is_symlink()
    assert (copy / "data.yaml").read_text(encoding="utf-8") == "names: [person]\n"


def test_without_an_affinity_of_processes_every_core_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """macOS and Windows do not say which cores a process may use."""
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    assert len(process.places(None, "cpu")) == 3


def test_without_a_file_about_the_processor_python_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only Linux has /proc/cpuinfo, and not on every processor with a name."""
    monkeypatch.setattr(platform, "processor", lambda: "arm")
    for content in (None, "processor : 0\n"):

        def read(*_: object, content: str | None = content, **__: object) -> str:
            if content is None:
                raise FileNotFoundError
            return content

        monkeypatch.setattr(Path, "read_text", read)
        assert machine._processor() == "arm"


def test_windows_has_no_measure_of_memory_in_the_benchmark(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setitem(sys.modules, "resource", None)  # an import of it would fail
    assert prepare._memory() is None
