"""croissant.json: a machine-readable description of a prepared data set, in Croissant 1.0 with its RAI vocabulary.

Croissant (Akhtar et al. 2024, mlcommons.org/croissant) is JSON-LD that data search engines and loaders read. The file
contains no URL, author or date, which are not known here, so it is the same in every run: add them before you publish
a data set.
"""

import re
from pathlib import Path
from typing import Any

from mftn.data.manifest import MANIFEST, read_description
from mftn.data.votes import VOTE_COLUMNS
from mftn.files import json_text, sha256_of, write_text
from mftn.labels import LABEL_SETS

CROISSANT = "croissant.json"

CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
"""The context that the specification prescribes."""

COLUMNS = {
    "split": ("sc:Text", "train, valid or test"),
    "label": ("sc:Text", "The expression; empty where the raters saw none"),
    "votes": ("sc:Integer", f"Raters' votes for {', '.join(VOTE_COLUMNS)}"),
    "source": ("sc:Text", "The source image of the crop, relative to the data set's root"),
    "face": ("sc:Integer", "Number of the face in its image"),
    "cut_by": ("sc:Text", "landmarks, box (the annotated one) or image (no face found: the whole image)"),
    "face_found": ("sc:Boolean", "Whether the detector found the face"),
    "box": ("sc:Float", "left, top, right, bottom in pixels of the source"),
    "landmarks": ("sc:Float", "x, y of eyes, nose and mouth corners in pixels of the source"),
    "detector": ("sc:Text", "Name of the face detector"),
    "score": ("sc:Float", "The detector's confidence, 0 to 1"),
    "residual": (
        "sc:Float",
        "Root mean square distance of the aligned landmarks from the template, in sides of the crop",
    ),
    "blur": ("sc:Float", "Variance of the crop's Laplacian: low is blurred"),
    "brightness": ("sc:Float", "Mean grey of the crop, 0 to 255"),
    "sha256": ("sc:Text", "SHA-256 of the crop's file"),
}
"""The manifest's columns that are described, with their types."""

REPEATED = ("votes", "box", "landmarks")
SPLITS = {"train": "cr:TrainingSplit", "valid": "cr:ValidationSplit", "test": "cr:TestSplit"}


def write_croissant(out: Path) -> None:
    """Describe a complete folder, from its dataset.json and manifest.

    Raises:
        DataError: dataset.json is missing or incomplete.
    """
    write_text(out / CROISSANT, json_text(describe(out), indent=1))


def describe(out: Path) -> dict[str, Any]:
    """The JSON-LD of a complete folder."""
    about = read_description(out)
    title = about.get("title") or "faces"
    kind = about["preparation"]["format"]
    crops = "crops" if about["preparation"]["detector"] == "none" else "aligned crops"
    counts = {split: f"{count:,} {split}" for split, count in about["images"].items()}
    described = {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "name": re.sub(r"[^\w-]+", "-", str(about.get("name") or "faces")),
        "description": f"{title}: {sum(about['images'].values()):,} {crops} of faces with their expression "
        f"({', '.join(counts.values())}), prepared by mftn {about.get('mftn', '')}".rstrip(),
        "conformsTo": ["http://mlcommons.org/croissant/1.0", "http://mlcommons.org/croissant/RAI/1.0"],
        "license": about.get("licence"),
        **_responsible(about),
        "distribution": [
            _file(out, MANIFEST, "application/x-parquet", "One row per face"),
            _file(out, "dataset.json", "application/json", "Settings, counts and warnings of the preparation"),
            {
                "@type": "cr:FileSet",
                "@id": "crops",
                "description": f"The {crops}",
                "encodingFormat": "image/png" if kind == "png" else "image/jpeg",
                "includes": f"*/*.{kind}",
            },
        ],
        "recordSet": [_faces(), _splits(about), _expressions(about)],
    }
    return {key: value for key, value in described.items() if value is not None}


