"""Export of events: ELAN annotation files, for coders to check against the video, and BIDS-like tables."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from mftn import __version__
from mftn.files import CsvLines, UniqueNames, atomic_write, sha256_of, write_text
from mftn.sources import VIDEO_SUFFIXES

if TYPE_CHECKING:
    import pandas as pd

_SCHEMA = "http://www.mpi.nl/tools/elan/EAFv3.0.xsd"
BIDS_DESCRIPTION = "dataset_description.json"
"""The file that describes a BIDS folder."""

_NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that names may contain but XML may not, even escaped."""

_MIME = {".mp4": "video/mp4", ".mov": "video/quicktime", ".mpg": "video/mpeg", ".mpeg": "video/mpeg"}


def write_elan(
    events: pd.DataFrame, sources: Sequence[str], folder: Path, before: Mapping[str, str]
) -> tuple[dict[str, str], dict[str, str]]:
    """Write an .eaf file per recording, with a tier per person and expression; the video is linked, not copied.

    A file that a coder has changed since is never replaced: the new one gets another name.

    Args:
        events: The table of events.
        sources: The recordings, including those without events.
        folder: Where the files go.
        before: SHA-256 of the files that an earlier summary wrote there, by name.

    Returns:
        SHA-256 of the files by name; and the new file's name by the name of each file that was changed since.
    """
    folder.mkdir(parents=True, exist_ok=True)
    names = file_names(list(dict.fromkeys(sources)))
    written, changed = dict(before), dict[str, str]()
    for source, name in names.items():
        document = _document(source, events[events["source"] == source])
        file, numbers = f"{name}.eaf", count(2)
        while (folder / file).exists() and sha256_of(folder / file) != before.get(file):
            kept, file = file, f"{name}-{next(numbers)}.eaf"
            changed[kept] = file
        tree = ET.ElementTree(document)
        ET.indent(tree)
        with atomic_write(folder / file) as partial:
            tree.write(partial, encoding="UTF-8", xml_declaration=True)
        written[file] = sha256_of(folder / file)
    return written, changed


def _document(source: str, events: pd.DataFrame) -> ET.Element:
    about = {"AUTHOR": f"MFTN {__version__}", "DATE": datetime.now(UTC).isoformat(timespec="seconds")}
    about |= {"FORMAT": "3.0", "VERSION": "3.0", "xmlns:xsi": "http://www.w3.org/2001/XMLSchema-instance"}
    document = ET.Element("ANNOTATION_DOCUMENT", about | {"xsi:noNamespaceSchemaLocation": _SCHEMA})
    header = ET.SubElement(document, "HEADER", {"MEDIA_FILE": "", "TIME_UNITS": "milliseconds"})
    film = Path(source)
    media = {"MEDIA_URL": film.absolute().as_uri(), "MIME_TYPE": _MIME.get(film.suffix.lower(), "video/*")}
    ET.SubElement(header, "MEDIA_DESCRIPTOR", media | {"RELATIVE_MEDIA_URL": f"./{film.name}"})
    time_order = ET.SubElement(document, "TIME_ORDER")
    slots_of: list[tuple[int, str]] = []
    number = 0
    for (person, expression), rows in events.groupby(["person", "expression"], sort=False):
        tier = {"LINGUISTIC_TYPE_REF": "expression", "TIER_ID": f"{person} {expression}", "PARTICIPANT": str(person)}
        annotations = ET.SubElement(document, "TIER", tier | {"ANNOTATOR": f"MFTN {__version__}"})
        for event in rows.itertuples():
            number += 1
            slots = {f"TIME_SLOT_REF{k}": f"ts{2 * number - 2 + k}" for k in (1, 2)}
            for slot, time in zip(slots.values(), (event.onset, event.offset), strict=True):
                slots_of.append((round(1000 * time), slot))
            annotation = ET.SubElement(annotations, "ANNOTATION")
            row = ET.SubElement(annotation, "ALIGNABLE_ANNOTATION", {"ANNOTATION_ID": f"a{number}"} | slots)
            ET.SubElement(row, "ANNOTATION_VALUE").text = f"{event.expression} {event.peak:.2f}"
    for time, slot in sorted(slots_of):
        ET.SubElement(time_order, "TIME_SLOT", {"TIME_SLOT_ID": slot, "TIME_VALUE": str(time)})
    kind = {"GRAPHIC_REFERENCES": "false", "LINGUISTIC_TYPE_ID": "expression", "TIME_ALIGNABLE": "true"}
    ET.SubElement(document, "LINGUISTIC_TYPE", kind)
    for element in document.iter():
        element.attrib = {key: _NOT_IN_XML.sub("\N{REPLACEMENT CHARACTER}", value) for key, value in element.items()}
    return document


def bids_tables(events: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Each person's events in each recording, by file name in a BIDS folder."""
    people = file_names(list(dict.fromkeys(events["person"])), "")
    sources = file_names(list(dict.fromkeys(events["source"])), "")
    found = {}
    for (source, person), rows in events.groupby(["source", "person"], sort=False):
        name = f"sub-{people[str(person)]}"
        found[f"{name}/{name}_task-{sources[str(source)]}_events.tsv"] = rows
    return found


def write_bids(events: pd.DataFrame, folder: Path) -> None:
    """Write events tables as BIDS does: sub-PERSON/sub-PERSON_task-RECORDING_events.tsv, onset and duration first.

    Args:
        events: The table of events.
        folder: Where the files go.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in bids_tables(events).items():
        (folder / name).parent.mkdir(exist_ok=True)
        table = rows.rename(columns={"expression": "trial_type"})
        table = table[["onset", "duration", "trial_type", "apex", "peak", "segment", "cut_start", "cut_end"]]
        with atomic_write(folder / name) as partial, partial.open("w", encoding="utf-8", newline="") as file:
            lines = CsvLines(file)
            table.to_csv(lines, sep="\t", index=False, na_rep="n/a", float_format="%.4f", lineterminator="\r\n")
    about = {"Name": "Expression events", "BIDSVersion": "1.9.0", "DatasetType": "derivative"}
    made = {"GeneratedBy": [{"Name": "mftn", "Version": __version__}]}
    write_text(folder / BIDS_DESCRIPTION, json.dumps(about | made, indent=1))


def file_names(names: list[str], joiner: str = "_") -> dict[str, str]:
    """A file name for each name: letters, digits and `joiner`, and unique on any file system.

    Without a joiner only ASCII letters and digits are kept, as BIDS requires.
    """
    unique, others = UniqueNames(separator=joiner), r"[^\w]+" if joiner else r"[^A-Za-z0-9]+"
    found = {}
    for name in names:
        path = Path(name)
        stem = path.stem if path.suffix.lower() in VIDEO_SUFFIXES else path.name
        found[name] = unique.name(re.sub(others, joiner, stem).strip("_") or "unnamed")
    return found
