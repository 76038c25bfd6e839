"""Drawing of faces: boxes, labels and bars of probabilities on a copy of the image."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from mftn.images import read_image
from mftn.labels import COLOURS
from mftn.types import Face

if TYPE_CHECKING:
    from PIL import Image as PillowImage
    from PIL.ImageDraw import ImageDraw

    from mftn.images import ImageSource


def annotate(image: ImageSource, faces: Iterable[Face], top: int = 3) -> PillowImage.Image:
    """A copy of an image with each face's box, its expression, and bars of the most probable ones.

    Several faces are numbered: by their tracks in a video, and by their places in `faces` otherwise.

    Args:
        image: As in `Recognizer.predict`.
        faces: The faces in it, or their prediction.
        top: Bars per face.

    Raises:
        ImageError: The image cannot be read.
    """
    from PIL import Image as PillowImage
    from PIL import ImageDraw

    annotated, faces = PillowImage.fromarray(read_image(image)), list(faces)
    draw = ImageDraw.Draw(annotated)
    for index in sorted(range(len(faces)), key=lambda index: _area(faces[index])):  # large faces' plates last, on top
        _draw_face(draw, annotated.size, faces[index], number_of(faces, index), top)
    return annotated


def number_of(faces: Sequence[Face], index: int) -> int | None:
    """A face's number from 1: that of its track, or its place among several faces; None for the only one."""
    track = faces[index].track
    return track if track is not None else index + 1 if len(faces) > 1 else None


def _area(face: Face) -> float:
    left, top, right, bottom = face.box
    return (right - left) * (bottom - top)


def _draw_face(draw: ImageDraw, size: tuple[int, int], face: Face, number: int | None, top: int) -> None:
    from PIL import ImageFont

    left, upper, right, lower = face.box
    unit = max(12.0, min(max(right - left, lower - upper) / 11, max(size) / 36))  # height of the text
    line = max(1, round(unit / 7))
    colour = COLOURS.get(face.expression, "#FFFFFF")
    draw.rectangle((left - line, upper - line, right + line, lower + line), outline="black", width=3 * line)
    draw.rectangle((left, upper, right, lower), outline=colour, width=line)

    font, small = ImageFont.load_default(size=unit), ImageFont.load_default(size=0.75 * unit)
    text, pad = f"{face.expression} {face.probability:.0%}", unit / 4
    if number is not None:
        text = f"{number} · {text}"
    width, height = draw.textlength(text, font=font) + 2 * pad, unit + 2 * pad
    x = min(max(left - line, 0), max(size[0] - width, 0))
    y = upper - line - height if upper - line - height >= 0 else max(upper, 0)
    plate_end = y + height
    draw.rectangle((x, y, x + width, plate_end), fill=colour)
    draw.text((x + pad, y + height / 2), text, font=font, fill=_ink(colour), anchor="lm")

    ranked = sorted(face.probabilities.items(), key=lambda item: -item[1])[:top]
    row = 0.75 * unit + pad
    width = max(6.5 * unit, min(right - left, 9 * unit)) + 2 * line
    x = min(max(left - line, 0), max(size[0] - width, 0))
    below = max(lower + line, plate_end)
    y = below if below + row * len(ranked) <= size[1] else size[1] - row * len(ranked)
    if y < max(plate_end, lower - (lower - upper) / 8):  # no room that would not hide the label or the face
        return
    draw.rectangle((x, y, x + width, y + row * len(ranked)), fill="#202020")
    for index, (name, probability) in enumerate(ranked):
        middle = y + row * (index + 0.5)
        start, length = x + pad, (width - 2 * pad) * probability
        draw.rectangle(
            (start, middle + 0.3 * row, start + length, middle + 0.42 * row), fill=COLOURS.get(name, "white")
        )
        draw.text((start, middle - 0.08 * row), name, font=small, fill="white", anchor="lm")
        draw.text((x + width - pad, middle - 0.08 * row), f"{probability:.0%}", font=small, fill="white", anchor="rm")


def _ink(colour: str) -> str:
    """Black or white, whichever reads better on a colour."""
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return "black" if 0.299 * red + 0.587 * green + 0.114 * blue > 128 else "white"
