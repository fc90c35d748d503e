"""The table of the predictions of each image: what is written is read, and nothing that decides mAP50 is left out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from stages.decision.resampling import draw, map50
from stages.detector.matches import ImageMatches, matches_table, read_matches


def image(name: str, truth: list[int], predicted: list[tuple[int, float, bool]]) -> ImageMatches:
    """Return an image with objects of these classes, and predictions by class, confidence and correctness."""
    classes, confidences, correct = (np.array([row[place] for row in predicted]) for place in range(3))
    return ImageMatches(
        name, np.array(truth, np.int64), classes.astype(np.int64), confidences.astype(float), correct.astype(bool)
    )


IMAGES = [
    image("b.jpg", [0, 0, 1], [(0, 0.9, True), (0, 0.2, False), (1, 0.123456789, True), (0, 0.6, False)]),
    image("c.jpg", [], []),
    image("a.jpg", [0], [(0, 0.05, False), (0, 0.3, True), (1, 0.7, False)]),
    image("d.jpg", [], [(0, 0.01, False)]),
]
TABLE = """\
image,class,objects,correct,wrong
a.jpg,person,1,[0.3],[]
a.jpg,dog,0,[],[0.7]
b.jpg,person,2,[0.9],[0.6]
b.jpg,dog,1,[0.123457],[]
c.jpg,,0,[],[]
d.jpg,,0,[],[]
"""


def test_a_row_has_an_image_and_a_class_with_the_wrong_predictions_that_count() -> None:
    assert matches_table(IMAGES, ["person", "dog"]) == TABLE
    assert matches_table(IMAGES[::-1], ["person", "dog"]) == TABLE, "the order of the images does not matter"


def test_the_table_is_read_with_every_image_also_one_without_objects() -> None:
    matches = read_matches(TABLE)
    assert matches.images == ("a.jpg", "b.jpg", "c.jpg", "d.jpg")
    person = matches.classes["person"]
    assert person.objects.tolist() == [1, 2, 0, 0]
    assert person.places.tolist() == [0, 1, 1]
    assert person.confidences.tolist() == [0.3, 0.9, 0.6]
    assert person.correct.tolist() == [True, True, False]
    assert matches.classes["dog"].objects.tolist() == [0, 1, 0, 0]


def test_the_wrong_predictions_that_are_left_out_change_no_map50() -> None:
    random = np.random.default_rng(0)
    images = [
        image(f"{number:03d}.jpg", [0] * 3, [(0, random.random(), random.random() < 0.2) for _ in range(20)])
        for number in range(30)
    ]
    everything = [replace(one, correct=one.correct & (one.confidences > 0.4)) for one in images]
    table = matches_table(everything, ["person"])
    matches = read_matches(table)
    part = matches.classes["person"]
    all_of_them = replace(
        part,
        places=np.repeat(np.arange(30), 20),
        confidences=np.concatenate([one.confidences for one in everything]),
        correct=np.concatenate([one.correct for one in everything]),
    )
    assert len(part.places) < 0.75 * len(all_of_them.places)
    counts = draw(30, 50)
    assert map50(matches, counts) == pytest.approx(map50(replace(matches, classes={"person": all_of_them}), counts))


@pytest.mark.parametrize(
    "text",
    ["", "a\tb\n1\t2\n", TABLE.replace("[0.9]", "[0.9"), TABLE.replace("b.jpg,person,2", "b.jpg,person,two"),
     "image,class,objects,correct,wrong\na.jpg,person\n"],
)  # fmt: skip
def test_a_damaged_table_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_matches(text)
