"""Faults of the machine, each with the real thing: a damaged cache, a full disk, a repository of another user."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from stages.base.paths import BEST_MODEL
from stages.experiments.lock import outputs, parse_lock
from tests.helpers.files import Mount
from tests.helpers.pipeline import mlflow_runs, ran
from tests.helpers.project import Project, copied
from tests.helpers.study import stored, trials

pytestmark = pytest.mark.slow

WITHOUT_RIGHTS = "-dac_override,-dac_read_search,-fowner"  # root then needs the permissions that every user needs


def cached_model(project: Project, revision: str = "HEAD") -> Path:
    """Return the file of a run's model in DVC's cache."""
    digest = outputs(parse_lock(project.run("git", "show", f"{revision}:dvc.lock").stdout), "train")[BEST_MODEL]
    return project.root / ".dvc" / "cache" / "files" / "md5" / digest[:2] / digest[2:]


def truncate(file: Path) -> None:
    """Cut a file of DVC's cache in half. It stays read-only, as after an error of the disk."""
    file.chmod(0o644)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    file.chmod(0o444)


def test_a_damaged_model_in_the_cache_is_trained_again_and_not_restored(quick: Project) -> None:
    good = (quick.root / BEST_MODEL).read_bytes()
    truncate(cached_model(quick))
    done = quick.run("dvc", "repro")
    assert ran(done.stdout) == [], "the model in the workspace is whole"
    (quick.root / BEST_MODEL).unlink()
    done = quick.run("dvc", "repro")
    assert "in DVC's cache was damaged, so it was removed" in done.stderr
    assert ran(done.stdout) == ["train"]
    assert (quick.root / BEST_MODEL).read_bytes() == good
    assert cached_model(quick).read_bytes() == good


@pytest.mark.long
def test_a_damaged_model_that_dvc_has_restored_is_one_line_and_the_same_command_goes_on(quick: Project) -> None:
    good = (quick.root / BEST_MODEL).read_bytes()
    quick.run("dvc", "exp", "run", "-S", "lr0=0.003")
    truncate(cached_model(quick))
    back = ("dvc", "exp", "run", "-S", "lr0=0.002")
    done = quick.run(*back, check=False)
    assert done.returncode != 0
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert line.startswith("error: DVC restored a damaged models/best.pt from its cache")
    assert "Traceback" not in done.stderr
    done = quick.run(*back)
    assert ran(done.stdout)[:2] == ["train", "evaluate"]
    assert (quick.root / BEST_MODEL).read_bytes() == good


def test_a_command_that_finds_all_results_ready_is_a_run_in_mlflow_under_its_own_name(quick: Project) -> None:
    """After a kill between the last stage and the end of dvc, the same command is another experiment."""
    quick.run("dvc", "exp", "run", "-n", "killed", "-S", "lr0=0.003")
    quick.run("dvc", "exp", "remove", "killed")
    assert ran(quick.run("dvc", "exp", "run", "-n", "again").stdout) == []
    quick.run("dvc", "exp", "run", "-n", "other", "-S", "lr0=0.004")
    runs = mlflow_runs(quick)
    assert runs["again"].data.metrics == runs["killed"].data.metrics != runs["other"].data.metrics
    assert all(runs[name].data.tags["dvc.experiment"] == name for name in ("again", "other"))


@pytest.mark.long
def test_a_study_with_a_damaged_cache_decides_and_registers_no_damaged_model(quick: Project) -> None:
    quick.replace("params.yaml", "  confirm_seeds: 0 ", "  confirm_seeds: 2 ")
    quick.commit("a study with a decision")
    quick.run("dvc", "exp", "run", "tune", env={"MLFLOW_TRACKING_URI": "http://127.0.0.1:1"})
    model = re.search(r"The model is that of (\S+) ", quick.text("reports/decision.md"))
    assert model is not None
    names = quick.run("git", "for-each-ref", "--format=%(refname)", "refs/exps").stdout.split()
    (reference,) = [name for name in names if name.endswith(f"/{model[1]}")]
    truncate(cached_model(quick, reference))
    before = {trial.number: trial.value for trial in stored(quick)}
    done = quick.run(sys.executable, "-m", "stages.tune")  # when the server is back
    assert "in DVC's cache was damaged, so it was removed" in done.stderr
    assert "0 to train" in done.stdout, "the numbers of the repeats are in git"
    assert "Traceback" not in done.stderr
    assert "no whole weights in DVC's cache" in quick.text("reports/decision.md")
    assert {trial.number: trial.value for trial in stored(quick)} == before


