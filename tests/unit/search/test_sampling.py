"""The samplers and the pruner: no point twice, no point outside the space, and a fair comparison of trials."""

from __future__ import annotations

import optuna
import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState, create_trial

from stages.params.space import Dimension, rounded, same
from stages.search.distributions import PointKeys, distribution, untried
from stages.search.encoding import Encoding
from stages.search.pruning import MedianPruner
from stages.search.sampling import Exhausted, Sampler
from stages.search.suggestion import fullest
from tests.unit.search.studies import NO_LIMITS

SPACE: dict[str, BaseDistribution] = {
    "epochs": IntDistribution(2, 5),
    "lr0": FloatDistribution(5e-4, 5e-3, log=True),
    "scale": FloatDistribution(0.0, 0.5, step=0.1),
    "batch": CategoricalDistribution((4, 8)),
}
START = {"epochs": 4, "lr0": 0.002, "scale": 0.2, "batch": 4, "imgsz": 160}
SMALL: dict[str, BaseDistribution] = {"epochs": IntDistribution(2, 5), "imgsz": CategoricalDistribution((128, 160))}


def study_of(space: dict[str, BaseDistribution], excluded: PointKeys, kind: str = "tpe", seed: int = 0) -> optuna.Study:
    return optuna.create_study(direction="maximize", sampler=Sampler(kind, seed, space, START, excluded, NO_LIMITS))


def points(space: dict[str, BaseDistribution], count: int, kind: str = "tpe", seed: int = 0) -> list[dict[str, float]]:
    """Return the points that a study suggests if more epochs are better."""
    excluded: PointKeys = set()
    study = study_of(space, excluded, kind, seed)
    for _ in range(count):
        trial = study.ask(fixed_distributions=space)
        excluded.add(same(trial.params))
        study.tell(trial, trial.params["epochs"] / 10)
    return [trial.params for trial in study.trials]


@pytest.mark.parametrize("kind", ["tpe", "random"])
def test_a_small_space_is_tried_to_its_end_without_a_repetition(kind: str) -> None:
    excluded = {same(point) for point in points(SMALL, 8, kind)}
    assert len(excluded) == 8
    assert untried(SMALL, excluded) == []
    with pytest.raises(Exhausted):
        study_of(SMALL, excluded).ask(fixed_distributions=SMALL)


def test_numbers_are_short_and_within_the_space() -> None:
    for point in points(SPACE, 30):
        for name, values in SPACE.items():
            assert values._contains(values.to_internal_repr(point[name]))
            assert point[name] == rounded(point[name])


@pytest.mark.parametrize("kind", ["auto", "tpe", "random"])
@pytest.mark.parametrize(
    "dimension",
    [
        {"low": 1.0, "high": 15.0, "step": 0.125},
        {"low": 0.0, "high": 180.0, "step": 0.25},
        {"low": 0.1, "high": 0.7, "step": 0.2},
        {"low": 0, "high": 100_000, "step": 7},
    ],
)
def test_a_step_needs_as_many_digits_as_it_has(kind: str, dimension: dict[str, float]) -> None:
    values = distribution(Dimension.model_validate(dimension), whole=isinstance(dimension["low"], int))
    space = {"epochs": IntDistribution(2, 5), "degrees": values}
    excluded: PointKeys = set()
    study = optuna.create_study(
        direction="maximize", sampler=Sampler(kind, 0, space, {"epochs": 4, "degrees": 3}, excluded, NO_LIMITS)
    )
    for _ in range(8):
        trial = study.ask(fixed_distributions=space)
        assert values._contains(values.to_internal_repr(trial.params["degrees"]))
        study.tell(trial, trial.params["degrees"] / 1e6)


def test_a_start_outside_the_categories_has_no_fullest_neighbour() -> None:
    space: dict[str, BaseDistribution] = {**SPACE, "optimizer": CategoricalDistribution(("AdamW", "SGD"))}
    assert fullest({**START, "optimizer": "auto"}, Encoding(space)) is None
    assert fullest({**START, "optimizer": "SGD"}, Encoding(space)) is not None


def test_a_second_worker_gets_the_second_point_while_nothing_is_measured() -> None:
    study = study_of(SPACE, set(), "auto")
    start = {key: START[key] for key in SPACE}
    study.enqueue_trial(start)
    asked = [study.ask(fixed_distributions=SPACE).params for _ in range(3)]
    assert asked[:2] == [start, {**start, "epochs": 5}]
    assert asked[2] not in asked[:2], "nothing is measured yet, so the third one is random"


