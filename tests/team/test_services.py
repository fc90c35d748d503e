"""A team with the services of docker-compose.yml, which tests/helpers/services.py starts without Docker."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock
from urllib.parse import quote
from urllib.request import urlopen

import pytest
import yaml
from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts

from stages.base import paths
from stages.services import storage
from tests.helpers.project import Project, copied
from tests.helpers.services import Services, gate

pytestmark = [pytest.mark.slow, pytest.mark.long]

# A lost machine is noticed after minutes; in these tests after seconds.
HASTE = {"HEARTBEAT = 30 ": "HEARTBEAT = 1 ", "GRACE = 150 ": "GRACE = 6 "}
MEGABYTE = 2**20


@dataclass(frozen=True)
class Clone(Project):
    """A clone of one member of the team, which `python -m stages services --setup` has connected.

    Attributes:
        outputs: The output of all commands.
    """

    outputs: list[str] = field(default_factory=list)

    def run(
        self, *command: str, env: dict[str, str] | None = None, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        done = super().run(*command, env=env, check=check)
        self.outputs.append(f"{done.stdout}\n{done.stderr}")
        return done

    def start(self, *command: str, env: dict[str, str] | None = None) -> tuple[subprocess.Popen[bytes], Path]:
        """Start a command without waiting for it; return the process and the file of its output."""
        log = self.root.with_name(f"{self.root.name}-{time.monotonic_ns()}.log")
        with log.open("wb") as file:
            process = subprocess.Popen(
                command, cwd=self.root, env=self.environment(env), stdout=file, stderr=file, start_new_session=True
            )
        return process, log

    def points(self) -> list[str]:
        """Return the points that were trained in this clone, in order."""
        log = self.root / ".cache" / "trained.jsonl"
        return log.read_text(encoding="utf-8").splitlines() if log.is_file() else []

    def trained(self) -> int:
        return len(self.points())

    def experiments(self) -> list[str]:
        listed = self.run("git", "for-each-ref", "--format=%(refname)", "refs/exps/*/*/*").stdout
        return sorted(reference.rpartition("/")[2] for reference in listed.split())

    def model(self, name: str) -> bytes:
        """Return the weights of an experiment from the cache."""
        lock = self.run("git", "show", f"{self.reference(name)}:dvc.lock").stdout
        (digest,) = (
            out["md5"] for out in yaml.safe_load(lock)["stages"]["train"]["outs"] if out["path"] == "models/best.pt"
        )
        return (self.root / ".dvc" / "cache" / "files" / "md5" / digest[:2] / digest[2:]).read_bytes()

    def has_trials(self) -> bool:
        return any(name.startswith("tune-") for name in self.experiments())

    def reference(self, name: str) -> str:
        listed = self.run("git", "for-each-ref", "--format=%(refname)", "refs/exps").stdout.splitlines()
        return next(line for line in listed if line.endswith(f"/{name}"))

    def undo(self) -> None:
        """Restore the files of the last commit."""
        self.run("git", "checkout", "-q", ".")
        self.run("git", "clean", "-fdq", "reports")
        self.run("dvc", "checkout", "-q")


@dataclass
class Team:
    """A team: its services, its git remote, and the first clone with a baseline, a grid and a study."""

    services: Services
    remote: Path
    first: Clone
    folder: Path
    count: int = 0

    def study(self) -> str:
        """Return the name of the study of the first clone."""
        summary = self.first.run("git", "show", f"{self.first.reference('studied')}:reports/study/study.json").stdout
        return str(json.loads(summary)["name"])

    def trials(self) -> list[str]:
        """Return the points of the finished trials of the study."""
        query = """
            SELECT string_agg(param_name || '=' || param_value, ' ' ORDER BY param_name) FROM trials
            JOIN studies USING (study_id) JOIN trial_params USING (trial_id)
            WHERE study_name = %s AND state IN ('COMPLETE', 'PRUNED') GROUP BY trial_id"""
        with self.services.postgres.connection("optuna") as connection:
            return [point for (point,) in connection.execute(query, [self.study()])]

    def files(self, run: Any) -> set[str]:
        """Return the artifacts at the top of a run."""
        return {file.path for file in MlflowClient(self.services.address("mlflow")).list_artifacts(run.info.run_id)}

    def download(self, run: Any, path: str, to: Path) -> Path:
        """Fetch an artifact through the server, without a key of the S3 store."""
        to.mkdir(exist_ok=True)
        address = self.services.address("mlflow")
        with mock.patch.dict(os.environ, MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD="false"):  # as docs/models.md says
            file = download_artifacts(
                run_id=run.info.run_id, artifact_path=path, tracking_uri=address, dst_path=str(to)
            )
        return Path(file)

    def clone(self) -> Clone:
        """Return the clone of a colleague."""
        self.count += 1
        root = self.folder / f"colleague-{self.count}"
        subprocess.run(["git", "clone", "-q", str(self.remote), str(root)], check=True)
        return connected(Clone(root, True, self.first.outputs), self.services)


def connected(clone: Clone, services: Services) -> Clone:
    """Connect a clone to services on other ports and with other passwords than the default, as docs/team.md says."""
    clone.keep_caches_inside()
    (clone.root / ".env").write_text(services.dotenv(), encoding="utf-8")
    clone.run("python", "-m", "stages", "services", "--setup")
    return clone


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    running = Services(tmp_path_factory.mktemp("services"))
    try:
        running.start("mlflow")
        running.start("optuna-dashboard")
        yield running
    finally:
        running.remove()


@pytest.fixture(scope="module")
def team(services: Services, quick_baseline: Project, tmp_path_factory: pytest.TempPathFactory) -> Team:
    """Return a team whose first member has run the baseline alone, then a grid of two and a study, and shared all."""
    folder = tmp_path_factory.mktemp("team")
    remote = folder / "git"
    subprocess.run(["git", "init", "-q", "--bare", "-b", "main", str(remote)], check=True)
    made = copied(quick_baseline, folder / "first", "mlflow.db*", ".mlflow", "trained.jsonl")
    for old, new in HASTE.items():
        made.replace("stages/services/storage.py", old, new)
    made.commit("in haste")
    first = connected(Clone(made.root, True), services)
    first.run("git", "remote", "add", "origin", str(remote))
    first.run("dvc", "exp", "run", "--queue", "-S", "epochs=2,3")
    first.run_queue(2)
    first.run("dvc", "exp", "run", "tune", "-n", "studied")
    first.run("python", "-m", "stages", "sync")  # DVC may have taken the best, a point of the grid, from its cache
    first.undo()
    first.run("git", "push", "-q", "origin", "main")
    first.run("python", "-m", "stages", "push")
    return Team(services, remote, first, folder)


def failures(done: subprocess.CompletedProcess[str]) -> list[str]:
    """Return the error lines of a command, which must not print a traceback."""
    assert "Traceback" not in done.stderr
    return [line for line in done.stderr.splitlines() if line.lower().startswith("error")]


def until(happened: Callable[[], bool], process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until something has happened that a running process does."""
    deadline = time.monotonic() + 120
    while not happened():
        assert process.poll() is None, log.read_text(encoding="utf-8")
        assert time.monotonic() < deadline, log.read_text(encoding="utf-8")
        time.sleep(0.1)


