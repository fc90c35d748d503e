"""Splits: assign each picture to train, val or test, with about the same share of each class."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence

from stages.base.failures import Failure

FRACTIONS = {"train": 0.7, "val": 0.15, "test": 0.15}

NOTHING = -1  # the group of the pictures without any object

ATTEMPTS = 20  # orders of the pictures that are tried while a split lacks a class; more hardly help
NAMED = 20  # classes that a message names

_REST = ""  # what stands for a split where pictures beyond the counts are left out


def assign(
    shown: Mapping[str, Iterable[int]], classes: Sequence[str], parts: Mapping[str, float], seed: int
) -> dict[str, str]:
    """Assign a split to each picture. The result depends on names, classes and seed, and not on their order.

    If all pictures show the same classes, a shuffle decides. Otherwise each class has about the same share in each
    split, and is in every split if its pictures allow that. The pictures without any object are one more group.

    Args:
        shown: The classes in each picture, from 0, by its unique name.
        classes: The names of the classes.
        parts: Images of each split (int), or fractions that add up to 1 (float); train is among the splits. Pictures
            beyond the counts are left out. With fractions every picture has a split, and no split is empty.
        seed: The seed of the shuffle.

    Returns:
        The split of each picture that has one.

    Raises:
        Failure: There are fewer pictures than `parts` needs, or fewer pictures of a class than there are splits.
    """
    sizes = _sizes(parts, len(shown))
    groups = {name: sorted(set(labels)) or [NOTHING] for name, labels in shown.items()}
    _check_classes(groups, classes, list(sizes))
    shuffled = sorted(shown)
    generator = random.Random(seed)
    generator.shuffle(shuffled)
    if len(set(map(tuple, groups.values()))) == 1:
        splits = [split for split, size in sizes.items() for _ in range(size)]
        return dict(zip(shuffled, splits, strict=False))
    best: dict[str, str] = {}
    most = -1
    for _ in range(ATTEMPTS):
        assigned = _stratified({name: groups[name] for name in shuffled}, sizes, generator)
        covered = {(split, label) for name, split in assigned.items() for label in groups[name] if label != NOTHING}
        if len(covered) > most:
            best, most = assigned, len(covered)
        if most == len(sizes) * len(classes):
            break
        generator.shuffle(shuffled)
    return best


def _sizes(parts: Mapping[str, float], pictures: int) -> dict[str, int]:
    """Return the number of pictures of each split."""
    counts = dict(parts)
    if any(isinstance(count, float) for count in counts.values()):
        others = {split: max(1, round(pictures * share)) for split, share in parts.items() if split != "train"}
        counts = {"train": pictures - sum(others.values()), **others}
    if min(counts.values()) < 1 or sum(counts.values()) > pictures:
        listed = ", ".join(f"{split} {part:g}" for split, part in parts.items())
        raise Failure(f"data.split: {pictures} usable pictures are too few for {listed}")
    return {split: int(count) for split, count in counts.items()}


def _check_classes(groups: Mapping[str, Sequence[int]], classes: Sequence[str], splits: Sequence[str]) -> None:
    """Raise Failure if a class is in fewer pictures than there are splits."""
    counts = dict.fromkeys(range(len(classes)), 0)
    for labels in groups.values():
        for label in labels:
            if label != NOTHING:
                counts[label] += 1
    rare = [f"{classes[label]} ({count})" for label, count in counts.items() if count < len(splits)]
    if rare:
        more = f" and {len(rare) - NAMED} more" if len(rare) > NAMED else ""
        raise Failure(
            f"data.classes: too few pictures show {', '.join(rare[:NAMED])}{more}: each class must be in "
            f"{', '.join(splits)}; add pictures, or remove the class from data.classes"
        )


def _stratified(
    groups: Mapping[str, Sequence[int]], sizes: Mapping[str, int], generator: random.Random
) -> dict[str, str]:
    """Assign splits by iterative stratification, the method for pictures of several classes each.

    It is that of Sechidis, Tsoumakas and Vlahavas, "On the stratification of multi-label data" (ECML PKDD 2011): the
    class with the fewest pictures left comes first, and each of its pictures goes to the split that lacks this class
    most. Here a split that has no picture of the class comes before the others.

    Args:
        groups: The groups (classes, or NOTHING) of each picture. The order decides which of equal pictures comes first.
        sizes: The pictures of each split.
        generator: Decides between equal splits.
    """
    pictures: dict[int, list[str]] = {}
    for name, labels in groups.items():
        for label in labels:
            pictures.setdefault(label, []).append(name)
    room = {**sizes, _REST: len(groups) - sum(sizes.values())}
    # The pictures of each group that a split lacks, times the number of all pictures: whole numbers have no rounding.
    lacking = {split: {label: size * len(names) for label, names in pictures.items()} for split, size in room.items()}
    left = {label: len(names) for label, names in pictures.items()}
    absent = {(split, label) for split in sizes for label in pictures if label != NOTHING}
    splits: dict[str, str] = {}
    while rarest := min(((count, label) for label, count in left.items() if count), default=None):
        label = rarest[1]
        for name in pictures[label]:
            if name in splits:
                continue
            _, split = max(
                (((split, label) in absent, lacking[split][label], free, generator.random()), split)
                for split, free in room.items()
                if free
            )
            splits[name] = split
            room[split] -= 1
            for group in groups[name]:
                lacking[split][group] -= len(groups)
                left[group] -= 1
                absent.discard((split, group))
    return {name: split for name, split in splits.items() if split != _REST}
