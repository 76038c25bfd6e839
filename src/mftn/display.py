"""Display of predictions: annotated images, files, and HTML for notebooks."""

from __future__ import annotations

import base64
import html
import io
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from mftn.drawing import annotate, number_of
from mftn.errors import ConfigError, ImageError, OutputError
from mftn.files import file_identity, readable, write_encoded, write_image, write_text
from mftn.images import read_image
from mftn.labels import COLOURS
from mftn.output import open_writer
from mftn.types import Face, Image, Prediction

if TYPE_CHECKING:
    from PIL import Image as PillowImage

    from mftn.images import ImageSource

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".avif", ".tif", ".tiff", ".bmp")
"""Suffixes for annotated images."""

TABLE_SUFFIXES = (".jsonl", ".csv", ".parquet")
"""Suffixes for tables."""

NOTEBOOK_SIDE = 640
"""Length in pixels of the longer side of an image in a notebook."""

MAX_SHOWN = 12
"""Maximum number of faces whose bars are shown."""


def image_of(prediction: Prediction, image: ImageSource | None = None) -> Image:
    """The image of a prediction: the one given, the one that the prediction keeps, or its file.

    Raises:
        ImageError: There is no image, or its size differs.
    """
    name = readable(prediction.source)
    if prediction.error:
        raise ImageError(readable(prediction.error))
    if image is None and prediction.kept:
        image = prediction.kept.image()
    if image is None and (prediction.kept or prediction.frame is not None):
        what = name if prediction.frame is None else f"{name}: frame {prediction.frame}"
        raise ImageError(f"{what}: its image is no longer in memory; pass it: prediction.annotate(image)")
    try:
        found = read_image(prediction.source if image is None else image)
    except ImageError as error:
        if image is not None:
            raise
        raise ImageError(f"{error}; or pass the image: prediction.annotate(image)") from error
    height, width = found.shape[:2]
    if (width, height) != (prediction.width, prediction.height):
        expected = f"{prediction.width}×{prediction.height}"
        raise ImageError(f"{name}: the image has {width}×{height} pixels, not {expected} as when it was recognised")
    return found


def show(prediction: Prediction) -> None:
    """Show the annotated image, in the notebook if one is running, otherwise in the system's viewer."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if shell is not None and hasattr(shell, "kernel"):
        from IPython.display import display

        display(prediction)  # type: ignore[no-untyped-call, unused-ignore]
        return
    prediction.annotate().show(title=Path(prediction.source).name)


def save(prediction: Prediction, path: Path, image: ImageSource | None = None) -> None:
    """Implementation of `Prediction.save`."""
    suffix = path.suffix.lower()
    sources = [prediction.source, *([image] if isinstance(image, str | os.PathLike) else [])]
    if (there := file_identity(path)) and there in map(file_identity, sources):
        raise OutputError(f"{path}: is the source, which is never replaced; choose another name")
    if suffix in IMAGE_SUFFIXES:
        from PIL import Image as PillowImage

        annotated = prediction.annotate(image)
        kind = PillowImage.registered_extensions().get(suffix, suffix)  # AVIF is unknown to Pillow before 11.3
        try:
            with write_encoded(path) as content:
                write_image(annotated, content, kind, quality=92)
        except ImageError as error:
            raise ImageError(f"{path}: {error}; choose another format") from error
    elif suffix == ".json":
        write_text(path, prediction.to_json(indent=2) + "\n")
    elif suffix in TABLE_SUFFIXES:
        with open_writer(path, suffix.removeprefix(".")) as writer:
            writer.write(prediction)
    else:
        known = ", ".join((*IMAGE_SUFFIXES, ".json", *TABLE_SUFFIXES))
        raise ConfigError(f"{path}: unknown suffix; use one of {known}")


def to_html(prediction: Prediction) -> str:
    """HTML for notebooks: the annotated image, scaled down, and bars of all probabilities; all text is escaped."""
    caption = f"<div style='font-size:90%;opacity:.8;margin-bottom:4px'>{html.escape(caption_of(prediction))}</div>"
    if prediction.error:
        return f"<div style='color:#c00'>{html.escape(readable(prediction.error))}</div>"
    try:
        shown = scaled_down(image_of(prediction), prediction.faces, NOTEBOOK_SIDE)
        view = f"<img alt='annotated image' style='max-width:100%;height:auto' src='{_data_address(shown)}'>"
    except ImageError as error:
        view = f"<div style='opacity:.8'>{html.escape(str(error))}</div>"
    panels = "".join(
        _bars(face, title_of(prediction.faces, index)) for index, face in enumerate(prediction.faces[:MAX_SHOWN])
    )
    more = len(prediction.faces) - MAX_SHOWN
    panels += f"<div>and {more} more faces</div>" if more > 0 else ""
    return (
        f"<div class='mftn'>{caption}<div style='display:flex;flex-wrap:wrap;gap:16px;align-items:flex-start'>"
        f"<div>{view}</div><div style='display:flex;flex-wrap:wrap;gap:16px;flex:1;min-width:240px'>{panels}</div>"
        "</div></div>"
    )


def _bars(face: Face, title: str) -> str:
    """One face's probabilities as horizontal bars."""
    rows = "".join(
        f"<div>{html.escape(name)}</div>"
        "<div style='background:rgba(127,127,127,.2);height:.8em'>"
        f"<div style='background:{COLOURS.get(name, '#888888')};height:100%;width:{100 * value:.1f}%'></div></div>"
        f"<div style='text-align:right'>{value:.0%}</div>"
        for name, value in face.probabilities.items()
    )
    return (
        f"<div style='width:240px'><b>{html.escape(title)}</b><div style='display:grid;align-items:center;"
        f"grid-template-columns:auto 1fr 2.6em;gap:2px 6px;font-size:90%;line-height:1.3'>{rows}</div></div>"
    )


def scaled_down(image: Image, faces: Sequence[Face], side: int) -> PillowImage.Image:
    """The image with boxes and labels, at most `side` pixels; it is scaled first, so that the text stays legible."""
    from PIL import Image as PillowImage

    height, width = image.shape[:2]
    scale = min(1.0, side / max(height, width))
    if scale < 1:
        size = (max(round(width * scale), 1), max(round(height * scale), 1))
        image = read_image(PillowImage.fromarray(image).resize(size, PillowImage.Resampling.BILINEAR, reducing_gap=2.0))
        faces = [replace(face, box=tuple(edge * scale for edge in face.box)) for face in faces]
    return annotate(image, faces, top=0)  # the bars are shown beside it


def _data_address(image: PillowImage.Image) -> str:
    content = io.BytesIO()
    image.save(content, "JPEG", quality=85)
    return f"data:image/jpeg;base64,{base64.b64encode(content.getvalue()).decode()}"


def title_of(faces: Sequence[Face], index: int) -> str:
    """A face's number and expression, as in the image's labels."""
    number = number_of(faces, index)
    return f"{f'{number} · ' if number else ''}{faces[index].expression} {faces[index].probability:.0%}"


def caption_of(prediction: Prediction) -> str:
    """Source, size, time and number of faces."""
    parts = [readable(prediction.source), f"{prediction.width}×{prediction.height}"]
    if prediction.frame is not None:
        parts.append(f"frame {prediction.frame} at {prediction.time or 0:.2f} s")
    count = len(prediction.faces)
    return " · ".join([*parts, "no face" if not count else f"{count} face{'s' if count > 1 else ''}"])
