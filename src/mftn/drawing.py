"""Drawing of boxes, labels and probability bars on a copy of the image."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from math import ceil, log
from typing import TYPE_CHECKING

from mftn.images import read_image
from mftn.label_layout import Annotation, Placement, lay_out
from mftn.labels import COLOURS, SHORT_NAMES
from mftn.types import Box, Face

if TYPE_CHECKING:
    from PIL import Image as PillowImage
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont

    from mftn.images import ImageSource

LARGEST, COMFORTABLE, LEGIBLE = 36, 70, 100
"""Text heights, as fractions 1/N of the image's longer side: 1/36 at most, 1/70 even for small faces, and 1/100 where
the image is crowded, which is 12 pixels in an image shown 1200 pixels wide."""


def annotate(image: ImageSource, faces: Iterable[Face], top: int = 3) -> PillowImage.Image:
    """Draw each face's box, its expression, and bars of the most probable ones on a copy of an image.

    Faces are numbered if there are several: by track in a video, otherwise by their position in `faces`.

    Args:
        image: As in `Recognizer.predict`.
        faces: The image's faces, or its prediction.
        top: Number of bars per face.

    Raises:
        ImageError: The image cannot be read.
    """
    from PIL import Image as PillowImage
    from PIL import ImageDraw

    annotated, faces = PillowImage.fromarray(read_image(image)), list(faces)
    draw = ImageDraw.Draw(annotated)
    drawings = [_Drawing(face, number_of(faces, index), top, annotated.size) for index, face in enumerate(faces)]
    for drawing in drawings:
        drawing.draw_box(draw)
    placements = lay_out([drawing.annotation() for drawing in drawings], annotated.size)
    for drawing, place in zip(drawings, placements, strict=True):
        drawing.draw_label(draw, place)
        if place.bars:
            drawing.draw_bars(draw, place.bars, drawing.units[place.bars_size])
    return annotated


def number_of(faces: Sequence[Face], index: int) -> int | None:
    """A face's number, from 1: that of its track, or its position among several faces; None for a single face."""
    track = faces[index].track
    return track if track is not None else index + 1 if len(faces) > 1 else None


class _Drawing:
    """What is drawn for one face: the box, the label and the bars.

    Args:
        face: The face.
        number: The number on the label; None to omit it.
        top: Number of bars.
        size: Width and height of the image.
    """

    def __init__(self, face: Face, number: int | None, top: int, size: tuple[int, int]) -> None:
        left, upper, right, lower = face.box
        side, longer = max(right - left, lower - upper), max(size)
        least = max(12.0, longer / LEGIBLE)
        best = max(12.0, longer / COMFORTABLE, min(side / 11, longer / LARGEST))
        steps = range(1 + ceil(log(best / least, 1.5) - 1e-9))
        self.units = [max(best / 1.5**step, least) for step in steps]  # text heights; smaller where crowded
        self.face, self.line = face, max(1, round(min(best / 7, side / 30)))
        self.colour = COLOURS.get(face.expression, "#FFFFFF")
        self.ranked = sorted(face.probabilities.items(), key=lambda item: -item[1])[:top]
        shown, percent = f"{number} · " if number is not None else "", f"{face.probability:.0%}"
        long, short = (f"{shown}{name} {percent}" for name in (face.expression, SHORT_NAMES.get(face.expression, "")))
        self.texts = [*((long, unit) for unit in self.units), (short, self.units[-1])]

    def annotation(self) -> Annotation:
        """The label and bars to be placed beside the face."""
        left, upper, right, lower = self.face.box
        box = left - self.line, upper - self.line, right + self.line, lower + self.line
        labels = [(_font(unit).getlength(text) + unit / 2, 1.5 * unit) for text, unit in self.texts]
        rows = len(self.ranked)
        bars = [
            (max(6.5 * unit, min(right - left, 9 * unit)) + 2 * self.line, unit * (rows + 0.25)) for unit in self.units
        ]
        return Annotation(box, labels, bars if rows else ())

    def draw_box(self, draw: ImageDraw) -> None:
        """Draw the face's box, in its expression's colour between black lines."""
        (left, upper, right, lower), line = self.face.box, self.line
        draw.rectangle((left - line, upper - line, right + line, lower + line), outline="black", width=3 * line)
        draw.rectangle((left, upper, right, lower), outline=self.colour, width=line)

    def draw_label(self, draw: ImageDraw, place: Placement) -> None:
        """Draw the number, the most probable expression and its probability."""
        text, unit = self.texts[place.label_size]
        left, upper, _, lower = place.label
        draw.rectangle(place.label, fill=self.colour)
        where = (left + unit / 4, (upper + lower) / 2)
        draw.text(where, text, font=_font(unit), fill=_ink(self.colour), anchor="lm")

    def draw_bars(self, draw: ImageDraw, place: Box, unit: float) -> None:
        """Draw a name and a percentage with a bar below them for each of the most probable expressions."""
        font, (left, upper, right, _) = _font(0.78 * unit), place
        draw.rectangle(place, fill="#202020")
        start, end = left + unit / 4, right - unit / 4
        for row, (name, probability) in enumerate(self.ranked):
            middle = upper + unit * (row + 0.46)
            length = (end - start) * probability
            bar = (start, middle + 0.42 * unit, start + length, middle + 0.56 * unit)
            draw.rectangle(bar, fill=COLOURS.get(name, "white"))
            draw.text((start, middle), name, font=font, fill="white", anchor="lm")
            draw.text((end, middle), f"{probability:.0%}", font=font, fill="white", anchor="rm")


@lru_cache(maxsize=64)
def _font(height: float) -> FreeTypeFont:
    from PIL import ImageFont

    font = ImageFont.load_default(size=height)
    assert isinstance(font, ImageFont.FreeTypeFont), "Pillow without FreeType"
    return font


def _ink(colour: str) -> str:
    """Black or white, whichever is more legible on a colour."""
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return "black" if 0.299 * red + 0.587 * green + 0.114 * blue > 128 else "white"
