"""Types shared by all modules: detections, recognised faces and predictions.

Conventions throughout the package: images are RGB uint8 arrays of shape H×W×3; boxes are (left, top, right, bottom)
in pixels of the upright image; landmarks are five (x, y) points in pixels: left eye, right eye, nose, left and right
corner of the mouth. Left means left in the image when the face is upright; the landmarks of a rotated face keep
this order, so that alignment turns it upright.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import NDArray

from mftn.files import readable
from mftn.image_cache import CachedImage
from mftn.labels import EXPRESSIONS
from mftn.version import __version__

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure
    from PIL import Image as PillowImage

    from mftn.images import ImageSource

Image = NDArray[np.uint8]
"""RGB image, H×W×3."""

Box = tuple[float, float, float, float]
"""Left, top, right, bottom in pixels."""


_EDGES = ("left", "top", "right", "bottom")
_POINTS = ("left_eye", "right_eye", "nose", "left_mouth", "right_mouth")
_COORDINATES = tuple(f"{point}_{axis}" for point in _POINTS for axis in "xy")

ROW_TYPES = {
    "source": "string",
    "width": "int32",
    "height": "int32",
    **dict.fromkeys((*_EDGES, "score", *_COORDINATES), "float32"),
    "expression": "string",
    **dict.fromkeys(("probability", *(f"p_{name}" for name in EXPRESSIONS)), "float32"),
    "error": "string",
    "frame": "int64",
    "time": "float64",
    "track": "int32",
    "face": "int32",
    "annotated": "string",
    "crop": "string",
    "model": "string",
    "mftn_version": "string",
}
"""The columns of a table of faces and their types; any but source, width, height and mftn_version may be empty."""


@dataclass(frozen=True, slots=True, eq=False)
class Detection:
    """A face found by a detector.

    Attributes:
        box: (left, top, right, bottom) in pixels; it may extend beyond the image.
        score: The detector's confidence, 0 to 1; None if no detector ran ("none", or a box that was given).
        landmarks: 5×2 float32, (x, y) in pixels in the order given above; None if no detector ran.
    """

    box: Box
    score: float | None
    landmarks: NDArray[np.float32] | None


@dataclass(frozen=True, slots=True, eq=False)
class Face(Detection):
    """A detected face with its expression.

    Attributes:
        probabilities: Calibrated probability of every expression by name, in the model's class order; they sum to 1.
        track: In a video, the person's number, from 1, the same in every frame; None in a photograph.
        crop: Path of the saved aligned face; None if none was saved.
    """

    probabilities: Mapping[str, float]
    track: int | None = None
    crop: str | None = None

    @property
    def expression(self) -> str:
        """The most probable expression."""
        return max(self.probabilities, key=self.probabilities.__getitem__)

    @property
    def probability(self) -> float:
        """The probability of `expression`."""
        return self.probabilities[self.expression]

    def to_dict(self) -> dict[str, Any]:
        """The face as JSON-ready values, with keys in the documented order."""
        return {
            "box": [round(float(edge), 2) for edge in self.box],
            "score": None if self.score is None else round(float(self.score), 4),
            "landmarks": None
            if self.landmarks is None
            else [[round(float(x), 2), round(float(y), 2)] for x, y in self.landmarks],
            "expression": self.expression,
            "probability": round(self.probability, 6),
            "probabilities": {name: round(float(p), 6) for name, p in self.probabilities.items()},
            "track": self.track,
            "crop": self.crop and readable(self.crop),
        }

    def __repr__(self) -> str:
        left, top, right, bottom = (round(edge) for edge in self.box)
        return f"Face({self.expression} {self.probability:.0%}, box=({left}, {top}, {right}, {bottom}))"


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """The faces of one image or video frame, or the reason why it could not be read.

    A prediction is a sequence of faces: `len(prediction)`, `prediction[0]`, `for face in prediction`. Notebooks display
    its image and faces; elsewhere use `annotate`, `plot`, `show` and `save`.

    The image is not part of the prediction. If the source is a path, the file is read again to show it. An image that
    was given as a value, downloaded or read from a video is kept with its result: all results of a process keep at
    most 256 MB and 100 images, and the oldest are released, unless the program itself still holds them. Copies and
    pickles keep none.

    Attributes:
        source: The path as given, or the type of an image given as a value, such as ndarray.
        width: Width in pixels of the upright image; 0 if it could not be read.
        height: Height in pixels of the upright image; 0 if it could not be read.
        faces: The faces, from the highest detector score to the lowest; empty if none was found.
        error: Why the image could not be read; None if it could.
        frame: The frame's number in its video, from 0; None for a photograph.
        time: The frame's timestamp in seconds; None for a photograph.
        annotated: Path of the saved annotated copy; None if none was saved.
        model: Name of the model that recognised the expressions.
        kept: An image given as a value, for the methods that show it.
    """

    source: str
    width: int
    height: int
    faces: tuple[Face, ...]
    error: str | None = None
    frame: int | None = None
    time: float | None = None
    annotated: str | None = None
    model: str | None = None
    kept: CachedImage | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.faces)

    def __iter__(self) -> Iterator[Face]:
        return iter(self.faces)

    @overload
    def __getitem__(self, index: int) -> Face: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Face, ...]: ...
    def __getitem__(self, index: int | slice) -> Face | tuple[Face, ...]:
        return self.faces[index]

    def annotate(self, image: ImageSource | None = None, top: int = 3) -> PillowImage.Image:
        """Draw each face's box, its expression, and bars of the most probable ones on a copy of the image.

        Args:
            image: The image, if it is neither an existing file nor kept by the prediction.
            top: Number of bars per face.

        Raises:
            ImageError: The image cannot be read, is no longer in memory, or its size has changed.
        """
        from mftn.display import image_of
        from mftn.drawing import annotate

        return annotate(image_of(self, image), self.faces, top)

    def plot(self, image: ImageSource | None = None) -> Figure:
        """A matplotlib figure with the annotated image, and bars of all probabilities for each of the first 12 faces.

        Args:
            image: As in `annotate`.

        Raises:
            ImageError: As in `annotate`.
            MFTNError: matplotlib is not installed.
        """
        try:
            from mftn.plotting import draw_figure
        except ModuleNotFoundError as error:
            from mftn.errors import MFTNError

            raise MFTNError("plot needs matplotlib: pip install matplotlib") from error
        return draw_figure(self, image)

    def show(self) -> None:
        """Show the annotated image, in the notebook or in the system's image viewer.

        Raises:
            ImageError: As in `annotate`.
        """
        from mftn.display import show

        show(self)

    def save(self, path: str | os.PathLike[str], image: ImageSource | None = None) -> None:
        """Write the prediction to a file; an existing one is replaced, unless it is the source or `image`.

        Args:
            path: The file; its suffix decides the format: .jpg, .png, .webp, .avif, .tif or .bmp for the annotated
                image, and .json, .jsonl, .csv or .parquet for the values (docs/output.md).
            image: As in `annotate`.

        Raises:
            ImageError: As in `annotate`.
            ConfigError: The suffix is not one of these.
            OutputError: The file cannot be written, or is the source.
        """
        from mftn.display import save

        save(self, Path(path), image)

    def to_json(self, indent: int | None = None) -> str:
        """The prediction as JSON: a line of the JSONL output.

        Args:
            indent: Spaces per level of indentation; None for a single line.
        """
        return json.dumps(self.to_dict(), ensure_ascii=False, indent=indent)

    def _repr_html_(self) -> str:
        from mftn.display import to_html

        return to_html(self)

    def __reduce__(self) -> tuple[Any, ...]:
        values = (self.source, self.width, self.height, self.faces, self.error, self.frame, self.time)
        return type(self), (*values, self.annotated, self.model)

    def to_dict(self) -> dict[str, Any]:
        """The prediction as JSON-ready values: one line of the JSONL output (docs/output.md)."""
        return {
            "source": readable(self.source),
            "width": self.width,
            "height": self.height,
            "faces": [{"face": number} | face.to_dict() for number, face in enumerate(self.faces, start=1)],
            "error": self.error and readable(self.error),
            "frame": self.frame,
            "time": None if self.time is None else round(self.time, 4),
            "annotated": self.annotated and readable(self.annotated),
            "model": self.model,
            "mftn_version": __version__,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Prediction:
        """Restore a prediction from the output of `to_dict`, such as a line of JSONL output; numbers stay rounded."""
        faces = tuple(
            Face(
                tuple(face["box"]),
                face["score"],
                None if face["landmarks"] is None else np.array(face["landmarks"], np.float32),
                face["probabilities"],
                face.get("track"),
                face.get("crop"),
            )
            for face in values["faces"]
        )
        rest = {name: values.get(name) for name in ("error", "frame", "time", "annotated", "model")}
        return cls(values["source"], values["width"], values["height"], faces, **rest)

    def to_rows(self) -> list[dict[str, Any]]:
        """One flat row per face, or a single row without a face, with the columns and types of `ROW_TYPES`."""
        values = self.to_dict()
        faces: list[dict[str, Any]] = values["faces"] or [{}]
        return [{name: row.get(name) for name in ROW_TYPES} for row in (values | _flat(face) for face in faces)]

    def to_frame(self) -> pd.DataFrame:
        """The rows of `to_rows` as a pandas DataFrame, with the types of `ROW_TYPES`.

        Raises:
            MFTNError: pandas is not installed.
        """
        try:
            import pandas as pd
        except ImportError as error:
            from mftn.errors import MFTNError

            raise MFTNError("to_frame needs pandas: pip install pandas") from error
        kinds = {name: kind.replace("int", "Int") for name, kind in ROW_TYPES.items()}  # Int: values may be missing
        return pd.DataFrame(self.to_rows()).astype(kinds)

    def __repr__(self) -> str:
        if self.error:
            return f"Prediction({readable(self.source)}: {readable(self.error)})"
        found = ", ".join(f"{face.expression} {face.probability:.0%}" for face in self.faces) or "no face"
        return f"Prediction({readable(self.source)}, {self.width}×{self.height}: {found})"


def _flat(face: Mapping[str, Any]) -> dict[str, Any]:
    """The columns of one face, from the output of `Face.to_dict`, without the lists."""
    row = {name: face.get(name) for name in ("face", "score", "expression", "probability", "track", "crop")}
    row |= zip(_EDGES, face.get("box") or (), strict=False)
    row |= zip(_COORDINATES, chain.from_iterable(face.get("landmarks") or ()), strict=False)
    return row | {f"p_{name}": probability for name, probability in face.get("probabilities", {}).items()}
