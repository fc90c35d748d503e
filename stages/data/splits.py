"""Splits: assign each picture to train, val or test."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

from stages.base.failures import Failure

FRACTIONS = {"train": 0.7, "val": 0.15, "test": 0.15}


def assign(origins: Sequence[str], parts: Mapping[str, float], seed: int) -> dict[str, str]:
    """Assign a split to each picture, by a seeded shuffle that depends on the names and not on their order.

    Args:
        origins: The pictures, by unique names.
        parts: Images of each split (int), or fractions that add up to 1 (float); train is among the splits. Pictures
            beyond the counts are left out. With fractions every picture has a split, and no split is empty.
        seed: The seed of the shuffle.

    Returns:
        The split of each picture that has one.

    Raises:
        Failure: There are fewer pictures than `parts` needs.
    """
    shuffled = sorted(origins)
    random.Random(seed).shuffle(shuffled)
    counts = dict(parts)
    if any(isinstance(count, float) for count in counts.values()):
        others = {split: max(1, round(len(shuffled) * share)) for split, share in parts.items() if split != "train"}
        counts = {"train": len(shuffled) - sum(others.values()), **others}
    if min(counts.values()) < 1 or sum(counts.values()) > len(shuffled):
        listed = ", ".join(f"{split} {part:g}" for split, part in parts.items())
        raise Failure(f"data.split: {len(shuffled)} usable pictures are too few for {listed}")
    splits = [split for split, count in counts.items() for _ in range(int(count))]
    return dict(zip(shuffled, splits, strict=False))
