"""Duplicates: find images that look the same by their perceptual hashes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

NEAR = 6
"""The most bits in which the hashes of duplicates differ.

Measured on COCO128 and on the drawn pictures: JPEG quality 50, half or 40 % of the size, or no colour changes at most 4
bits, and a fifth more light at most 6. The nearest two different photographs differ in 16 bits, and the nearest two of
2,000 drawings in 8.
"""

_BLOCK = 1024  # hashes that are compared with all others at a time


def groups(hashes: Sequence[int], near: int = NEAR) -> list[list[int]]:
    """Return the groups of images that look the same, each with the numbers of its images, in the order of the images.

    An image is in a group if its hash differs in at most `near` bits from that of one other image of the group.

    Args:
        hashes: The hash of each image, 64 bits.
        near: The most bits in which the hashes of duplicates differ.
    """
    if not hashes:
        return []
    values, places = np.unique(np.array(hashes, np.uint64), return_inverse=True)
    pairs = [
        start + np.argwhere(np.bitwise_count(values[start : start + _BLOCK, None] ^ values[None, start:]) <= near)
        for start in range(0, len(values), _BLOCK)
    ]
    rows, columns = np.concatenate(pairs).T
    graph = coo_array((np.ones(len(rows), bool), (rows, columns)), shape=(len(values), len(values)))
    _, components = connected_components(graph, directed=False)
    members: dict[int, list[int]] = {}
    for number, component in enumerate(components[places].tolist()):
        members.setdefault(component, []).append(number)
    return [group for group in members.values() if len(group) > 1]
