"""Parameter importances of a study, computed by Optuna's default, PED-ANOVA (Watanabe et al., IJCAI 2023)."""

from __future__ import annotations

from collections.abc import Iterable

import optuna
from optuna.importance import get_param_importances
from optuna.trial import FrozenTrial, TrialState

FEWEST = 5  # complete trials that importances need


def importances(trials: Iterable[FrozenTrial]) -> dict[str, float]:
    """Return the importance of each searched key: how much it decides whether a trial is among the best.

    Args:
        trials: Trials of one study. Those that are not complete are left out.

    Returns:
        Numbers from 0 to 1, together 1, the greatest first. The mapping is empty if fewer than FEWEST trials are
        complete, if all have the same objective, or if the best trials do not differ from the others in any key.
    """
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    if len(complete) < FEWEST or len({trial.value for trial in complete}) == 1:
        return {}
    study = optuna.create_study(direction="maximize")  # in memory: Optuna takes a study here, not trials
    study.add_trials(complete)
    try:
        return dict(get_param_importances(study))
    except (ValueError, RuntimeError):  # no key differs
        return {}
