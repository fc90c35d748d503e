"""A confirmation: the settings that matter, trained again with other seeds and measured on the test split.

The search has seen one seed and the validation split alone, and its best is the best of many: part of it is luck. Other
seeds and the test split are what it has not seen. A setting that was trained with a seed is not trained so again: each
repeat is an experiment of DVC, found again by its arguments, its data and its code.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import statistics
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Literal

from filelock import FileLock, Timeout

from stages.base.formatting import duration, words
from stages.base.paths import STUDIES
from stages.decision.evidence import CONFIRMED, Evidence, Row
from stages.decision.significance import Noise, noise
from stages.detector.as_is import AsIs
from stages.experiments.command import Above
from stages.experiments.finished import Measured, measured, saved
from stages.experiments.identity import code_digests
from stages.experiments.lock import prepared, read_lock
from stages.experiments.names import confirmation_name
from stages.experiments.workshop import Origin
from stages.params.resolution import resolved
from stages.params.schema import Params
from stages.params.space import Point, same
from stages.tracking import missed
from stages.workers.messages import EpochEnded, Failed, Place, Task
from stages.workers.pool import LOGS, Crew, log_of

CHEAPER = 0.9  # of the cost: what is dearer than this is no cheaper, for times vary

Role = Literal["as is", "baseline", "best", "cheapest"]


@dataclass(frozen=True)
class Setting:
    """Values of the searched keys that are worth another look.

    Attributes:
        role: `baseline` is what the study started from, `best` its best, `cheapest` the cheapest that was within the
            noise of the best; `as is` is the pretrained model without any training.
        found: The run that it was found in; empty where nobody has run it.
        point: The searched keys.
        validated: mAP50 of that run on the validation split, 0 to 1.
        seconds: Of its training.
    """

    role: Role
    found: str
    point: Point
    validated: float | None
    seconds: float | None


@dataclass(frozen=True)
class Repeat:
    """A setting trained with another seed.

    Attributes:
        role: Of the setting.
        name: Of its run, in DVC and MLflow.
        seed: Of the training.
        validated, tested: mAP50 on the validation and on the test split, 0 to 1.
        seconds: Of the training.
        ms_per_image: Milliseconds for one image; None where it was not measured.
    """

    role: Role
    name: str
    seed: int
    validated: float
    tested: float
    seconds: float
    ms_per_image: float | None


@dataclass(frozen=True)
class Confirmation:
    """What was trained again.

    Attributes:
        settings: The baseline, the best, and the cheapest where there is one; the best alone where that is the
            baseline.
        repeats: By setting and seed.
        failed: Why repeats are lacking, by their name.
    """

    settings: list[Setting]
    repeats: list[Repeat]
    failed: Mapping[str, str]

    def of(self, role: Role) -> list[Repeat]:
        return [repeat for repeat in self.repeats if repeat.role == role]

    def noise(self) -> Noise | None:
        """Between seeds, on the validation split, where the search compares."""
        roles = {repeat.role for repeat in self.repeats}
        return noise([[repeat.validated for repeat in self.of(role)] for role in sorted(roles)])


def first_settings(evidence: Evidence) -> list[Setting]:
    """The baseline and the best; the best alone where they are the same, nothing where no trial is complete."""
    best = evidence.best
    if best is None:
        return []
    if same(best.point) == same(evidence.start):
        return [_setting("best", best)]
    start = evidence.named(evidence.start)
    baseline = _setting("baseline", start) if start else Setting("baseline", "", evidence.start, None, None)
    return [baseline, _setting("best", best)]


def cheapest_setting(evidence: Evidence, settings: Sequence[Setting], within: Noise | None) -> Setting | None:
    """The cheapest trial within the noise of the best; None where that is one of the settings, or saves too little."""
    best = evidence.best
    if best is None or best.value is None or best.seconds is None or within is None:
        return None
    near = [row for row in evidence.complete if row.seconds and (row.value or 0.0) >= best.value - within.margin()]
    cheapest = min(near, key=lambda row: row.seconds or 0.0, default=None)
    if cheapest is None or (cheapest.seconds or 0.0) > CHEAPER * best.seconds:
        return None
    if any(same(cheapest.point) == same(setting.point) for setting in settings):
        return None
    return _setting("cheapest", cheapest)


def _setting(role: Role, row: Row) -> Setting:
    return Setting(role, row.name, row.point, row.value, row.seconds)


class Repeater:
    """Trains settings with other seeds, or finds them trained."""

    def __init__(self, given: Params, origin: Origin, places: Sequence[Place]) -> None:
        """Prepare; nothing runs yet.

        Args:
            given: params.yaml; its seed is the one that the search has seen.
            origin: What the experiments start from.
            places: Where to train, a worker each.
        """
        self._given, self._origin, self._places = given, origin, places
        data = prepared(read_lock(origin.lock))
        self._made = {**code_digests(), data["path"]: data["md5"]}
        count = given.tune.confirm_seeds
        self.seeds = range(given.seed + 1, given.seed + 1 + count)

    def confirm(self, evidence: Evidence) -> Confirmation:
        """Train the settings of a study again. Another run that does the same on this machine is waited for.

        Raises:
            Failure: The DVC that started this is gone.
        """
        settings = first_settings(evidence)
        failed: dict[str, str] = {}
        with _alone():
            done = Confirmation(settings, self._repeat(settings, failed), failed)
            cheapest = cheapest_setting(evidence, settings, done.noise())
            if cheapest is not None:
                settings = [*settings, cheapest]
                done = Confirmation(settings, [*done.repeats, *self._repeat([cheapest], failed)], failed)
        return done

    def _repeat(self, settings: Sequence[Setting], failed: dict[str, str]) -> list[Repeat]:
        """Each setting with each seed; `failed` takes what is lacking."""
        known = {
            same(one.arguments): one
            for one in measured(self._made, self._origin.commit).trainings
            if one.tested and "train_seconds" in one.metrics
        }
        repeats, tasks = [], deque[tuple[Setting, int]]()
        for setting in settings:
            for seed in self.seeds:
                one = known.get(same(self._arguments(setting, seed)))
                if one is not None:
                    repeats.append(_repeat_of(setting.role, seed, one))
                else:
                    tasks.append((setting, seed))
        if repeats or tasks:
            again = " and ".join(f"{setting.role} ({words(setting.point)})" for setting in settings)
            print(
                f"confirming: {again}, seeds {', '.join(map(str, self.seeds))}: "
                f"{len(tasks)} to train, {len(repeats)} measured before",
                flush=True,
            )
        if tasks:
            repeats += self._train(tasks, failed)
        return sorted(
            repeats, key=lambda repeat: ([setting.role for setting in settings].index(repeat.role), repeat.seed)
        )

    def _train(self, tasks: deque[tuple[Setting, int]], failed: dict[str, str]) -> list[Repeat]:
        under_way: dict[str, tuple[Setting, int]] = {}
        repeats: list[Repeat] = []
        with Crew(self._places, self._origin) as crew:
            while tasks or crew.is_at_work:
                while tasks and crew.is_free:
                    task = self._task(*tasks[0])
                    under_way[task.name] = tasks.popleft()
                    missed.note(task.name, warned=False)
                    crew.begin(task)
                for task, told in crew.hear(_never_stop):
                    setting, seed = under_way.pop(task.name)
                    one = saved(task.name) if not isinstance(told, Failed) else None
                    if one is not None and one.tested:
                        repeats.append(_repeat_of(setting.role, seed, one))
                        print(_line(repeats[-1], len(tasks) + len(under_way), repeats, crew.size), flush=True)
                    else:
                        why = told.reason if isinstance(told, Failed) else "its experiment cannot be read"
                        failed[task.name] = " ".join(why.split())
                        missed.pending(task.name).unlink(missing_ok=True)
                        print(f"{setting.role}, seed {seed}: failed: {why}; see {log_of(task.name)}", flush=True)
                    if crew.is_hopeless(told):
                        failed |= {self._task(*left).name: "not begun: those before it failed" for left in tasks}
                        tasks.clear()
        return repeats

    def _arguments(self, setting: Setting, seed: int) -> dict[str, Any]:
        return resolved({**self._given.written(), **setting.point, "seed": seed})

    def _task(self, setting: Setting, seed: int) -> Task:
        arguments = self._arguments(setting, seed)
        made = [sorted((key, repr(value)) for key, value in arguments.items() if key != "seed")]
        made += [sorted(self._made.items()), sorted(code_digests("evaluate").items())]
        name = confirmation_name(hashlib.sha256(json.dumps(made).encode()).hexdigest()[:6], seed)
        values = {**setting.point, "seed": seed}
        return Task(name, values, arguments, LOGS / f"{name}.log", tuple(self._given.data.classes))


@contextmanager
def _alone() -> Iterator[None]:
    """One confirmation at a time on this machine: the second finds what the first has trained."""
    STUDIES.mkdir(exist_ok=True)
    lock = FileLock(STUDIES / "confirmation.lock")
    watch = Above()
    waiting = False
    while True:
        watch.check()
        with suppress(Timeout):
            lock.acquire(timeout=1)
            break
        if not waiting:
            print("another run is confirming the same study; waiting for it", flush=True)
        waiting = True
    try:
        yield
    finally:
        lock.release()


def _never_stop(task: Task, epoch: EpochEnded) -> bool:
    return False


def _repeat_of(role: Role, seed: int, one: Measured) -> Repeat:
    seconds, speed = one.metrics["train_seconds"], one.tested.get("ms_per_image")
    return Repeat(role, one.name, seed, one.metrics["mAP50"], one.tested["mAP50"], seconds, speed)


def _line(repeat: Repeat, left: int, done: Sequence[Repeat], workers: int) -> str:
    text = (
        f"{repeat.role}, seed {repeat.seed} ({repeat.name}): mAP50 {repeat.validated:.3f} on the validation split, "
        f"{repeat.tested:.3f} on the test split, {repeat.seconds:.0f} s"
    )
    if left:
        mean = statistics.mean(one.seconds for one in done)
        text += f"; {left} left, about {duration(-(-left // workers) * mean)}"
    return text


def table(done: Confirmation | None, as_is: AsIs | None = None) -> str:
    """The model as it is and the repeats as comma-separated values, a row each; the head alone where there are none.

    Columns: role; name (in DVC and MLflow); seed (none without training); mAP50 on the validation split, test_mAP50
    (0 to 1); seconds of training; ms_per_image; reason (where it failed).
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(CONFIRMED)
    if as_is is not None:
        facts = [as_is.validated, as_is.tested, 0.0, as_is.ms_per_image]
        writer.writerow(["as is", as_is.name, "", *facts, ""])
    for one in done.repeats if done else ():
        writer.writerow([one.role, one.name, one.seed, one.validated, one.tested, one.seconds, one.ms_per_image, ""])
    for name, why in (done.failed if done else {}).items():
        writer.writerow(["", name, "", "", "", "", "", why])
    return text.getvalue()
