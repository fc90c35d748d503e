"""Kill commands at random moments, repeat them, and count what was lost.

    python -m benchmarks.faults [--kills 200] [--seed 0] [--scenario NAME] [--jobs 1]

Each round runs a command in a fresh copy of a repository and kills it up to five times by SIGKILL: one of its
processes, or all of them. After each kill it does what docs/troubleshooting.md says and repeats the same command. At
last the command runs to its end, and the repository is checked. The moments are spread over the time that the command
takes undisturbed. The trainings are the quick ones of the tests.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from random import Random

from benchmarks.common import SERVICES, at_least_one, scratch
from benchmarks.faults.checks import FAULTS, faults_at_end, faults_since, snapshot
from benchmarks.faults.kills import Kill, recover, run
from benchmarks.faults.scenarios import EPOCH, SCENARIOS, Scenario, make_base
from stages.base import failures
from stages.base.formatting import markdown_table
from stages.base.paths import main_root
from stages.report.machine import hardware, versions

KILLS = 5  # of a round at most


@dataclass
class Round:
    """The counts of one round.

    Attributes:
        victims: The number of kills by kind of process.
        faults: The number of faults by kind.
        left: Processes that a kill left running.
        seconds: From the start of each repeated command to its next experiment, or to its end.
        failed: The commands that did not end well though nothing was killed.
    """

    victims: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    left: int = 0
    seconds: list[float] = field(default_factory=list)
    failed: int = 0

    def add(self, other: Round) -> None:
        self.victims += other.victims
        self.faults += other.faults
        self.left += other.left
        self.seconds += other.seconds
        self.failed += other.failed

    def describe(self) -> str:
        faults = ", ".join(f"{kind} {count}" for kind, count in self.faults.items() if count) or "no fault"
        return f"{self.victims.total()} kills, {faults}, {self.left} left running, {self.failed} failed"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=at_least_one, default=200, help="kills in all")
    parser.add_argument("--seed", type=int, default=0, help="of the moments and the victims")
    parser.add_argument("--scenario", choices=[scenario.name for scenario in SCENARIOS], help="only this one")
    parser.add_argument("--jobs", type=at_least_one, default=1, help="rounds at the same time")
    options = parser.parse_args()
    for name in [name for name in os.environ if name.startswith(SERVICES)]:
        del os.environ[name]
    scenarios = [it for it in SCENARIOS if options.scenario in (None, it.name)]
    print(f"{datetime.now():%Y-%m-%d}; {hardware()}; {versions()}", flush=True)
    with scratch() as folder:
        results = play(scenarios, options.kills, options.seed, options.jobs, folder)
    print("\n".join(table(results)))
    if any(result.faults.total() or result.left or result.failed for result in results.values()):
        sys.exit(1)


def play(scenarios: list[Scenario], kills: int, seed: int, jobs: int, folder: Path) -> dict[str, Round]:
    """Return the counts by scenario, after at least so many kills in all."""
    make_base(folder)
    seconds = {scenario.name: undisturbed(scenario, folder) for scenario in scenarios}
    results = {scenario.name: Round() for scenario in scenarios}
    share = -(-kills // len(scenarios))
    with ThreadPoolExecutor(jobs) as pool:
        for scenario in scenarios:
            total, number = results[scenario.name], 0
            while total.victims.total() < share:
                randoms = [Random(f"{seed} {scenario.name} {number + job}") for job in range(jobs)]
                number += jobs
                for result in pool.map(partial(play_round, scenario, folder, seconds[scenario.name]), randoms):
                    total.add(result)
                print(f"{scenario.name}: {total.describe()}", flush=True)
    return results


def undisturbed(scenario: Scenario, base: Path) -> float:
    """Return the seconds that a command takes if nothing is killed."""
    with tempfile.TemporaryDirectory(dir=base) as folder:
        project = scenario.make(base, Path(folder) / "repository")
        begun = time.monotonic()
        if run(project, scenario.command, EPOCH, None).status:
            log = project.root.with_name(f"{project.root.name}.log").read_text(encoding="utf-8")
            raise SystemExit(f"{scenario.name}: the command fails without a kill:\n{log}")
        return time.monotonic() - begun


def play_round(scenario: Scenario, base: Path, seconds: float, random: Random) -> Round:
    """Kill a command some times, let it end, and count.

    Args:
        scenario: The command.
        base: The folder of the repositories that are copied.
        seconds: The time of the command if nothing is killed.
        random: The source of moments and victims.
    """
    result, folder = Round(), Path(tempfile.mkdtemp(dir=base))
    project = scenario.make(base, folder / "repository")
    before = snapshot(project)
    for attempt in range(KILLS + 1):
        kill = Kill(random.choice(scenario.victims), random.uniform(0, seconds)) if attempt < KILLS else None
        outcome = run(project, scenario.command, EPOCH, kill)
        result.left += outcome.left
        result.faults += faults_since(before, project)
        if attempt and outcome.went_on is not None:
            result.seconds.append(outcome.went_on)
        if kill is not None and outcome.is_killed:
            result.victims[kill.victim] += 1
        elif not outcome.is_killed:
            result.failed += outcome.status != 0
            break
        before = snapshot(project)
        recover(project)
    result.faults += faults_at_end(scenario, project)
    if result.faults.total() or result.left or result.failed:
        kept = main_root() / ".cache" / f"fault-{folder.name}"
        shutil.move(folder, kept)
        print(f"{scenario.name}: {result.describe()}; the repository is kept in {kept}", flush=True)
    else:
        shutil.rmtree(folder)
    return result


def table(results: Mapping[str, Round]) -> list[str]:
    """Return the counts as a table in Markdown, one row for each scenario."""
    rows = []
    for name, result in results.items():
        kills = ", ".join(f"{victim} {count}" for victim, count in sorted(result.victims.items()))
        times = (
            [f"{statistics.median(result.seconds):.0f}", f"{max(result.seconds):.0f}"] if result.seconds else ["-"] * 2
        )
        faults = [str(result.faults[kind]) for kind in FAULTS]
        rows.append([name, str(result.victims.total()), kills, *faults, str(result.left), str(result.failed), *times])
    head = ("command", "kills", "of which", *FAULTS, "left running", "failed", "median s to go on", "worst")
    return markdown_table(head, rows)


if __name__ == "__main__":
    failures.run(main)
