"""The pruner that forecasts: it works from the first curve on, and leaves trials alone that may become the best."""

from __future__ import annotations

import optuna
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.trial import create_trial

from stages.search.pruning import ForecastPruner

SPACE: dict[str, BaseDistribution] = {
    "epochs": IntDistribution(2, 8),
    "lr0": FloatDistribution(5e-4, 5e-3, log=True),
}
GOOD = [0.2, 0.45, 0.65, 0.8]
MIDDLING = [0.1, 0.2, 0.3]


def with_curves(*curves: list[float]) -> optuna.Study:
    """Return a study whose complete trials had these curves."""
    study = optuna.create_study(direction="maximize", pruner=ForecastPruner(SPACE))
    for number, curve in enumerate(curves):
        study.add_trial(
            create_trial(
                params={"epochs": len(curve), "lr0": 0.002 - 0.0005 * number},
                distributions=SPACE,
                value=curve[-1],
                intermediate_values=dict(enumerate(curve, start=1)),
                user_attrs={"epochs": len(curve)},
            )
        )
    return study


def stops(study: optuna.Study, reported: list[float], epochs: int = 4, lr0: float = 0.004) -> bool:
    study.enqueue_trial({"epochs": epochs, "lr0": lr0})
    trial = study.ask(fixed_distributions=SPACE)
    trial.set_user_attr("epochs", epochs)
    for epoch, value in enumerate(reported, start=1):
        trial.report(value, epoch)
    return trial.should_prune()


def test_a_hopeless_trial_is_stopped_after_the_first_known_training() -> None:
    assert stops(with_curves(GOOD), [0.02, 0.03, 0.03])
    assert not stops(with_curves(GOOD), [0.2, 0.45])


def test_a_trial_is_not_stopped_without_a_complete_one_or_at_its_own_end() -> None:
    assert not stops(with_curves(), [0.01, 0.01])
    assert not stops(with_curves(GOOD), [0.01, 0.01, 0.01, 0.01])


def test_a_long_training_is_not_stopped_for_being_behind_a_short_one_at_the_same_epoch() -> None:
    study = with_curves([0.3, 0.6], GOOD)
    assert not stops(study, [0.1, 0.2, 0.3], epochs=8)


def test_curves_of_results_from_outside_the_study_count() -> None:
    """A result without a curve says less about a trial in its middle."""
    study = with_curves(GOOD, GOOD)
    bare = optuna.create_study(direction="maximize", pruner=ForecastPruner(SPACE))
    for trial in study.trials:
        bare.add_trial(create_trial(params=trial.params, distributions=SPACE, value=0.8, user_attrs={"epochs": 4}))
    assert stops(study, MIDDLING)
    assert not stops(bare, MIDDLING)
