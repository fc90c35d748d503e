"""A git and DVC repository with this project's files, in which tests run the commands that users type."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from stages.params.preset import with_preset

SOURCE = Path(__file__).resolve().parents[2]
FAKES = SOURCE / "tests" / "fakes" / "site"
COCO128 = SOURCE.parent / "shared" / "coco128"

# A pipeline that shows everything and takes seconds: 24 drawn pictures, one epoch, few and short trials.
SMALL = {
    "epochs: 4 ": "epochs: 1 ",
    "imgsz: 160 ": "imgsz: 64 ",
    "    train: null": "    train: 16",
    "    val: null": "    val: 4",
    "    test: null": "    test: 4",
    "  imgsz: null": "  imgsz: 64",
    "    epochs: {low: 2, high: 5}": "    epochs: {low: 1, high: 3}",
    "    imgsz: {choices: [128, 160]}": "    imgsz: {choices: [32, 64]}",
    "  trials: 16 ": "  trials: 4 ",
    "  workers: null ": "  workers: 1 ",
    "  patience: 3 ": "  patience: null ",
    "  confirm_seeds: 3 ": "  confirm_seeds: 0 ",
    "device: null ": "device: cpu ",
}


@dataclass(frozen=True)
class Project:
    """A git and DVC repository with this project's files.

    Attributes:
        root: Where it is.
        quick: Whether its commands train by the quick training in tests/fakes.
    """

    root: Path
    quick: bool = False

    def run(
        self, *command: str, env: dict[str, str] | None = None, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the repository, as a shell with the environment activated would."""
        done = subprocess.run(
            command, cwd=self.root, env=self.environment(env), capture_output=True, text=True, check=False, timeout=600
        )
        assert not check or done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
        return done

    def environment(self, extra: dict[str, str] | None = None) -> dict[str, str]:
        """The environment of a command: this interpreter first, and nothing that names another DVC or MLflow."""
        kept = {
            key: value for key, value in os.environ.items() if not key.startswith(("DVC_", "MLFLOW_", "ORT_", "YOLO_"))
        }
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        author = {f"GIT_{who}_{what}": "test" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
        at_once = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}  # a server that is away stays away for the whole test
        fakes = {"PYTHONPATH": str(FAKES)} if self.quick else {}
        return {**kept, **author, **at_once, **fakes, "PATH": path, **(extra or {})}

    def text(self, path: str) -> str:
        return (self.root / path).read_text(encoding="utf-8")

    def replace(self, path: str, old: str, new: str) -> None:
        content = self.text(path)
        assert old in content, f"{old!r} is not in {path}"
        (self.root / path).write_text(content.replace(old, new, 1), encoding="utf-8")

    def run_queue(self, jobs: int, env: dict[str, str] | None = None) -> None:
        """`dvc queue start`, and wait until nothing is queued or running any more."""
        results = self.root / ".dvc" / "tmp" / "exps" / "celery" / "result"  # a file for each experiment that has ended
        ended = len(list(results.glob("*")))
        command = ["dvc", "queue", "start", "-j", str(jobs)]
        nowhere = subprocess.DEVNULL  # its workers keep what they are given open while they wait for more
        subprocess.run(
            command, cwd=self.root, env=self.environment(env), stdout=nowhere, stderr=nowhere, check=True, timeout=60
        )
        asked = time.monotonic()
        deadline = asked + 300
        while True:
            now = len(list(results.glob("*")))
            if now > ended or time.monotonic() > asked + 10:  # a look takes time from the experiments
                if not any(word in self.run("dvc", "queue", "status").stdout for word in ("Queued", "Running")):
                    return
                ended, asked = now, time.monotonic()
            assert time.monotonic() < deadline
            time.sleep(0.2)

    def keep_caches_inside(self) -> None:
        """Let DVC keep its caches in this repository, as `dvc config --local core.site_cache_dir` does in a second."""
        config = self.root / ".dvc" / "config.local"
        config.write_text(f"[core]\n    site_cache_dir = {self.root}/.dvc/tmp/site\n", encoding="utf-8")

    def commit(self, message: str = "change") -> None:
        self.run("git", "add", "-A")
        self.run("git", "commit", "-qm", message)


def make_project(root: Path, quick: bool = False) -> Project:
    """A repository with the files of this checkout, in the small form, and no results.

    Args:
        root: Where.
        quick: Let its commands train by the quick training in tests/fakes.
    """
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=SOURCE, capture_output=True, text=True, check=True
    )
    for name in listed.stdout.splitlines():
        if name.startswith("reports/") or name == "dvc.lock" or not (SOURCE / name).is_file():
            continue
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(SOURCE / name, root / name)
    project = Project(root, quick)
    drawn = (SOURCE / "presets" / "drawn.yaml").read_text(encoding="utf-8")  # a study may have changed the values
    (root / "params.yaml").write_text(with_preset(project.text("params.yaml"), drawn), encoding="utf-8")
    for old, new in SMALL.items():
        project.replace("params.yaml", old, new)
    project.run("git", "init", "-q", "-b", "main")
    project.keep_caches_inside()
    project.commit("the project")
    return project


def copied(project: Project, root: Path, *left: str) -> Project:
    """Copy a repository without the files of some names. MLflow has its artifacts where the copied repository has."""
    shutil.copytree(project.root, root, ignore=shutil.ignore_patterns("mlartifacts", *left))
    copy = Project(root, project.quick)
    copy.keep_caches_inside()
    return copy


def empty_home(home: Path) -> dict[str, str]:
    """Make an empty home of a user, and return the environment in which commands use it."""
    home.mkdir()
    return {"HOME": str(home), "XDG_CONFIG_HOME": str(home / ".config"), "XDG_CACHE_HOME": str(home / ".cache")}


def written_to(home: Path) -> list[Path]:
    """Return the files that commands have written to the home of a user. DVC's own do not count."""
    return [path for path in home.rglob("*") if path.is_file() and "dvc" not in path.parts]
