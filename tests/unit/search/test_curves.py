"""The trainings that a forecast takes from a study."""

from __future__ import annotations

from optuna.distributions import BaseDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from stages.search.curves import MAX_TRAININGS, trainings
from stages.search.encoding import Encoding

SPACE: dict[str, BaseDistribution] = {"seed": IntDistribution(0, 1000)}


def trial(seed: int, state: TrialState, value: float | None = None) -> FrozenTrial:
    return create_trial(
        state=state, params={"seed": seed}, distributions=SPACE, value=value, intermediate_values={1: 0.1}
    )


def test_of_many_trainings_the_best_and_the_newest_are_taken_and_all_that_run_once_each() -> None:
    trials = [trial(seed, TrialState.COMPLETE, 1 - seed / 1000) for seed in range(20)]
    trials += [trial(seed, TrialState.PRUNED) for seed in range(20, 120)]
    trials += [trial(seed, TrialState.RUNNING) for seed in range(120, 124)]
    taken = trainings(trials, Encoding(SPACE))
    rows = [round(float(training.row[0]) * 1000) for training in taken]
    assert len(rows) == len(set(rows)) == MAX_TRAININGS + 4
    assert set(range(20)) < set(rows), "the complete ones"
    assert set(range(119, 95, -1)) < set(rows), "the newest ones"
    assert [training.is_running for training in taken] == [False] * MAX_TRAININGS + [True] * 4
