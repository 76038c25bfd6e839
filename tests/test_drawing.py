from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage
from PIL import ImageColor

import mftn
from mftn.drawing import annotate
from mftn.labels import COLOURS, EXPRESSIONS
from mftn.types import Face


def face(box: tuple[float, float, float, float], expression: str = "fear") -> Face:
    probabilities = dict.fromkeys(EXPRESSIONS, 0.05) | {expression: 0.65}
    return Face(box, 0.9, None, probabilities)


@pytest.mark.parametrize("brightness", [0, 128, 255])
@pytest.mark.parametrize(
    "box", [(100, 100, 200, 220), (0, 0, 300, 300), (-20, -30, 40, 40), (250, 260, 330, 340), (5, 5, 9, 9)]
)
def test_labels_are_legible_on_any_image_and_inside_it(brightness: int, box: tuple[float, ...]) -> None:
    image = np.full((300, 300, 3), brightness, np.uint8)
    drawn = np.asarray(annotate(image, [face(box)]))
    assert drawn.shape == image.shape
    plate = (drawn == (0xCC, 0x79, 0xA7)).all(axis=2)  # fear's colour
    assert plate.sum() > 300
    assert (image == brightness).all(), "the image itself is not changed"


def test_the_astronaut_is_annotated_beside_the_face(photos: Path) -> None:
    prediction = mftn.predict(photos / "astronaut.jpg")
    image = np.array(PillowImage.open(photos / "astronaut.jpg"))
    drawn = np.asarray(annotate(image, prediction.faces))
    left, top, right, bottom = (round(edge) for edge in prediction.faces[0].box)
    inner = (slice(top + 8, bottom - 8), slice(left + 8, right - 8))
    assert (drawn[inner] == image[inner]).all()
    assert (drawn != image).any()


def extent(drawn: np.ndarray, colour: str) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of the pixels of a colour, the last ones included."""
    rows, columns = np.nonzero((drawn == ImageColor.getrgb(colour)).all(axis=2))
    return int(columns.min()), int(rows.min()), int(columns.max()), int(rows.max())


@pytest.mark.parametrize("side", [300, 3000])
def test_bars_are_as_long_as_probabilities(side: int) -> None:
    box = tuple(side * edge for edge in (0.3, 0.3, 0.7, 0.6))
    drawn = np.asarray(annotate(np.full((side, side, 3), 200, np.uint8), [face(box)]))
    left, top, right, bottom = extent(drawn, "#202020")
    assert (left, top) == pytest.approx((box[0], box[3] + 0.06 * 0.3 * side), abs=0.01 * side + 3)
    unit = (bottom - top) / 3.25
    assert unit >= 12 and side / 100 <= unit <= max(side / 36 + 1, 13)
    bar = extent(drawn[top:bottom], COLOURS["fear"])
    assert bar[0] == pytest.approx(left + unit / 4, abs=1)
    assert bar[2] - bar[0] == pytest.approx(0.65 * (right - left - unit / 2), abs=2)


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_the_letters_stand_out_from_their_plate(expression: str) -> None:
    colour = COLOURS[expression]
    drawn = np.asarray(annotate(np.full((300, 300, 3), 200, np.uint8), [face((100, 100, 200, 220), expression)]))
    _, top, right, bottom = extent(drawn[:99], colour)
    plate = drawn[top : bottom + 1, 100:right]
    grey = np.asarray(PillowImage.fromarray(plate).convert("L")).astype(int)
    background = int(np.bincount(grey.ravel()).argmax())
    if background > 128:
        assert grey.min() < background / 2 and grey.max() <= background + 1
    else:
        assert grey.max() > (background + 255) / 2 and grey.min() >= background - 1


def test_as_many_bars_as_asked_for_the_most_probable_first() -> None:
    probabilities = dict(zip(EXPRESSIONS, (0.02, 0.4, 0.05, 0.3, 0.1, 0.08, 0.03, 0.02), strict=True))
    known = Face((100, 60, 200, 160), 0.9, None, probabilities)
    for top in (1, 2, 4):
        drawn = np.asarray(annotate(np.full((300, 300, 3), 200, np.uint8), [known], top))
        _, upper, _, lower = extent(drawn, "#202020")
        assert lower - upper == pytest.approx(12 * (top + 0.25), abs=1.5)
        ranked = sorted(probabilities, key=lambda name: -probabilities[name])
        tops = [extent(drawn[upper : lower + 1], COLOURS[name])[1] for name in ranked[:top]]
        assert tops == sorted(tops)
        assert not (drawn[upper : lower + 1] == ImageColor.getrgb(COLOURS[ranked[top]])).all(axis=2).any()
