"""End a study by itself if further trials can hardly gain anything beside the noise between seeds."""

from __future__ import annotations

from collections.abc import Iterable

from optuna.trial import FrozenTrial

from stages.experiments.noise import Noise
from stages.search.sampling import GAIN

RULE_OF_THUMB = Noise(0.02, 10)
"""The noise between seeds where nothing was repeated: about that of the best settings of the table drawn."""


SHARE = 0.25
"""The share of the noise that a suggestion must be expected to gain.

Several suggestions together gain more than one. On the recorded tables, with the noise of real studies (0.037), studies
that ended at the whole noise trained 5 of 16 trials and had a regret of 0.006 (drawn) and 0.048 (other_drawn); at a
quarter of it they trained 15 and had 0.006 and 0.022, as without an end.
"""


class Converged(Exception):
    """The study has ended by itself. The text says why."""


def check_convergence(trials: Iterable[FrozenTrial], patience: int | None, noise: float) -> None:
    """Raise Converged if each of the last suggestions was expected to gain less than SHARE of the noise.

    Args:
        trials: The trials of a study, by number.
        patience: The number of suggestions in a row; None if the study never ends by itself.
        noise: The standard deviation of the objective between seeds.
    """
    gains = [trial.user_attrs[GAIN] for trial in trials if GAIN in trial.user_attrs]
    if patience is None or len(gains) < patience or max(gains[-patience:]) >= SHARE * noise:
        return
    raise Converged(
        f"the study has converged: each of the last {patience} suggestions was expected to gain at most "
        f"{max(gains[-patience:]):.3f}, less than a quarter of the noise between seeds ({noise:.3f}); "
        "`-S tune.patience=null` continues it"
    )