def runs(services: Services) -> dict[str, Any]:
    """Return all runs in MLflow by name; two runs with the same name are an error."""
    client = MlflowClient(services.address("mlflow"))
    experiment = client.get_experiment_by_name("person-detection")
    assert experiment is not None
    all_runs = list(client.search_runs([experiment.experiment_id], max_results=1000))
    names = [run.info.run_name for run in all_runs]
    assert sorted(names) == sorted(set(names))
    return dict(zip(names, all_runs, strict=True))


def test_mlflow_has_every_run_and_serves_its_files(team: Team, tmp_path: Path) -> None:
    mirrored = runs(team.services)
    assert set(team.first.experiments()) <= set(mirrored)
    model = team.download(mirrored["studied"], "model/best.pt", tmp_path)
    assert model.read_bytes() == team.first.model("studied")
    assert any(key.endswith("model/best.pt") for key in team.services.store.keys("mlflow"))
    assert "study.json" in team.files(mirrored[team.study()])


def test_the_dashboard_shows_the_study(team: Team) -> None:
    with urlopen(f"{team.services.address('optuna-dashboard')}/api/studies", timeout=30) as answer:
        studies = json.load(answer)["study_summaries"]
    assert team.study() in [study["study_name"] for study in studies]


def test_the_check_of_the_services_prints_that_all_answer(team: Team) -> None:
    output = team.first.run("python", "-m", "stages", "services").stdout
    assert output.count("it answers") == 3
    assert "serves artifacts" in output