def _responsible(about: dict[str, Any]) -> dict[str, str]:
    """Statements about every prepared data set, with numbers from dataset.json."""
    preparation = about["preparation"]
    lost = sum(about.get("without_face", {}).values())
    if preparation["detector"] == "none":
        faces = f"Not aligned: the annotated boxes or whole images, cropped to {preparation['size']} pixels per side. "
    else:
        faces = (
            f"Faces found by {preparation['detector']}, aligned by five landmarks to one template, cropped to "
            f"{preparation['size']} pixels per side. In {lost:,} images no face was found: the annotated box or whole "
            "image is kept and flagged. "
        )
    return {
        "rai:dataPreprocessingProtocol": f"{faces}Near duplicates share a split where the owners gave none.",
        "rai:dataAnnotationProtocol": "Labels, votes and splits are those of the source, which was not re-annotated.",
        "rai:dataLimitations": (
            "A label says what raters saw in a face, not what the person felt. See the source for how raters, "
            "people and situations were chosen."
        ),
        "rai:personalSensitiveInformation": "Images of faces, which identify people: personal data in most places.",
        "rai:dataUseCases": "Training and evaluation of facial expression recognition, within the source's licence.",
    }


def _file(out: Path, name: str, encoding: str, text: str) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject",
        "@id": name,
        "name": name,
        "description": text,
        "contentUrl": name,
        "encodingFormat": encoding,
        "sha256": sha256_of(out / name),
    }


def _faces() -> dict[str, Any]:
    """One record per face: its crop, and its row of the manifest."""
    fields = [
        {
            "@type": "cr:Field",
            "@id": "faces/path",
            "description": "The crop's file, relative to the data set's folder",
            "dataType": "sc:Text",
            "source": {
                "fileSet": {"@id": "crops"},
                "extract": {"fileProperty": "fullpath"},
                "transform": {"regex": "(.*)"},  # mlcroissant joins only text, and this is a path
            },
            "references": {"fileObject": {"@id": MANIFEST}, "extract": {"column": "path"}},
        },
        {
            "@type": "cr:Field",
            "@id": "faces/image",
            "description": "The crop",
            "dataType": "sc:ImageObject",
            "source": {"fileSet": {"@id": "crops"}, "extract": {"fileProperty": "content"}},
        },
    ]
    for column, (kind, text) in COLUMNS.items():
        field: dict[str, Any] = {
            "@type": "cr:Field",
            "@id": f"faces/{column}",
            "description": text,
            "dataType": [kind, "cr:Label"] if column == "label" else kind,
            "source": {"fileObject": {"@id": MANIFEST}, "extract": {"column": column}},
        }
        fields.append(field | ({"repeated": True} if column in REPEATED else {}))
    return {
        "@type": "cr:RecordSet",
        "@id": "faces",
        "description": "One record per face",
        "key": {"@id": "faces/path"},
        "field": fields,
    }


def _splits(about: dict[str, Any]) -> dict[str, Any]:
    rows = [{"splits/name": name, "splits/kind": SPLITS[name]} for name in about["images"]]
    return _listing("splits", "cr:Split", ["name", "kind"], rows)


def _expressions(about: dict[str, Any]) -> dict[str, Any]:
    rows = [{"expressions/name": name} for name in LABEL_SETS[about["classes"]]]
    return _listing("expressions", "sc:Enumeration", ["name"], rows)


def _listing(name: str, kind: str, fields: list[str], rows: list[dict[str, str]]) -> dict[str, Any]:
    """A record set whose few records are stored in the file itself."""
    described = [{"@type": "cr:Field", "@id": f"{name}/{field}", "dataType": "sc:Text"} for field in fields]
    return {
        "@type": "cr:RecordSet",
        "@id": name,
        "dataType": kind,
        "key": {"@id": f"{name}/{fields[0]}"},
        "field": described,
        "data": rows,
    }
