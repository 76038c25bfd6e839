"""The manifest: `manifest.parquet`, one row per face of a prepared data set, described by `dataset.json` beside it.

Neither contains a date, so preparing the same data again gives the same bytes.
"""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mftn.errors import DataError
from mftn.files import sha256_of
from mftn.labels import LABEL_SETS

MANIFEST = "manifest.parquet"
SCHEMA = pa.schema(
    {
        "path": pa.string(),  # of the crop, relative to the data set's folder
        "split": pa.string(),  # train, valid or test: this column counts, not the folder's name
        "label": pa.string(),  # the expression; null where the raters saw none
        "votes": pa.list_(pa.int32()),  # raters' votes for the names under votes in dataset.json
        "source": pa.string(),  # the image, relative to the data set's root
        "face": pa.int32(),  # number of the face in its image
        "cut_by": pa.string(),  # landmarks, box (the annotated one) or image (no face found: the whole image)
        "face_found": pa.bool_(),
        "box": pa.list_(pa.float32()),  # left, top, right, bottom in pixels of the source
        "landmarks": pa.list_(pa.float32()),  # x, y of eyes, nose and mouth corners in pixels of the source
        "detector": pa.string(),
        "score": pa.float32(),  # the detector's, 0 to 1
        "residual": pa.float32(),  # root mean square distance of the aligned landmarks from the template, in sides
        "blur": pa.float32(),  # variance of the crop's Laplacian: low is blurred
        "brightness": pa.float32(),  # mean grey of the crop, 0 to 255
        "sha256": pa.string(),  # of the crop's file
        "phash": pa.binary(32),  # perceptual hash of the crop, 256 bits
    }
)


def read_manifest(folder: str | Path, columns: list[str] | None = None) -> pa.Table:
    """The manifest of a prepared data set.

    Raises:
        DataError: There is none, it cannot be read, or an older version made it.
    """
    path = Path(folder) / MANIFEST
    if not path.is_file():
        raise DataError(f"{path}: missing; make it with `mftn prepare`")
    try:
        return pq.read_table(path, columns=columns)
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"{path}: cannot be read ({error}); prepare the data set again") from error


def crop_digest(path: Path) -> str:
    """SHA-256 of a crop's file, as in the manifest; empty if there is no file."""
    return sha256_of(path) if path.is_file() else ""


def read_description(folder: str | Path) -> dict[str, Any]:
    """The content of `dataset.json`.

    Raises:
        DataError: It is missing, not JSON or incomplete, or its number of classes is unknown.
    """
    path = Path(folder) / "dataset.json"
    try:
        description: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read ({error}); prepare the data set again") from error
    if "pictures" in description:  # as earlier versions wrote it
        description["images"] = description.pop("pictures")
    if missing := [key for key in ("classes", "images", "preparation") if key not in description]:
        raise DataError(f"{path}: lacks {', '.join(missing)}; prepare the data set again")
    if description["classes"] not in list(LABEL_SETS):  # such as a list of names in another order
        raise DataError(f"{path}: classes is {description['classes']!r}, not 7 or 8; prepare the data set again")
    return description