@pytest.mark.parametrize("commands", [
    [("dvc", "pull"), ("dvc", "exp", "pull", "origin")],
    [("python", "-m", "stages", "pull")],
], ids=["dvc", "share"])  # fmt: skip
def test_a_colleague_has_data_models_experiments_and_trials(team: Team, commands: list[tuple[str, ...]]) -> None:
    colleague = team.clone()
    for command in commands:
        colleague.run(*command)
    assert colleague.experiments() == team.first.experiments()
    colleague.run("dvc", "repro")
    assert colleague.run("git", "status", "--short").stdout == ""
    trial = next(name for name in colleague.experiments() if name.startswith(team.study()))
    assert colleague.model(trial) == team.first.model(trial)
    assert colleague.trained() == 0


def test_a_colleague_trains_no_point_that_was_trained(team: Team) -> None:
    team.first.run("dvc", "exp", "run", "-n", "one-more", "-S", "epochs=1", "-S", "lr0=0.0035")
    team.first.undo()
    team.first.run("python", "-m", "stages", "push")
    colleague = team.clone()
    colleague.run("python", "-m", "stages", "pull")
    colleague.run("dvc", "exp", "run", "-S", "epochs=1", "-S", "lr0=0.0035")
    colleague.undo()
    own_storage = {"OPTUNA_STORAGE": "sqlite:///.study/optuna.db"}
    output = colleague.run("dvc", "exp", "run", "tune", env=own_storage).stdout
    assert "measured before on the same data and code" in output
    assert colleague.trained() == 0


def test_a_run_with_missing_files_is_not_shared_and_can_be_restored(team: Team) -> None:
    colleague = team.clone()
    colleague.run("python", "-m", "stages", "pull")
    metrics = hashlib.md5((colleague.root / "reports" / "train" / "metrics.json").read_bytes()).hexdigest()
    missing = colleague.root / ".dvc" / "cache" / "files" / "md5" / metrics[:2] / metrics[2:]
    missing.chmod(0o600)
    missing.unlink()
    pushed = colleague.run("python", "-m", "stages", "push").stdout
    assert not missing.exists()
    (shared,) = re.findall(r"runs: (\d+) shared", pushed)
    colleague.run("python", "-m", "stages", "pull")
    assert missing.exists()
    assert f"runs: {int(shared) + 1} available" in colleague.run("python", "-m", "stages", "pull").stdout
    done = colleague.run("python", "-m", "stages", "everything", check=False)
    assert (done.returncode, len(failures(done))) == (2, 1)


def test_a_lost_cache_can_be_restored(team: Team) -> None:
    colleague = team.clone()
    colleague.run("dvc", "pull")
    shutil.rmtree(colleague.root / ".dvc" / "cache")
    for folder in ("data", "models"):
        shutil.rmtree(colleague.root / folder)
    colleague.run("dvc", "pull")
    colleague.run("dvc", "repro")
    assert colleague.trained() == 0


def test_large_files_pass_and_a_broken_connection_loses_nothing(team: Team) -> None:
    """30 MB go to S3 and back. The connection is first refused in the middle, and then slow."""
    colleague = team.clone()
    content = os.urandom(30 * MEGABYTE)
    (colleague.root / "large.bin").write_bytes(content)
    colleague.run("dvc", "add", "large.bin")
    once = {"AWS_MAX_ATTEMPTS": "1"}
    with gate(team.services.store.port) as way:
        colleague.run("dvc", "remote", "modify", "--local", "minio", "endpointurl", way.address)
        way.refuse_after(5 * MEGABYTE)
        done = colleague.run("dvc", "push", "large.bin", env=once, check=False)
        assert done.returncode != 0
        assert failures(done)
        assert (colleague.root / "large.bin").read_bytes() == content
        way.open()
        colleague.run("dvc", "push", "large.bin")

        shutil.rmtree(colleague.root / ".dvc" / "cache")
        (colleague.root / "large.bin").unlink()
        way.refuse_after(5 * MEGABYTE)
        done = colleague.run("dvc", "pull", "large.bin", env=once, check=False)
        assert done.returncode != 0
        assert failures(done)
        assert not (colleague.root / "large.bin").exists()
        way.slow()
        colleague.run("dvc", "pull", "large.bin")
    assert (colleague.root / "large.bin").read_bytes() == content


