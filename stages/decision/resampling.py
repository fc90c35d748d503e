"""A paired bootstrap over the test images: mAP50 of every model on the same random draws of these images.

A draw takes as many images as there are, with replacement (Efron and Tibshirani, An Introduction to the Bootstrap,
1993). All models see the same draws, so a difference between two models varies less than either of them does.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from stages.detector.matches import ClassMatches, Matches, read_matches

DRAWS = 1000
SEED = 0  # of the draws: the same results give the same report
ROUNDED = 0.001  # of mAP50: matches.csv rounds confidences, so its mAP50 may differ from that of metrics.json by less
_STEPS = 100  # Ultralytics reads the curve of precision and recall at the recalls 0, 0.01, ..., 1


@dataclass(frozen=True)
class ImageDraws:
    """mAP50 of models on the same draws of the test images.

    Attributes:
        images: The number of test images; 0 if there are no draws.
        values: mAP50 on each draw by model, of shape (draws,), NaN for a draw without an object; empty without draws.
        reason: Why there are no draws, as the end of a sentence; else empty.
    """

    images: int = 0
    values: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    reason: str = ""

    def mean(self, names: Collection[str]) -> NDArray[np.float64] | None:
        """Return the mean over some models on each draw; None without draws."""
        return np.mean([self.values[name] for name in names], axis=0) if self.values else None

    def difference(self, names: Collection[str], others: Collection[str]) -> NDArray[np.float64] | None:
        """Return the mean over some models minus that over others on each draw; None without draws."""
        mean, other = self.mean(names), self.mean(others)
        return mean - other if mean is not None and other is not None else None


def resample(models: Mapping[str, tuple[str, float]]) -> ImageDraws:
    """Return mAP50 of several models on draws of the test images. If one model lacks its table, there are no draws.

    Args:
        models: The text of matches.csv and mAP50 in metrics.json, by the name of the model.
    """
    values: dict[str, NDArray[np.float64]] = {}
    images: tuple[str, ...] = ()
    counts = np.zeros((0, 0))
    for name, (table, tested) in models.items():
        if not table:
            return ImageDraws(reason=f"reports/evaluate/matches.csv of {name} is missing or damaged")
        try:
            matches = read_matches(table)
        except ValueError:
            return ImageDraws(reason=f"reports/evaluate/matches.csv of {name} cannot be read")
        if not values:
            images = matches.images
            counts = np.vstack([np.ones(len(images)), draw(len(images))])
        if len(images) < 2:
            return ImageDraws(reason="the test split has a single image")
        if matches.images != images:
            return ImageDraws(reason=f"{name} was tested on other images than {next(iter(models))}")
        whole, *drawn = map50(matches, counts)
        if not abs(whole - tested) < ROUNDED:
            return ImageDraws(reason=f"reports/evaluate/matches.csv of {name} has mAP50 {whole:.3f}, not {tested:.3f}")
        values[name] = np.array(drawn)
    return ImageDraws(len(images), values)


def draw(images: int, draws: int = DRAWS, seed: int = SEED) -> NDArray[np.float64]:
    """Return how often each draw has each image, of shape (draws, images)."""
    return np.random.default_rng(seed).multinomial(images, np.full(images, 1 / images), size=draws).astype(np.float64)


def map50(matches: Matches, counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return mAP50 of a model for choices of the images: the mean AP of the classes that have an object in a choice.

    It is mAP50 of metrics.json if every image counts once. An image that counts twice is two images with the same
    objects and predictions.

    Args:
        matches: The predictions of the model.
        counts: How often each choice has each image, whole numbers of shape (choices, images).

    Returns:
        mAP50 of each choice, 0 to 1, of shape (choices,); NaN for a choice without any object.
    """
    total, classes = np.zeros(len(counts)), np.zeros(len(counts))
    for part in matches.classes.values():
        objects = counts @ part.objects
        total += np.where(objects > 0, _ap50(part, counts, objects), 0.0)
        classes += objects > 0
    return np.divide(total, classes, out=np.full(len(counts), np.nan), where=classes > 0)


def _ap50(part: ClassMatches, counts: NDArray[np.float64], objects: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the AP of one class for each choice of the images, by Ultralytics' definition.

    Ultralytics 8.4 integrates the greatest precision at a higher recall over the recalls 0, 0.01, ..., 1 by the
    trapezoidal rule. That precision is a step function: it changes at correct predictions only. So the sum has one term
    for each correct prediction, and a wrong one counts only through the number of wrong ones before a correct one.
    """
    order = np.argsort(-part.confidences, kind="stable")
    places, correct = part.places[order], part.correct[order]
    hits = int(correct.sum())
    if not hits:
        return np.zeros(len(counts))
    before = np.cumsum(correct)[~correct]  # correct predictions before each wrong one
    is_early = before < hits  # a wrong prediction after the last correct one changes nothing
    shape = hits, counts.shape[1]
    wrong = csr_matrix((np.ones(int(is_early.sum())), (before[is_early], places[~correct][is_early])), shape=shape)
    found = np.cumsum(counts.T[places[correct]], axis=0)
    precision = found / np.maximum(found + np.cumsum(wrong @ counts.T, axis=0), 1.0)
    precision = np.maximum.accumulate(precision[::-1], axis=0)[::-1]
    # The recalls 0, 0.01, ... below each recall, counted in whole numbers, which do not round. The first weighs half.
    below = np.ceil(_STEPS * found / np.maximum(objects, 1.0))
    weights = np.diff(np.maximum(below - 0.5, 0.0), axis=0, prepend=0.0)
    return (precision * weights).sum(axis=0) / _STEPS
