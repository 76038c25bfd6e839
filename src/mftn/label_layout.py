"""Placement of labels and bars on an image: beside their faces, without covering a face or another label."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from mftn.types import Box

CHIN = 0.06
"""Height below a face's box that is also kept free, in heights of the box: many boxes end at the chin."""

Size = tuple[float, float]
"""Width and height in pixels."""


@dataclass(frozen=True, slots=True)
class Annotation:
    """The sizes of what is to be placed beside a face.

    Attributes:
        box: The face, with the lines around it.
        labels: Sizes of its label, in order of preference; the later ones are for crowded images.
        bars: Sizes of its bars, in order of preference; empty for no bars.
    """

    box: Box
    labels: Sequence[Size]
    bars: Sequence[Size] = ()


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a face's label and bars go.

    Attributes:
        label: Its rectangle, inside the image.
        label_size: Index of the size that was used.
        bars: Their rectangle; None if there is no room for them.
        bars_size: Index of the size that was used.
    """

    label: Box
    label_size: int
    bars: Box | None = None
    bars_size: int = 0


def lay_out(annotations: Sequence[Annotation], size: Size) -> list[Placement]:
    """Place each face's label, and its bars where there is room, starting with the largest face.

    All labels are placed before the bars. A label for which no place is free goes where it covers least.

    Args:
        annotations: What is to be placed beside each face.
        size: The image's size.
    """
    taken = [_with_chin(annotation.box) for annotation in annotations]
    order = sorted(range(len(annotations)), key=lambda index: -_area(annotations[index].box))
    places: dict[int, Placement] = {}
    for index in order:
        places[index] = _place_label(annotations[index], taken, size)
        taken.append(places[index].label)
    for index in order:
        place = places[index]
        for number, bars in enumerate(annotations[index].bars):
            free = _first_free(_around_both(annotations[index].box, place.label, bars, size), taken)
            if free:
                places[index] = Placement(place.label, place.label_size, free, number)
                taken.append(free)
                break
    return [places[index] for index in range(len(annotations))]


def overlap_area(box: Box, others: Sequence[Box]) -> float:
    """The sum of the areas, in pixels, that a box shares with each of the others."""
    if not others:
        return 0.0
    left, top, right, bottom = np.array(others, dtype=float).T
    width = np.minimum(right, box[2]) - np.maximum(left, box[0])
    height = np.minimum(bottom, box[3]) - np.maximum(top, box[1])
    return float((np.maximum(width, 0) * np.maximum(height, 0)).sum())


def _place_label(annotation: Annotation, taken: Sequence[Box], size: Size) -> Placement:
    """The first free place for the most preferred size that fits; otherwise the place that covers least."""
    tried: list[tuple[float, int, Box]] = []
    for number, label in enumerate(annotation.labels):
        for box in _around(annotation.box, label, size):
            hidden = overlap_area(box, taken)
            if hidden < 1:
                return Placement(box, number)
            tried.append((hidden, number, box))
        inside = _moved_inside((annotation.box[0], annotation.box[1]), label, size)
        tried.append((overlap_area(inside, taken), number, inside))
    _, number, box = min(tried)
    return Placement(box, number)


def _around(box: Box, what: Size, size: Size) -> Iterator[Box]:
    """Rectangles beside a box and inside the image: above, below, to the right and to the left."""
    (left, top, right, bottom), (width, height) = _with_chin(box), what
    middle = (left + right - width) / 2
    corners = [(x, top - height) for x in (left, right - width, middle)]
    corners += [(x, bottom) for x in (left, right - width, middle)]
    corners += [(right, y) for y in (top, bottom - height)]
    corners += [(left - width, y) for y in (top, bottom - height)]
    for x, y in corners:
        beside = x >= right or x + width <= left
        placed = _moved_inside((x, y), what, size)
        moved = abs(placed[0] - x) if beside else abs(placed[1] - y)
        if moved < 0.5:  # it may be moved along the face, but not over it
            yield placed


def _around_both(box: Box, label: Box, what: Size, size: Size) -> Iterator[Box]:
    """Rectangles beside a face or its label, those below the face first."""
    around = list(_around(box, what, size))
    below = [place for place in around if place[1] >= box[3]]
    yield from below
    yield from (place for place in _around(label, what, size) if place[1] >= label[3] or place[3] <= label[1])
    yield from (place for place in around if place[1] < box[3])


def _first_free(places: Iterator[Box], taken: Sequence[Box]) -> Box | None:
    return next((place for place in places if overlap_area(place, taken) < 1), None)


def _moved_inside(corner: tuple[float, float], what: Size, size: Size) -> Box:
    x = min(max(corner[0], 0.0), max(size[0] - what[0], 0.0))
    y = min(max(corner[1], 0.0), max(size[1] - what[1], 0.0))
    return x, y, x + what[0], y + what[1]


def _with_chin(box: Box) -> Box:
    return box[0], box[1], box[2], box[3] + CHIN * (box[3] - box[1])


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])