def test_large_artifacts_pass_the_server(team: Team, tmp_path: Path) -> None:
    (tmp_path / "large.bin").write_bytes(os.urandom(30 * MEGABYTE))
    client = MlflowClient(team.services.address("mlflow"))
    run = client.create_run(client.create_experiment("large files"))
    client.log_artifact(run.info.run_id, str(tmp_path / "large.bin"))
    copy = team.download(run, "large.bin", tmp_path / "back")
    assert copy.read_bytes() == (tmp_path / "large.bin").read_bytes()


def test_a_study_without_mlflow_is_mirrored_once_later(team: Team) -> None:
    """The server is unavailable during the whole study. Other trials are not mirrored twice."""
    before = set(runs(team.services))
    team.services.stop("mlflow")
    try:
        done = team.first.run("dvc", "exp", "run", "tune", "-n", "unseen", "-S", "tune.trials=7")
    finally:
        team.services.start("mlflow")
    warnings = [line.rpartition("; ")[2] for line in done.stderr.splitlines() if line.startswith("warning: MLflow at")]
    assert warnings == ["the study goes on, and `make sync` mirrors it later", "the report is written without it"]
    team.first.undo()
    assert set(runs(team.services)) == before
    assert "mirrored" in team.first.run("python", "-m", "stages", "sync").stdout
    after = set(runs(team.services))
    assert after - before == set(team.first.experiments()) - before
    assert {"unseen"} < after - before
    assert team.first.run("python", "-m", "stages", "sync").stdout == "MLflow has every run that DVC keeps\n"
    assert set(runs(team.services)) == after


def test_a_study_goes_on_after_a_restart_of_postgresql(team: Team) -> None:
    before = team.trials()
    process, log = team.first.start(
        "dvc", "exp", "run", "tune", "-S", f"tune.trials={len(before) + 4}", env={"QUICK_SECONDS": "1"}
    )
    until(lambda: len(team.trials()) > len(before), process, log)
    team.services.postgres.stop()
    time.sleep(3)
    team.services.postgres.start()
    assert process.wait(timeout=300) == 0, log.read_text(encoding="utf-8")
    team.first.outputs.append(log.read_text(encoding="utf-8"))
    team.first.undo()
    after = team.trials()
    assert len(after) == len(before) + 4
    assert sorted(set(after)) == sorted(after)


@pytest.mark.skipif(os.name != "posix", reason="there is no SIGKILL")
def test_two_machines_work_on_one_study_and_one_may_be_killed(team: Team) -> None:
    """No point is trained twice, except the one that the killed machine was training."""
    before = team.trials()
    clones = [team.clone(), team.clone()]
    for clone in clones:
        clone.run("dvc", "pull")
    command = ("dvc", "exp", "run", "tune", "-S", f"tune.trials={len(before) + 6}")
    started = [clone.start(*command, env={"QUICK_SECONDS": "1"}) for clone in clones]
    until(lambda: all(clone.has_trials() for clone in clones), *started[0])
    os.killpg(started[1][0].pid, signal.SIGKILL)
    assert started[0][0].wait(timeout=300) == 0, started[0][1].read_text(encoding="utf-8")
    team.first.outputs.extend(log.read_text(encoding="utf-8") for _, log in started)
    after = team.trials()
    assert len(after) == len(before) + 6
    assert sorted(set(after)) == sorted(after)
    points = [clone.points() for clone in clones]
    again = set(points[0]) & set(points[1])
    best = yaml.safe_load(clones[0].text("params.yaml"))  # the other machine may have its model
    keys = ("epochs", "imgsz", "lr0", "batch", "scale", "seed")
    assert again <= {json.dumps({key: best[key] for key in keys}), points[1][-1]}
    assert all(len(set(some)) == len(some) for some in points)
    runs(team.services)


