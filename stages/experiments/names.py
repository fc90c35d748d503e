"""Names of runs, the same in DVC, Optuna and MLflow, and the kinds of runs that they tell apart."""

from __future__ import annotations

import re

AS_IS = ("as_is_mAP50", "as_is_test_mAP50")
"""mAP50 of the pretrained model before the training, on the validation and on the test split, in metrics.json."""

OWN_SOURCES = ("sampler", "enqueued")
"""The sources of the trials that a study has trained itself."""


def trial_name(study: str, number: int) -> str:
    """Return the name of a trial."""
    return f"{study}-{number:03d}"


def study_of(name: str) -> tuple[str, int] | None:
    """Return the study and the number of a trial by its name; None if the name is not that of a trial."""
    match = re.fullmatch(r"(tune-[0-9a-f]{6})-(\d{3,})", name)
    return (match[1], int(match[2])) if match else None


def is_study(name: str) -> bool:
    """Return whether a name is that of a study."""
    return study_of(f"{name}-000") is not None


def confirmation_name(setting: str, seed: int) -> str:
    """Return the name of a repeat of a setting with another seed; `setting` is six hexadecimal digits."""
    return f"confirm-{setting}-s{seed}"


def run_kind(experiment: str | None, figures: int = 0) -> str:
    """Return the kind of a run.

    Args:
        experiment: The name of the DVC experiment; None if the run is a commit or stands in the workspace.
        figures: How many files reports/figures has. A run that was asked to tune ends with a decision and its figures;
            every other run has a single file there.

    Returns:
        `baseline` for a commit or the workspace; `trial` for a trial of a study; `confirmation` for a repeat of a
        setting with another seed; `tuned` for the experiment that ran a study; `grid` for every other experiment.
    """
    if experiment is None:
        return "baseline"
    if study_of(experiment):
        return "trial"
    if re.fullmatch(r"confirm-[0-9a-f]{6}-s\d+", experiment):
        return "confirmation"
    return "tuned" if figures > 1 else "grid"
