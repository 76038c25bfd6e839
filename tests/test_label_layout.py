"""Labels and bars hide no face and no other label, wherever there is room."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mftn.label_layout import CHIN, Annotation, Placement, Size, lay_out, overlap_area
from mftn.types import Box

SIZE = (4000.0, 3000.0)
LABELS, BARS = [(450.0, 85.0), (330.0, 60.0), (180.0, 60.0)], [(380.0, 185.0), (280.0, 130.0)]

boxes = st.builds(
    lambda x, y, width, height: (x, y, x + width, y + height),
    st.floats(-100, 3900),
    st.floats(-100, 2900),
    st.floats(20, 900),
    st.floats(20, 900),
)


def plates(places: list[Placement]) -> list[Box]:
    return [plate for place in places for plate in (place.label, place.bars) if plate]


@settings(max_examples=200)
@given(st.lists(boxes, min_size=1, max_size=25))
def test_whatever_the_faces_bars_hide_nothing_and_labels_lie_inside(faces: list[Box]) -> None:
    places = lay_out([Annotation(box, LABELS, BARS) for box in faces], SIZE)
    assert len(places) == len(faces)
    for place in places:
        label, bars = LABELS[place.label_size], place.bars and BARS[place.bars_size]
        for box, size in ((place.label, label), (place.bars, bars)):
            if box and size:
                assert (box[2] - box[0], box[3] - box[1]) == pytest.approx(size)
                assert box[0] >= 0 and box[1] >= 0 and box[2] <= SIZE[0] + 1e-6 and box[3] <= SIZE[1] + 1e-6
        if place.bars:
            rest = [each for each in plates(places) if each is not place.bars]
            assert overlap_area(place.bars, [*faces, *rest]) < 1


def spread(count: int, seed: int, side: Size) -> list[Box]:
    """Faces in the cells of a grid, each with room around it."""
    rng = random.Random(seed)
    columns = 5
    rows = -(-count // columns)
    width, height = SIZE[0] / columns, SIZE[1] / rows
    found = []
    for cell in rng.sample(range(columns * rows), count):
        wide, high = rng.uniform(*side), rng.uniform(*side)
        x = cell % columns * width + rng.uniform(0, width - wide)
        y = cell // columns * height + rng.uniform(0, height - high)
        found.append((x, y, x + wide, y + high))
    return found


@pytest.mark.parametrize("count", [1, 2, 5, 12, 20])
def test_where_there_is_room_no_label_hides_a_face_or_another_label(count: int) -> None:
    with_bars = total = 0
    for seed in range(60):
        faces = spread(count, seed, (80, 250))
        places = lay_out([Annotation(box, LABELS, BARS) for box in faces], SIZE)
        for plate in plates(places):
            assert overlap_area(plate, [each for each in plates(places) if each is not plate]) < 1
            assert overlap_area(plate, faces) < 1
        with_bars += sum(place.bars is not None for place in places)
        total += count
    assert with_bars >= 0.95 * total


def test_the_first_places_are_above_and_below_the_face() -> None:
    box = (1000.0, 1000.0, 1400.0, 1500.0)
    (place,) = lay_out([Annotation(box, LABELS, BARS)], SIZE)
    assert place.label == (1000, 1000 - 85, 1450, 1000) and place.label_size == 0
    assert place.bars == pytest.approx((1000, 1500 + CHIN * 500, 1380, 1500 + CHIN * 500 + 185))


@pytest.mark.parametrize(
    ("box", "label", "bars"),
    [
        ((1000, 20, 1400, 520), "below", "below"),  # no room above
        ((1000, 1000, 1400, 2950), "above", "above"),  # none below
        ((1000, 20, 1400, 2980), "right", "right"),
        ((3500, 20, 3980, 2980), "left", "left"),
        ((20, 1000, 3980, 2980), "above", "above"),
    ],
)
def test_at_the_edges_other_places_are_taken(box: Box, label: str, bars: str) -> None:
    (place,) = lay_out([Annotation(box, LABELS, BARS)], SIZE)
    for plate, where in ((place.label, label), (place.bars, bars)):
        assert plate is not None
        sides = {"left": plate[2] <= box[0], "right": plate[0] >= box[2]}
        sides |= {"above": plate[3] <= box[1], "below": plate[1] >= box[3]}
        assert sides[where]


def test_a_face_that_fills_the_image_has_a_label_at_its_top_and_no_bars() -> None:
    (place,) = lay_out([Annotation((0, 0, 4000, 3000), LABELS, BARS)], SIZE)
    assert place.bars is None and place.label[1] == 0 and place.label[0] == 0


def test_a_neighbour_makes_a_label_smaller_before_it_is_hidden() -> None:
    face = (1000.0, 1000.0, 1200.0, 1200.0)
    wall = [(0.0, 0.0, 4000.0, 930.0), (1300.0, 930.0, 4000.0, 3000.0), (0.0, 930.0, 900.0, 3000.0)]
    wall.append((0.0, 1275.0, 4000.0, 3000.0))
    places = lay_out([Annotation(box, [(450, 85), (300, 60)]) for box in (face, *wall)], SIZE)
    assert places[0].label_size == 1 and overlap_area(places[0].label, [face, *wall]) < 1
