"""Compare repeats on the test split: over seeds and test images, or over splits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from stages.decision.confirmation import Confirmation, Repeat
from stages.decision.resampling import ImageDraws, resample
from stages.decision.significance import Estimate, Interval, difference, estimate
from stages.detector.as_is import AsIs


@dataclass(frozen=True)
class Comparison:
    """The basis of all intervals of a decision.

    Attributes:
        draws: mAP50 of each model on draws of the test images. There are none if the repeats have other splits: the
            spread of the repeats has the luck of the images in it then.
        overlap: As `Confirmation.overlap`.
    """

    draws: ImageDraws
    overlap: float | None

    @property
    def without_images(self) -> str:
        """Return why the intervals cover the seeds alone, as the end of a sentence; empty if they cover images too."""
        return self.draws.reason if self.overlap is None else ""

    def mean(self, repeats: Sequence[Repeat]) -> Estimate:
        """Return the mean of repeats of one setting."""
        names = [repeat.name for repeat in repeats]
        mean = estimate([repeat.tested for repeat in repeats], self.overlap)
        return mean.over_images(self.draws.mean(names), self.draws.images)

    def minus(self, repeats: Sequence[Repeat], others: Sequence[Repeat]) -> Estimate | None:
        """Return the difference between two settings, seed by seed; None if they share no seed."""
        values, other_values = ({repeat.seed: repeat.tested for repeat in group} for group in (repeats, others))
        shared = values.keys() & other_values.keys()
        names, other_names = ([repeat.name for repeat in group if repeat.seed in shared] for group in (repeats, others))
        result = difference(values, other_values, self.overlap)
        return result.over_images(self.draws.difference(names, other_names), self.draws.images) if result else None

    def minus_as_is(self, repeats: Sequence[Repeat], as_is: AsIs) -> Estimate:
        """Return the difference between a setting and the pretrained model without training."""
        if as_is.by_seed:
            return estimate([repeat.tested - as_is.by_seed[repeat.seed] for repeat in repeats], self.overlap)
        over = self.draws.difference([repeat.name for repeat in repeats], [as_is.name])
        return (self.mean(repeats) - as_is.tested).over_images(over, self.draws.images)

    def mean_as_is(self, as_is: AsIs) -> Estimate:
        """Return mAP50 of the pretrained model without training, which no seed changes."""
        if as_is.by_seed:
            return estimate(list(as_is.by_seed.values()), self.overlap)
        tested = Estimate(as_is.tested, Interval(as_is.tested, as_is.tested), 0.0, 0)
        return tested.over_images(self.draws.mean([as_is.name]), self.draws.images)


def compare(confirmation: Confirmation, as_is: AsIs | None) -> Comparison:
    """Return the basis of the intervals for these repeats."""
    if confirmation.overlap is not None:
        return Comparison(ImageDraws(), confirmation.overlap)
    models = {repeat.name: (repeat.matches, repeat.tested) for repeat in confirmation.repeats}
    if as_is is not None:
        models[as_is.name] = as_is.matches, as_is.tested
    return Comparison(resample(models), None)