def test_what_a_killed_dvc_has_left_does_not_stop_the_next_one(quick: Project) -> None:
    """DVC replaces no folder that has a file which it does not know."""
    folder = quick.root / "data" / "prepared" / "labels" / "train"
    label = min(folder.glob("*.txt"))
    label.unlink()
    (folder / ".jEC8AMW5x5Pg1wO8PEb5Ew.tmp").write_text("a part", encoding="utf-8")
    quick.run("dvc", "checkout")
    assert label.is_file()
    assert "data/prepared" not in quick.run("dvc", "status").stdout


@pytest.mark.long
@pytest.mark.parametrize("left", [400_000, 2_600_000])
def test_a_disk_that_fills_up_in_a_study_is_one_line_and_the_same_command_goes_on(
    quick_baseline: Project, mount: Mount, left: int
) -> None:
    disk = mount("size=40m")
    project = copied(quick_baseline, disk / "repository")
    free = shutil.disk_usage(disk).free
    (disk / "filler").write_bytes(bytes(free - left))
    full = project.run(sys.executable, "-m", "stages.study", check=False)
    errors = [line for line in full.stderr.splitlines() if line.startswith("error:")]
    assert (full.returncode == 0) == (not errors)
    assert len(errors) <= 1
    assert errors or left > 400_000, "the disk was not full"
    assert "Traceback" not in full.stderr
    (disk / "filler").unlink()
    is_begun = list((project.root / ".study" / "logs").glob("*"))  # else there may be no study yet
    before = {trial.number: trial.value for trial in stored(project) if trial.state.is_finished()} if is_begun else {}
    project.run(sys.executable, "-m", "stages.study")
    after = {trial.number: trial.value for trial in stored(project)}
    assert before.items() <= after.items()
    assert len([row for row in trials(project) if row["state"] in ("complete", "pruned")]) == 4
    assert project.run("git", "fsck", "--no-dangling", "--no-progress").stderr == ""
    assert {row["name"] for row in trials(project) if row["source"] == "sampler"} <= set(mlflow_runs(project))


def test_a_repository_of_another_user_is_one_line(quick: Project, tmp_path: Path) -> None:
    setpriv = shutil.which("setpriv")
    if (
        setpriv is None
        or shutil.which("chown") is None
        or subprocess.run(["chown", "-R", "1234", quick.root]).returncode
    ):
        pytest.skip("files are given to another user by root only, and setpriv of util-linux takes root's rights away")
    (tmp_path / "home").mkdir()
    home = {"HOME": str(tmp_path / "home")}

    def error_of(*command: str) -> str:
        limited = (setpriv, "--bounding-set", WITHOUT_RIGHTS, "--inh-caps", WITHOUT_RIGHTS, "--", *command)
        done = quick.run(*limited, env=home, check=False)
        assert done.returncode == 1
        assert done.stderr.count("\n") == 1
        return done.stderr

    commands = [(sys.executable, "-m", "stages.study"), (sys.executable, "-m", "stages", "compare")]
    for command in commands:
        assert "belongs to another user, and git reads no such repository" in error_of(*command)
    (tmp_path / "home" / ".gitconfig").write_text("[safe]\n\tdirectory = *\n", encoding="utf-8")
    for command in [*commands, (sys.executable, "-m", "stages", "grid", "epochs=1,2", "--now")]:
        assert error_of(*command).startswith("error: Permission denied: ")
