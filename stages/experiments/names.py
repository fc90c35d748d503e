"""Names of trials and confirmations, the same in DVC, Optuna and MLflow."""

from __future__ import annotations

import re


def trial_name(study: str, number: int) -> str:
    """The one name of a trial, in DVC and MLflow."""
    return f"{study}-{number:03d}"


def study_of(name: str) -> tuple[str, int] | None:
    """The study and the number of a trial by its name; None where it is no trial's."""
    found = re.fullmatch(r"(tune-[0-9a-f]{6})-(\d{3,})", name)
    return (found[1], int(found[2])) if found else None


def is_study(name: str) -> bool:
    """Whether a name is a study's."""
    return study_of(f"{name}-000") is not None


def confirmation_name(setting: str, seed: int) -> str:
    """The one name of a training that repeats a setting with another seed; `setting` is six hexadecimal digits."""
    return f"confirm-{setting}-s{seed}"


def is_confirmation(name: str) -> bool:
    """Whether a name is that of a setting trained again with another seed."""
    return re.fullmatch(r"confirm-[0-9a-f]{6}-s\d+", name) is not None


AS_IS = ("as_is_mAP50", "as_is_test_mAP50")
"""mAP50 of the pretrained model before the training, on the validation and on the test split, in metrics.json."""
