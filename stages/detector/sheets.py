"""Sheets of images with their true and predicted boxes: the first images, and the worst ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from stages.data.contact_sheet import COLOURS, Colour, grid, tile
from stages.data.images import read_image
from stages.data.samples import Box
from stages.detector.errors import KINDS, MISSED, ImageErrors, image_errors
from stages.detector.predictions import ImagePredictions, fractions

SHOWN = 8  # images on the sheet of predictions
WORST = 6  # images on the sheet of the worst ones
WORST_SIDE = 256  # pixels of their tiles: the kinds of errors must be readable

PREDICTED, TRUTH, CORRECT = COLOURS[:3]
WRONG = COLOURS[5]


def prediction_sheet(images: Sequence[ImagePredictions], threshold: float) -> bytes:
    """Return the first images, by their paths, as PNG: each with its true boxes, and with those over a threshold."""
    tiles = []
    for image in sorted(images, key=lambda image: image.path.parts)[:SHOWN]:
        pixels, kept = read_image(image.path), image.above(threshold)
        truth = [(box, TRUTH, "") for box in fractions(kept.truth_boxes, kept.truth_classes, kept.size)]
        boxes = fractions(kept.boxes, kept.classes, kept.size)
        marks = [(box, PREDICTED, f"{value:.2f}") for box, value in zip(boxes, kept.confidences, strict=True)]
        tiles += [tile(pixels, truth, "truth"), tile(pixels, marks, f"predicted, over {threshold:.2f}")]
    return grid(tiles)


def worst_images(images: Sequence[ImagePredictions], threshold: float) -> list[tuple[ImagePredictions, ImageErrors]]:
    """Return the images with errors and their errors, the worst first.

    An image loses one for each wrong box and for each missed object. If two images lose the same, the one with the more
    confident wrong boxes is worse.

    Args:
        images: The images of a split.
        threshold: Predictions with a confidence over it count, 0 to 1.
    """
    kept = [image.above(threshold) for image in images]
    pairs = [(image, image_errors(image)) for image in kept]

    def loss(pair: tuple[ImagePredictions, ImageErrors]) -> tuple[int, float]:
        image, errors = pair
        is_wrong = errors.kinds != ""
        return int(is_wrong.sum() + errors.missed.sum()), float(image.confidences[is_wrong].sum())

    return sorted((pair for pair in pairs if loss(pair)[0]), key=loss, reverse=True)


def worst_sheet(images: Sequence[ImagePredictions], threshold: float, classes: Sequence[str]) -> bytes:
    """Return the worst images as PNG, each with its true boxes and with the predicted ones, and each error by its kind.

    If there are several classes, a wrong box and a missed object have the class too. If no image has an error, the
    sheet has one white tile.

    Args:
        images: The images of a split.
        threshold: Predictions with a confidence over it count, 0 to 1.
        classes: The names of the classes.
    """
    tiles = []
    for image, errors in worst_images(images, threshold)[:WORST]:
        pixels = read_image(image.path)
        truth = [
            _mark(box, TRUTH, MISSED if is_missed else "", classes)
            for box, is_missed in zip(
                fractions(image.truth_boxes, image.truth_classes, image.size), errors.missed, strict=True
            )
        ]
        predicted = [
            _mark(box, CORRECT, f"{kind} {confidence:.2f}".strip(), classes, bool(kind))
            for box, kind, confidence in zip(
                fractions(image.boxes, image.classes, image.size), errors.kinds, image.confidences, strict=True
            )
        ]
        counts = Counter({kind: errors.count(kind) for kind in KINDS})
        summary = ", ".join(f"{count} {kind}" for kind, count in counts.most_common() if count)
        tiles.append(tile(pixels, truth, f"truth, {image.path.name}", WORST_SIDE))
        tiles.append(tile(pixels, predicted, summary, WORST_SIDE))
    return grid(tiles or [np.full((WORST_SIDE, WORST_SIDE, 3), 255, np.uint8)])


def _mark(
    box: Box, colour: Colour, text: str, classes: Sequence[str], is_wrong: bool = False
) -> tuple[Box, Colour, str]:
    named = text and len(classes) > 1
    return box, WRONG if is_wrong or text == MISSED else colour, f"{classes[box[0]]} {text}" if named else text
