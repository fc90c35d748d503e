"""The operating point: the confidence threshold of a model in use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stages.detector.predictions import ImagePredictions, pooled
from stages.params.schema import Threshold

DEFAULT = 0.25  # Ultralytics' own threshold, if the split has no correct prediction to choose by


@dataclass(frozen=True)
class OperatingPoint:
    """A threshold, and how the model does with it on one split.

    Attributes:
        threshold: Predictions with a confidence over it count, 0 to 1. Ultralytics' argument `conf` means the same.
        precision: The share of correct predictions among all at IoU 0.5, over all classes together, 0 to 1; 0 without
            a prediction.
        recall: The share of objects that are found, over all classes together, 0 to 1; 0 without an object.
    """

    threshold: float
    precision: float
    recall: float

    def missed_rule(self, rule: Threshold) -> str:
        """Return a sentence if the threshold does not do what the rule asks for; empty if it does."""
        if isinstance(rule, str):
            return ""
        ((name, least),) = rule.items()
        value = self.precision if name == "precision" else self.recall
        if value >= least:
            return ""
        return (
            f"no threshold has {name} {least:g} on the validation split: {self.threshold:g} has {value:.3f}, the most"
        )


def at_threshold(images: Sequence[ImagePredictions], threshold: float) -> OperatingPoint:
    """Return precision and recall of a split with a threshold."""
    confidences, correct, objects = pooled(images)
    kept = confidences > threshold
    found = int((kept & correct).sum())
    return OperatingPoint(threshold, found / max(1, int(kept.sum())), found / max(1, objects))


def choose(images: Sequence[ImagePredictions], rule: Threshold) -> OperatingPoint:
    """Return the best threshold on a split, half-way between two confidences, with five digits or as many as it needs.

    `f1` takes the greatest F1, the harmonic mean of precision and recall. `{precision: p}` takes the greatest recall
    with at least this precision, `{recall: r}` the greatest precision with at least this recall. If no threshold has as
    much, the one with the most is taken, and `missed_rule` says so. Without a correct prediction the threshold is 0.25.

    Args:
        images: The images of the validation split: on the test split, the threshold would be chosen by its answers.
        rule: `evaluate.threshold` of params.yaml.
    """
    confidences, correct, objects = pooled(images)
    if not correct.any() or not objects:
        return at_threshold(images, DEFAULT)
    ends = np.flatnonzero(np.append(np.diff(confidences) < 0, True))  # equal confidences are kept or left out together
    found = np.cumsum(correct)[ends]
    precision, recall = found / (ends + 1), found / objects
    if isinstance(rule, str):
        score = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    else:
        ((name, least),) = rule.items()
        wanted, other = (precision, recall) if name == "precision" else (recall, precision)
        score = np.where(wanted >= least, 1 + other, wanted if (wanted < least).all() else -1)
    best = int(score.argmax())
    lowest, next_one = float(confidences[ends][best]), float(np.append(confidences, 0.0)[ends + 1][best])
    middle = (lowest + next_one) / 2
    rounded = (round(middle, digits) for digits in range(5, 16))
    return at_threshold(images, next((value for value in rounded if next_one < value < lowest), middle))
