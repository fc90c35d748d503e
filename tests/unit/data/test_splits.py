"""Splits: exact sizes, each class in each split, the same result everywhere."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping

import pytest

from stages.base.failures import Failure
from stages.data.splits import FRACTIONS, assign

Shown = dict[str, list[int]]

ONE = ["person"]


def alike(count: int) -> Shown:
    """Pictures that all show the same class."""
    return {f"{number}.jpg": [0] for number in range(count)}


def random_pictures(seed: int, pictures: int, counts: Mapping[int, int]) -> Shown:
    """Pictures with each class in `counts` of them. Some show several classes, and some none."""
    generator = random.Random(seed)
    shown: Shown = {f"{number:03d}.jpg": [] for number in range(pictures)}
    for label, count in counts.items():
        for name in generator.sample(sorted(shown), count):
            shown[name].append(label)
    return shown


def by_split(shown: Shown, splits: Mapping[str, str], label: int) -> Counter[str]:
    return Counter(split for name, split in splits.items() if label in shown[name])


CASES = [(seed, random_pictures(seed, 60 + 7 * seed, {0: 40, 1: 20, 2: 9, 3: 4, 4: 3, 5: 3})) for seed in range(25)]
NAMES = [f"class {label}" for label in range(6)]

each_case = pytest.mark.parametrize(("seed", "shown"), CASES, ids=[f"seed{seed}" for seed, _ in CASES])


@each_case
@pytest.mark.parametrize("parts", [FRACTIONS, {"train": 30, "val": 10, "test": 12}], ids=["fractions", "counts"])
def test_sizes_are_exact_and_every_class_is_in_every_split(seed: int, shown: Shown, parts: Mapping[str, float]) -> None:
    splits = assign(shown, NAMES, parts, seed)
    others = {split: round(len(shown) * 0.15) for split in ("val", "test")}
    exact = dict(parts) if parts is not FRACTIONS else {"train": len(shown) - sum(others.values()), **others}
    assert Counter(splits.values()) == exact
    assert splits.keys() <= shown.keys()
    for label in range(len(NAMES)):
        assert by_split(shown, splits, label).keys() == parts.keys(), NAMES[label]


@each_case
def test_a_class_has_about_the_same_share_in_each_split(seed: int, shown: Shown) -> None:
    splits = assign(shown, NAMES, FRACTIONS, seed)
    sizes = Counter(splits.values())
    for label in (0, 1, 2):
        counts = by_split(shown, splits, label)
        for split, size in sizes.items():
            assert abs(counts[split] - counts.total() * size / len(shown)) < 2, (label, split, counts)


@each_case
def test_pictures_without_any_object_are_in_each_split_alike(seed: int, shown: Shown) -> None:
    splits = assign(shown, NAMES, FRACTIONS, seed)
    empty = Counter(splits[name] for name, labels in shown.items() if not labels)
    for split, size in Counter(splits.values()).items():
        assert abs(empty[split] - empty.total() * size / len(shown)) < 4, (split, empty)


@each_case
def test_the_splits_depend_on_the_seed_and_not_on_the_order(seed: int, shown: Shown) -> None:
    splits = assign(shown, NAMES, FRACTIONS, seed)
    turned = {name: labels[::-1] * 2 for name, labels in reversed(shown.items())}
    assert assign(turned, NAMES, FRACTIONS, seed) == splits
    assert assign(shown, NAMES, FRACTIONS, seed + 1) != splits


def test_pictures_that_all_show_the_same_classes_are_shuffled() -> None:
    """So the splits of Tiny COCO, whose measurements are in the documentation, stay what they were."""
    names = sorted(alike(40))
    random.Random(3).shuffle(names)
    splits = assign(alike(40), ONE, {"train": 20, "val": 5, "test": 10}, 3)
    assert [name for split in ("train", "val", "test") for name in names if splits.get(name) == split] == names[:35]
    assert [splits[name] for name in names[:35]] == ["train"] * 20 + ["val"] * 5 + ["test"] * 10


def test_several_orders_are_tried_before_a_split_lacks_a_class() -> None:
    """With three pictures of each class, one order alone often ends with two of them in a split."""
    shown = {"1": [0, 2], "2": [0], "3": [0], "4": [1, 2], "5": [1], "6": [1], "7": [2]}
    for seed in range(30):
        splits = assign(shown, ["a", "b", "c"], {"train": 2, "val": 2, "test": 3}, seed)
        for label in range(3):
            assert set(by_split(shown, splits, label)) == {"train", "val", "test"}


def test_fractions_use_every_picture_and_leave_no_split_empty() -> None:
    splits = assign(alike(4), ONE, {"train": 0.9, "val": 0.05, "test": 0.05}, 0)
    assert sorted(splits.values()) == ["test", "train", "train", "val"]


@pytest.mark.parametrize("parts", [{"train": 3, "val": 1, "test": 1}, {"train": 4, "val": 0, "test": 0}])
def test_too_few_pictures_are_refused(parts: dict[str, float]) -> None:
    with pytest.raises(Failure, match="4 usable pictures are too few for train"):
        assign(alike(4), ONE, parts, 0)


def test_a_class_in_fewer_pictures_than_splits_is_refused_by_name() -> None:
    shown = alike(10)
    shown["3.jpg"].append(1)
    shown["4.jpg"] += [1, 1]
    with pytest.raises(
        Failure, match=r"data\.classes: too few pictures show dog \(2\), cat \(0\): each class must be in"
    ):
        assign(shown, ["person", "dog", "cat"], FRACTIONS, 0)
    assert set(assign(shown, ["person", "dog"], {"train": 0.5, "test": 0.5}, 0).values()) == {"train", "test"}


def test_the_message_on_many_rare_classes_is_short() -> None:
    with pytest.raises(Failure, match=r"show c0 \(0\), c1 \(0\), .*, c19 \(0\) and 55 more: "):
        assign({name: [75] for name in alike(10)}, [f"c{label}" for label in range(76)], FRACTIONS, 0)
