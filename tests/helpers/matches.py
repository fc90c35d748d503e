"""Made-up models on made-up test images: which predictions are correct, and the true mAP50 of such a model."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stages.decision.resampling import map50
from stages.detector.matches import ClassMatches, ImageMatches, Matches, matches_table

POPULATION = 100_000  # images, for the true mAP50


@dataclass(frozen=True)
class Images:
    """Random images.

    Attributes:
        objects: The number of true objects in each image, at least 1.
        ease: How easy each image is for every model; mean 0.
    """

    objects: NDArray[np.int64]
    ease: NDArray[np.float64]


def random_images(count: int, random: np.random.Generator) -> Images:
    """Return random images with one to about six objects each."""
    return Images(1 + random.poisson(1.4, count), random.normal(0, 1, count))


def liking(images: Images, spread: float, random: np.random.Generator) -> NDArray[np.float64]:
    """Return how much easier each image is for one setting, whatever the seed; mean 0."""
    return random.normal(0, spread, len(images.ease))


def predictions(
    images: Images,
    skill: float,
    random: np.random.Generator,
    liked: NDArray[np.float64] | float = 0.0,
    wrong: float = 1.6,
) -> Matches:
    """Return the predictions of a model.

    Args:
        images: The images.
        skill: It finds an object in an image of mean ease with the probability 1 / (1 + exp(-skill)).
        random: A source of random numbers.
        liked: How much easier each image is for this model, of shape (images,).
        wrong: The number of wrong predictions in an image of mean ease.
    """
    count, ease = len(images.objects), images.ease + liked
    of_object = np.repeat(np.arange(count), images.objects)
    found = of_object[random.random(len(of_object)) < 1 / (1 + np.exp(-skill - ease[of_object]))]
    alarms = np.repeat(np.arange(count), random.poisson(wrong * np.exp(-0.4 * ease)))
    sure = np.concatenate([random.beta(4, 3, len(found)), random.beta(1.2, 4, len(alarms))])
    correct = np.arange(len(sure)) < len(found)
    part = ClassMatches(images.objects, np.concatenate([found, alarms]), sure, correct)
    return Matches(tuple(f"{number:06d}.jpg" for number in range(count)), {"person": part})


def plain_map50(matches: Matches) -> float:
    """Return mAP50 of a model on its images, each once."""
    return float(map50(matches, np.ones((1, len(matches.images))))[0])


def true_map50(skill: float, spread: float, random: np.random.Generator) -> float:
    """Return mAP50 of a model on very many images; `spread` is that of `liking`."""
    images = random_images(POPULATION, random)
    return plain_map50(predictions(images, skill, random, liking(images, spread, random)))


def table(matches: Matches) -> str:
    """Return matches.csv of predictions of one class."""
    (part,) = matches.classes.values()
    rows = []
    for number, name in enumerate(matches.images):
        mine = part.places == number
        labels = np.zeros(mine.sum(), np.int64), part.confidences[mine], part.correct[mine]
        rows.append(ImageMatches(name, np.zeros(part.objects[number], np.int64), *labels))
    return matches_table(rows, ["person"])