def test_the_same_seed_suggests_the_same_points_and_another_does_not() -> None:
    assert points(SPACE, 12) == points(SPACE, 12)
    assert points(SPACE, 12) != points(SPACE, 12, seed=1)


def test_a_study_that_is_resumed_does_not_repeat_itself() -> None:
    excluded: PointKeys = set()
    study = study_of(SPACE, excluded)
    first = [study.ask(fixed_distributions=SPACE).params for _ in range(3)]
    study.sampler = Sampler("tpe", 0, SPACE, START, excluded, NO_LIMITS)
    assert study.ask(fixed_distributions=SPACE).params not in first


def test_tpe_learns_what_random_does_not() -> None:
    """In a space whose longest training is best, compare the second half of the suggested points."""
    tpe, random = (sum(point["epochs"] == 5 for point in points(SPACE, 40, kind)[20:]) for kind in ("tpe", "random"))
    assert tpe > random


def test_the_points_of_an_infinite_space_are_not_listed() -> None:
    assert untried(SPACE, set()) is None


@pytest.mark.parametrize(
    ("dimension", "whole", "expected"),
    [
        ({"low": 2, "high": 5}, True, IntDistribution(2, 5)),
        ({"low": 128, "high": 256, "step": 32}, True, IntDistribution(128, 256, step=32)),
        ({"low": 1, "high": 64, "log": True}, True, IntDistribution(1, 64, log=True)),
        ({"low": 0, "high": 1}, False, FloatDistribution(0.0, 1.0)),
        ({"low": 0.0, "high": 0.55, "step": 0.1}, False, FloatDistribution(0.0, 0.5, step=0.1)),
        ({"low": 1e-4, "high": 1e-2, "log": True}, False, FloatDistribution(1e-4, 1e-2, log=True)),
        ({"choices": ["SGD", "AdamW"]}, False, CategoricalDistribution(("SGD", "AdamW"))),
    ],
)
def test_a_dimension_becomes_optunas_distribution(
    dimension: dict[str, object], whole: bool, expected: BaseDistribution
) -> None:
    assert distribution(Dimension.model_validate(dimension), whole) == expected


def with_curves(pruner: MedianPruner, *curves: list[float]) -> optuna.Study:
    """Return a study whose complete trials had these objectives, epoch by epoch."""
    study = optuna.create_study(direction="maximize", pruner=pruner)
    for curve in curves:
        values = dict(enumerate(curve, start=1))
        study.add_trial(
            create_trial(
                state=TrialState.COMPLETE,
                value=curve[-1],
                intermediate_values=values,
                user_attrs={"epochs": len(curve)},
            )
        )
    return study


def stops(study: optuna.Study, epochs: int, *reported: float) -> bool:
    trial = study.ask()
    trial.set_user_attr("epochs", epochs)
    for epoch, value in enumerate(reported, start=1):
        trial.report(value, epoch)
    return trial.should_prune()


def test_a_bad_trial_is_stopped_and_a_good_one_is_not() -> None:
    study = with_curves(MedianPruner(), *([[0.2, 0.4, 0.6, 0.8]] * 5))
    assert stops(study, 4, 0.1, 0.2)
    assert not stops(study, 4, 0.2, 0.5)


def test_a_long_training_is_not_stopped_for_being_behind_short_ones_at_the_same_epoch() -> None:
    """After two of eight epochs, the bar is what the others reached after half of their two epochs."""
    study = with_curves(MedianPruner(), *([[0.2, 0.5]] * 5))
    assert not stops(study, 8, 0.1, 0.15)
    assert not stops(study, 8, 0.1, 0.15, 0.2, 0.25)
    assert stops(study, 8, 0.1, 0.1, 0.1, 0.1)


def test_the_pruner_waits_for_some_trials_and_a_third_of_the_training() -> None:
    assert not stops(with_curves(MedianPruner(), *([[0.8] * 4] * 4)), 4, 0.1, 0.1)
    study = with_curves(MedianPruner(), *([[0.8] * 4] * 5))
    assert not stops(study, 4, 0.1)
    assert stops(study, 4, 0.1, 0.1)
