"""A full disk, and a file system that cannot be written: one line, and the old content stays. Both are real."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from stages.base import failures
from stages.base.failures import Failure
from stages.base.files import write_atomic
from stages.data.preparation import prepare
from stages.params import file as params_file
from stages.search.identity import identity
from stages.search.study import Study
from stages.services import storage
from stages.services.storage import open_storage
from stages.tracking import missed, store
from stages.tracking.outage import tolerated
from stages.tracking.store import Store
from tests.helpers import data as group
from tests.helpers.files import Mount, fingerprint
from tests.helpers.project import SOURCE


def fill(disk: Path, left: int = 0) -> None:
    """Fill a disk up to so many bytes."""
    with (disk / "filler").open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError as error:
            assert error.errno == errno.ENOSPC
    if left:
        with (disk / "filler").open("r+b") as file:
            file.truncate(max(0, (disk / "filler").stat().st_size - left))


def test_a_file_is_replaced_as_a_whole_or_not_at_all(mount: Mount, capsys: pytest.CaptureFixture[str]) -> None:
    disk = mount("size=256k")
    write_atomic(disk / "params.yaml", "old")
    fill(disk, left=8192)

    def main() -> None:
        write_atomic(disk / "params.yaml", "new" * 10_000)

    with pytest.raises(SystemExit) as ended:
        failures.run(main)
    assert ended.value.code == 1
    error = capsys.readouterr().err
    assert error.startswith("error: No space left on device")
    assert error.count("\n") == 1
    assert (disk / "params.yaml").read_text(encoding="utf-8") == "old"
    assert sorted(path.name for path in disk.iterdir()) == ["filler", "params.yaml"]


def test_a_file_system_that_cannot_be_written_is_one_line(mount: Mount, capsys: pytest.CaptureFixture[str]) -> None:
    disk = mount("ro")
    with pytest.raises(SystemExit):
        failures.run(lambda: write_atomic(disk / "reports" / "decision.md", "text"))
    error = capsys.readouterr().err
    assert error.startswith("error: Read-only file system")
    assert error.count("\n") == 1


@pytest.mark.parametrize("left", [0, 12_000, 40_000, 90_000])
def test_data_that_do_not_fit_leave_the_old_data(mount: Mount, left: int) -> None:
    disk = mount("size=1m")
    small = group.data(split={"train": 2, "val": 1, "test": 1}, imgsz=64)
    prepare(small, disk / "prepared", workers=1)
    before = fingerprint(disk / "prepared")
    fill(disk, left)
    with pytest.raises(OSError, match="No space left") as raised:
        prepare(group.data(split={"train": 40, "val": 4, "test": 4}, imgsz=96), disk / "prepared", workers=1)
    assert raised.value.errno == errno.ENOSPC
    assert fingerprint(disk / "prepared") == before
    assert sorted(path.name for path in disk.iterdir()) == ["filler", "prepared"]


def test_mlflow_on_a_full_disk_is_a_warning(
    mount: Mount, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    disk = mount("size=64k")
    for module in (missed, store):
        monkeypatch.setattr(module, "HOME", tmp_path / "home")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{disk}/mlflow.db")
    with tolerated("{}; the run goes on") as outage:
        Store()
    assert outage.error is not None
    error = capsys.readouterr().err
    assert "cannot be used" in error
    assert error.count("warning:") == 1


def test_a_study_on_a_full_disk_is_one_line(mount: Mount, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = mount("size=1m")
    monkeypatch.setattr(storage, "PATIENCE", 1)
    monkeypatch.setenv("OPTUNA_STORAGE", f"sqlite:///{disk}/optuna.db")
    params = params_file.load(SOURCE / "params.yaml")
    study = Study(params, identity(params, "data", {}), open_storage(None))
    study.record_second_seed({0: 0.5})
    fill(disk)
    with pytest.raises(Failure) as raised:
        for number in range(1, 200):  # until the database needs another page
            study.record_second_seed({number: 0.5})
    assert "cannot be used" in str(raised.value)
    assert "\n" not in str(raised.value)
    (disk / "filler").unlink()
    study.record_second_seed({1000: 0.5})
    assert study.second_seed()[0] == 0.5, "what was recorded before is kept"
