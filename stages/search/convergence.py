"""When a study ends by itself: if further trials can hardly gain more than the noise between seeds."""

from __future__ import annotations

from collections.abc import Iterable

from optuna.trial import FrozenTrial

from stages.experiments.noise import Noise
from stages.search.sampling import GAIN

RULE_OF_THUMB = Noise(0.02, 10)
"""The noise between seeds where nothing was repeated: about that of the best settings of the table drawn."""


class Converged(Exception):
    """The study has ended by itself. The text says why."""


def check_convergence(trials: Iterable[FrozenTrial], patience: int | None, noise: float) -> None:
    """Raise Converged if the last suggestions were expected to gain less than the noise.

    Args:
        trials: The trials of a study, by number.
        patience: The number of suggestions in a row; None if the study never ends by itself.
        noise: The standard deviation of the objective between seeds.
    """
    gains = [trial.user_attrs[GAIN] for trial in trials if GAIN in trial.user_attrs]
    if patience is None or len(gains) < patience or max(gains[-patience:]) >= noise:
        return
    raise Converged(
        f"the study has converged: the last {patience} suggestions were expected to gain at most "
        f"{max(gains[-patience:]):.3f}, less than the noise between seeds ({noise:.3f}); "
        "`-S tune.patience=null` continues it"
    )