def test_one_machine_at_a_time_holds_the_lock_of_a_study_and_a_dead_machine_loses_it(
    services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (storage, paths):
        monkeypatch.setattr(module, "STUDIES", tmp_path)
    monkeypatch.setattr(storage, "PATIENCE", 1)
    database = storage.open_storage(services.postgres.address())
    with services.postgres.connection("optuna") as another_machine:

        def can_lock(name: str) -> bool:
            query = b"SELECT pg_try_advisory_xact_lock(%d)" % storage.lock_key(name)
            (row,) = another_machine.execute(query).fetchall()
            return bool(row[0])

        with storage.study_lock(database, "study"):
            assert not can_lock("study")
            assert can_lock("another study")
            time.sleep(2)  # longer than PATIENCE: like a machine that has lost its power
            assert can_lock("study")
        with storage.study_lock(database, "study"):
            assert not can_lock("study")
        assert can_lock("study")
        another_machine.execute(b"SELECT pg_advisory_lock(%d)" % storage.lock_key("study"))
        with pytest.raises(storage.StorageUnavailable, match="lock timeout"), storage.study_lock(database, "study"):
            pass


WRONG = {
    "password": ("postgresql://postgres:not-the-secret@127.0.0.1:{port}/optuna", "password authentication failed"),
    "database": ("postgresql://postgres:{password}@127.0.0.1:{port}/nowhere", '"nowhere" does not exist'),
    "server": ("postgresql://postgres:{password}@127.0.0.1:1/optuna", "Connection refused"),
    "driver": ("postgres://postgres:{password}@127.0.0.1:{port}/optuna", "Can't load plugin"),
}


@pytest.mark.parametrize("wrong", sorted(WRONG))
def test_a_database_that_cannot_be_used_is_one_line(team: Team, wrong: str) -> None:
    address, reason = WRONG[wrong]
    secret = quote(team.services.values["POSTGRES_PASSWORD"], safe="")
    value = address.format(port=team.services.postgres.port, password=secret)
    done = team.first.run("python", "-m", "stages.study", env={"OPTUNA_STORAGE": value}, check=False)
    assert done.returncode == 1
    (line,) = failures(done)
    assert reason in line
    assert team.first.run("git", "status", "--short").stdout == ""


def test_a_store_that_cannot_be_used_is_one_line_and_loses_nothing(team: Team) -> None:
    colleague = team.clone()
    colleague.run("dvc", "pull")
    (colleague.root / "mine.txt").write_text("mine\n", encoding="utf-8")
    colleague.run("dvc", "add", "mine.txt")

    def refused(expected: str, **remote: str) -> None:
        colleague.run("python", "-m", "stages", "services", "--setup")
        for key, value in remote.items():
            colleague.run("dvc", "remote", "modify", "--local", "minio", key, value)
        for command in (("dvc", "push"), ("python", "-m", "stages", "services")):
            done = colleague.run(*command, env={"AWS_MAX_ATTEMPTS": "1"}, check=False)
            assert done.returncode != 0
            assert len(failures(done)) == 1
            if command[0] == "python":
                assert expected in done.stdout

    refused("SignatureDoesNotMatch", secret_access_key="not-the-secret")
    refused("InvalidAccessKeyId", access_key_id="nobody")
    refused("NoSuchBucket", url="s3://nowhere")
    refused("cannot be used (Connect", url="s3://dvc", endpointurl="http://127.0.0.1:1")
    store = team.services.store
    wrong_secret = {"AWS_ACCESS_KEY_ID": store.key, "AWS_SECRET_ACCESS_KEY": "not-the-secret"}
    wrong_secret |= {"AWS_DEFAULT_REGION": "us-east-1", "AWS_ENDPOINT_URL_S3": store.address}
    done = colleague.run("python", "tools/buckets.py", "more", env=wrong_secret, check=False)
    assert (done.returncode, len(failures(done))) == (1, 1)
    output = colleague.run("python", "-m", "stages", "services", "--setup").stdout
    assert output.splitlines()[-1] == ".dvc/config.local: remote minio: endpointurl written"
    assert "1 file pushed" in colleague.run("dvc", "push").stdout


def test_a_server_with_passwords_requires_them_and_they_are_never_printed(team: Team, tmp_path: Path) -> None:
    team.services.start("mlflow-auth")
    address = team.services.address("mlflow-auth")
    colleague = team.clone()
    colleague.run("dvc", "pull")
    unknown = "401: it does not know this name and password"
    done = colleague.run("python", "-m", "stages", "sync", env={"MLFLOW_TRACKING_URI": address}, check=False)
    unknown = "401: it does not know this name and password"
    assert failures(done) == [f"error: MLflow at {address} cannot be used ({unknown})"]
    secret = team.services.values["MLFLOW_ADMIN_PASSWORD"]
    with_name = address.replace("//", f"//admin:{secret}@")
    done = colleague.run(
        "dvc", "exp", "run", "-n", "by-name", "-S", "epochs=2", "-S", "batch=8", env={"MLFLOW_TRACKING_URI": with_name}
    )
    assert "cannot be used" not in done.stderr
    assert "by-name" in runs(team.services)
    wrong = address.replace("//", "//admin:not-the-secret@")
    done = colleague.run("python", "-m", "stages", "sync", env={"MLFLOW_TRACKING_URI": wrong}, check=False)
    assert failures(done) == [f"error: MLflow at {address.replace('//', '//***@')} cannot be used ({unknown})"]
    team.services.stop("mlflow-auth")


@pytest.mark.parametrize("page", ["mlflow", "optuna-dashboard"])
def test_the_pages_show_runs_and_study(team: Team, page: str, tmp_path: Path) -> None:
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        pytest.skip("Chromium is not on this machine")
    team.services.wait(page)  # a server that has lost its database prints one error
    path = {"mlflow": "/#/experiments/1/runs", "optuna-dashboard": "/dashboard/"}[page]
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
    flags += ["--disable-component-update", "--disable-sync", f"--user-data-dir={tmp_path / 'profile'}"]
    flags += ["--window-size=1400,900", "--virtual-time-budget=30000", "--dump-dom"]
    done = subprocess.run(
        [browser, *flags, f"{team.services.address(page)}{path}"],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert team.study() in done.stdout


def test_no_secret_is_written_anywhere_but_in_two_files_that_git_ignores(team: Team) -> None:
    """The last test of this file searches all outputs, git, logs, reports, MLflow and the study."""
    private = (".env", ".dvc/config.local")
    values = team.services.values
    secrets = {values["S3_SECRET_KEY"], values["MLFLOW_ADMIN_PASSWORD"], values["POSTGRES_PASSWORD"], "not-the-secret"}
    secrets |= {quote(secret, safe="") for secret in secrets}
    texts = {"printed": "\n".join(team.first.outputs)}
    texts |= {path.name: path.read_text("utf-8", "replace") for path in team.services.folder.glob("*.log")}
    for clone in (team.first, *(Project(path) for path in team.folder.glob("colleague-*") if path.is_dir())):
        for path in sorted(clone.root.rglob("*")):
            parts = path.relative_to(clone.root).parts
            if "/".join(parts) in private:
                assert os.name != "posix" or path.stat().st_mode & 0o077 == 0, path
            elif path.is_file() and parts[0] != "data" and parts[:2] != (".dvc", "cache") and "tests" not in parts:
                texts[str(path)] = path.read_bytes().decode("utf-8", "replace")
        assert clone.run("git", "check-ignore", *private).stdout.split() == list(private)
        own = [(clone.root / name).read_text(encoding="utf-8") for name in private]
        assert [text.count(values["S3_SECRET_KEY"]) for text in own] == [1, 1]
        assert own[0].count(values["POSTGRES_PASSWORD"]) == 1
        texts[f"{clone.root} in git"] = clone.run("git", "log", "--all", "-p", "--", ".", ":!tests").stdout
    for name, run in runs(team.services).items():
        texts[name] = json.dumps([run.data.params, run.data.tags])
    for table in ("studies", "study_user_attributes", "trial_user_attributes", "study_system_attributes"):
        with team.services.postgres.connection("optuna") as connection:
            texts[table] = str(connection.execute(f"SELECT * FROM {table}".encode()).fetchall())
    assert sum(map(len, texts.values())) > 100_000
    assert {place for place, text in texts.items() for secret in secrets if secret in text} == set()
