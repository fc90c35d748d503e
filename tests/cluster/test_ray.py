"""Studies and grids on a real Ray cluster, whose machines are namespaces of this one, and what its faults cost."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import RDBStorage

from stages.base.paths import BEST_MODEL
from stages.experiments.lock import parse_lock
from tests.helpers import ray_machines
from tests.helpers.project import Project, copied
from tests.helpers.ray_machines import Machines, machines
from tests.helpers.services import Postgres, compose

pytestmark = [
    pytest.mark.ray,
    pytest.mark.skipif(bool(ray_machines.missing()), reason=ray_machines.missing() or "-"),
]

STUDY = (sys.executable, "-m", "stages.study")


SLOWLY = {"QUICK_SECONDS": "0.7"}
TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0123456789abcdef" * 4}


@pytest.fixture
def cluster(quick: Project) -> Iterator[Machines]:
    """The head of a cluster, whose machines train by the quick training and do not see the project's folder."""
    with machines(quick.environment(SLOWLY), hidden=quick.root) as made:
        yield made


def start(cluster: Machines, project: Project, *command: str, **environment: str) -> subprocess.Popen[str]:
    """Start a command of the driver on the head."""
    return subprocess.Popen(
        cluster.head.command(*command, folder=project.root),
        env={**project.environment(), "RAY_ADDRESS": cluster.address, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def output(process: subprocess.Popen[str], seconds: float = 180) -> str:
    return process.communicate(timeout=seconds)[0]


def until(is_true: Callable[[], Any], seconds: float = 60) -> Any:
    """Wait until a condition holds, and return its value."""
    deadline = time.monotonic() + seconds
    while not (value := is_true()):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return value


def trials(project: Project, storage: str = "") -> list[dict[str, Any]]:
    """Return the trials of all studies in a storage, that of the project by default: state, attributes, parameters."""
    if not storage and not (project.root / ".study" / "optuna.db").is_file():
        return []
    database = open_database(storage or f"sqlite:///{project.root}/.study/optuna.db")
    return [
        {"state": trial.state.name, "facts": trial.user_attrs, "params": trial.params}
        for name in optuna.get_all_study_names(database)
        for trial in optuna.load_study(study_name=name, storage=database).get_trials()
    ]


@cache
def open_database(address: str) -> RDBStorage:
    return RDBStorage(address.replace("postgresql:", "postgresql+psycopg:"))


def ended(project: Project) -> list[str]:
    return [trial["state"] for trial in trials(project) if trial["state"] in ("COMPLETE", "PRUNED")]


def check_study(project: Project, target: int, storage: str = "", *others: Project) -> list[dict[str, Any]]:
    """Check that a study is complete: no point twice, and an experiment for each complete trial. Return its trials."""
    found = trials(project, storage)
    finished = [trial for trial in found if trial["state"] in ("COMPLETE", "PRUNED")]
    points = [json.dumps(trial["params"], sort_keys=True) for trial in finished]
    assert len(finished) == target
    assert len(points) == len(set(points))
    assert not [trial for trial in found if trial["state"] == "RUNNING"]
    experiments = [
        name for one in (project, *others) for name in one.run("dvc", "exp", "list", "--name-only").stdout.split()
    ]
    names = [trial["facts"]["name"] for trial in finished if trial["state"] == "COMPLETE"]
    assert set(names) - set(experiments) <= {name for name in names if name.startswith("baseline-")}
    return found


def set_trials(project: Project, count: int, **tune: str) -> None:
    project.replace("params.yaml", "  trials: 4 ", f"  trials: {count} ")
    project.replace("params.yaml", "  workers: 1 ", "  workers: null ")
    for key, (old, new) in {key: value.split(" -> ") for key, value in tune.items()}.items():
        project.replace("params.yaml", f"  {key}: {old} ", f"  {key}: {new} ")
    project.commit()


def test_a_study_uses_machines_that_have_packages_only_and_join_while_it_runs(
    quick: Project, cluster: Machines
) -> None:
    quick.replace("params.yaml", "epochs: {low: 1, high: 3}", "epochs: {low: 3, high: 3}")
    set_trials(quick, 12, sampler="auto -> random", pruner="forecast -> median")
    driver = start(cluster, quick, "dvc", "exp", "run", "-n", "tuned", "tune")
    first = cluster.add("one")
    until(lambda: first.processes("spawn_main"))
    second = cluster.add("two")
    text = output(driver)
    assert driver.returncode == 0, text
    assert "Ray cluster at 10.77.0.1:6379: " in text
    assert "warning: the Ray cluster is used without a token" in text
    assert "Updating lock file" not in text.partition("best: trial")[0].partition("Running stage 'study'")[2]
    check_study(quick, 12)
    assert ended(quick).count("PRUNED") > 0  # the answers of the pruner arrive
    logs = list((quick.root / ".study" / "logs").glob("*.log"))
    assert sum("what a trainer prints" in log.read_text(encoding="utf-8") for log in logs) >= 10
    for machine in (first, second):
        written = {path.relative_to(machine.home).parts[:2] for path in machine.home.rglob("*") if path.is_file()}
        assert written <= {("cache", "data"), ("cache", "work"), (".cache", "matplotlib")}
        (data,) = (machine.home / "cache" / "data").iterdir()
        assert len(data.name) == 64  # whole, and named by its digest


@pytest.mark.slow
def test_weights_are_those_of_local_workers_and_a_model_of_the_user_goes_along(
    project: Project, tmp_path: Path
) -> None:
    project.replace("params.yaml", "  workers: 1 ", "  workers: null ")  # one thread each, as on the other machine
    (package,) = find_spec("ultralytics").submodule_search_locations  # type: ignore[union-attr, misc]
    (project.root / "mine").mkdir()
    file = Path(package) / "cfg" / "models" / "v8" / "yolov8.yaml"
    shutil.copyfile(file, project.root / "mine" / "yolov8n.yaml")
    project.commit()
    local = copied(project, tmp_path / "local")
    grid = (sys.executable, "-m", "stages", "grid")
    points = (*grid, "epochs=1,2", "lr0=0.003", "--now")
    local.run(*points)
    with machines(project.environment(), hidden=project.root) as cluster:
        cluster.add("one")
        for command in (points, (*grid, "model=mine/yolov8n.yaml", "--now")):
            driver = start(cluster, project, *command)
            text = output(driver, 300)
            assert driver.returncode == 0, text
    assert "model-mineyolov8n.yaml: mAP50 " in text
    weights = [[digest(of, f"epochs-{epochs}_lr0-0.003") for epochs in (1, 2)] for of in (local, project)]
    assert weights[0] == weights[1]


def digest(project: Project, experiment: str) -> str:
    """Return the digest of the weights of an experiment."""
    name = project.run("git", "for-each-ref", "--format=%(refname)", f"refs/exps/*/*/{experiment}").stdout.strip()
    lock = parse_lock(project.run("git", "show", f"{name}:dvc.lock").stdout)
    return next(str(out["md5"]) for out in lock["train"]["outs"] if out["path"] == BEST_MODEL)


def test_a_study_survives_the_loss_of_a_process_an_actor_and_a_machine(quick: Project, cluster: Machines) -> None:
    set_trials(quick, 12, pruner="forecast -> none")
    one, two = cluster.add("one"), cluster.add("two")
    driver = start(cluster, quick, *STUDY)
    until(lambda: one.processes("spawn_main"))[-1].kill()  # the training process
    until(lambda: any(trial["facts"].get("kind") == "crashed" for trial in trials(quick)))
    until(lambda: two.processes("ray::RayTrainer"))[0].kill()  # the actor
    until(lambda: any(trial["facts"].get("kind") == "lost" for trial in trials(quick)))
    until(lambda: two.processes("spawn_main"))
    two.end()  # the machine
    text = output(driver)
    assert driver.returncode == 0, text
    check_study(quick, 12)
    lost = [trial for trial in trials(quick) if trial["facts"].get("kind") == "lost"]
    assert {"the machine two was lost"} <= {trial["facts"]["reason"].partition(" (")[0] for trial in lost}


def test_a_killed_driver_leaves_nothing_behind_and_the_same_command_goes_on(quick: Project, cluster: Machines) -> None:
    set_trials(quick, 8)
    one = cluster.add("one", cpus=2)
    driver = start(cluster, quick, *STUDY)
    until(lambda: len(ended(quick)) >= 4)
    for process in cluster.head.processes("stages.study"):
        process.kill()
    driver.wait(30)
    until(lambda: not one.processes("RayTrainer") and not one.processes("spawn_main"), 20)
    before = ended(quick)
    (data,) = (one.home / "cache" / "data").iterdir()
    kept = data.stat().st_ino
    again = start(cluster, quick, *STUDY)
    text = output(again)
    assert again.returncode == 0, text
    assert f"{len(before)} of 8 trials finished" in text
    check_study(quick, 8)
    assert data.stat().st_ino == kept  # the data were not sent again


def test_a_study_leaves_a_machine_whose_cable_is_cut(quick: Project, cluster: Machines) -> None:
    set_trials(quick, 6, pruner="forecast -> none")
    one = cluster.add("one", QUICK_SECONDS="20")
    driver = start(cluster, quick, *STUDY)
    until(lambda: one.processes("spawn_main"))
    one.unplug()
    cluster.add("two")
    text = output(driver, 240)
    assert driver.returncode == 0, text
    assert "the machine one was lost" in str(check_study(quick, 6))


def test_two_drivers_one_of_them_with_a_cluster_share_a_study(
    quick: Project, cluster: Machines, tmp_path: Path
) -> None:
    set_trials(quick, 10)
    local = copied(quick, tmp_path / "local")
    services = compose({})
    database = Postgres(services["services"]["postgres"]["environment"], services["configs"]["databases"]["content"])
    try:
        database.start()
        address = database.local_address()
        cluster.add("one")
        driver = start(cluster, quick, *STUDY, OPTUNA_STORAGE=address)
        environment = local.environment({**SLOWLY, "OPTUNA_STORAGE": address})
        other = subprocess.Popen(STUDY, cwd=local.root, env=environment, stdout=subprocess.DEVNULL)
        text = output(driver)
        assert (driver.returncode, other.wait(60)) == (0, 0), text
        found = check_study(quick, 10, address, local)
        machines = {trial["facts"]["owner"].partition("/")[0] for trial in found if "owner" in trial["facts"]}
        assert len(machines) == 2
    finally:
        database.remove()


def test_a_token_is_used_and_a_wrong_one_is_one_line(quick: Project) -> None:
    grid = (sys.executable, "-m", "stages", "grid", "batch=4,8", "lr0=0.001", "--now")
    quick.replace("params.yaml", "  trials_per_gpu: 1 ", "  trials_per_gpu: 2 ")
    quick.replace("params.yaml", "device: cpu ", "device: null ")
    quick.replace("params.yaml", "  workers: 1 ", "  workers: null ")
    quick.commit()
    with machines(quick.environment({**SLOWLY, **TOKEN}), hidden=quick.root) as cluster:
        cluster.add("one", gpus=1)  # Ray is told so: there is none
        wrong = start(cluster, quick, *grid, RAY_AUTH_MODE="token", RAY_AUTH_TOKEN="f" * 64)
        text = output(wrong)
        assert wrong.returncode == 1
        assert f"error: the Ray cluster at {cluster.address} cannot be used (" in text.splitlines()[-1]
        driver = start(cluster, quick, *grid, **TOKEN)
        text = output(driver)
    assert driver.returncode == 0, text
    assert "warning: the Ray cluster is used without a token" not in text
    assert "2 places on one" in text  # two trainings share the GPU
    assert text.count(" on the test split, ") == 2


def test_a_lost_head_ends_the_study_in_order_and_a_new_one_continues_it(quick: Project, cluster: Machines) -> None:
    set_trials(quick, 40)
    cluster.add("one")
    driver = start(cluster, quick, *STUDY)
    until(lambda: len(ended(quick)) >= 3)
    for process in cluster.head.processes("gcs_server"):
        process.kill()
    begun = time.monotonic()
    text = output(driver, 120)
    assert driver.returncode == 1, text
    assert time.monotonic() - begun < 60
    assert "has not answered for 40 s; when it is back, run the same command to resume" in text.splitlines()[-1]
    found = trials(quick)
    assert not [trial for trial in found if trial["state"] == "RUNNING"]
    with machines(quick.environment(), hidden=quick.root) as other:
        other.add("three")
        quick.replace("params.yaml", "  trials: 40 ", f"  trials: {len(ended(quick)) + 2} ")
        again = start(other, quick, *STUDY)
        text = output(again)
        assert again.returncode == 0, text
    check_study(quick, len(ended(quick)))


@pytest.mark.parametrize("value", ["auto", "ray://10.77.0.1:10001"])
def test_an_address_that_could_be_any_cluster_is_refused(quick: Project, value: str) -> None:
    refused = quick.run(*STUDY, env={"RAY_ADDRESS": value}, check=False)
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
    assert f"RAY_ADDRESS: '{value}' is not allowed; it must be the HEAD:PORT" in refused.stderr
