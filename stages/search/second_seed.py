"""Check the best trials of a study with a second seed, before one of them is called the best.

The best of many trials with one seed is partly lucky. In about one of ten studies, the chosen setting is worse than the
default (overtuning, Schneider and others, arXiv 2506.19540).
"""

from __future__ import annotations

from optuna.trial import FrozenTrial

from stages.experiments.noise import Noise
from stages.search.repeats import Repeater, Wanted
from stages.search.study import Study
from stages.search.train_all import one_process

MOST = 3  # trials that are checked


def contenders(study: Study, noise: Noise) -> list[FrozenTrial]:
    """Return the best candidate, and those after it that the noise could put before it; at most MOST."""
    trials = sorted(study.candidates(), key=lambda trial: (-(trial.value or 0.0), trial.number))[:MOST]
    return [trial for trial in trials if (trial.value or 0.0) >= (trials[0].value or 0.0) - noise.margin()]


def check_best(study: Study, noise: Noise, repeater: Repeater) -> None:
    """Train the best trials of a study with a second seed if the noise could reverse them, and record the results.

    Args:
        study: The study.
        noise: The noise between seeds.
        repeater: Trains the repeats. The first of its seeds is the second seed.

    Raises:
        Failure: The dvc command that started this process has ended.
    """
    close = contenders(study, noise)
    if len(close) < 2 or not repeater.seeds:
        return
    numbers = {f"trial {trial.number}": trial.number for trial in close}
    wanted = [Wanted(label, trial.params, repeater.seeds[0]) for label, trial in zip(numbers, close, strict=True)]
    with one_process():
        repeated, missing = repeater.existing(wanted)
        if missing:
            print(
                f"the noise between seeds could reverse trials {', '.join(map(str, numbers.values()))}: "
                f"training {len(missing)} of them with seed {repeater.seeds[0]}",
                flush=True,
            )
            repeated += repeater.train(missing, {})
    study.record_second_seed({numbers[repeat.label]: training.metrics["mAP50"] for repeat, training in repeated})


def describe(study: Study) -> str:
    """Return which trials were checked, and their means, as a sentence; empty if none were."""
    trials = (trial for trial in study.complete_trials() if trial.number in study.second_seed())
    means = [f"trial {trial.number} {study.mean(trial):.3f}" for trial in trials]
    return f"mean mAP50 of two seeds: {', '.join(means)}" if means else ""
