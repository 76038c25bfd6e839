"""The findings of an audit as an HTML page with examples."""

from dataclasses import dataclass
from pathlib import Path

from mftn.data.audit import Audit, Pair
from mftn.pages import data_uri, render_page

SHOWN = 60
"""Faces shown per kind of finding."""


@dataclass(frozen=True, slots=True)
class Face:
    """A crop on the page.

    Attributes:
        source: The image as a data URI; empty where its file is missing.
        note: Split and label.
        name: Its path.
    """

    source: str
    note: str
    name: str


@dataclass(frozen=True, slots=True)
class Section:
    """A kind of finding.

    Attributes:
        title: What it is.
        count: How many there are.
        shown: How many of them are shown.
        faces: The faces shown.
    """

    title: str
    count: int
    shown: int
    faces: list[Face]


def render(folder: Path, found: Audit) -> str:
    """The page, with the first crops of every kind embedded."""
    pairs = {"Exact duplicates": found.exact, "Near duplicates": found.near}
    rows = {"No face found": found.without_face, "Blurred": found.blurred, "Dark": found.dark}
    rows |= {"Too bright": found.bright, "Missing or changed": found.changed}
    if found.doubtful is not None:
        rows = {"Doubtful labels": found.doubtful} | rows
    sections = [_pairs(folder, found, title, values) for title, values in pairs.items()]
    sections += [
        Section(title, len(values), min(len(values), SHOWN), [_face(folder, found, row) for row in values[:SHOWN]])
        for title, values in rows.items()
    ]
    labels = sorted({label for counts in found.balance.values() for label in counts})
    values = {"folder": folder.resolve().name, "sections": sections, "balance": found.balance, "labels": labels}
    return render_page("mftn.data", "audit.html.j2", {}, **values)


def _pairs(folder: Path, found: Audit, title: str, pairs: list[Pair]) -> Section:
    leaks = set(found.across(pairs))
    shown = sorted(pairs, key=lambda pair: pair not in leaks)[: SHOWN // 2]
    faces = [_face(folder, found, row) for first, second, _ in shown for row in (first, second)]
    return Section(f"{title}, in pairs, leaks between splits first", len(pairs), len(shown), faces)


def _face(folder: Path, found: Audit, row: int) -> Face:
    path = folder / found.paths[row]
    kind = "png" if path.suffix == ".png" else "jpeg"
    source = data_uri(path.read_bytes(), kind) if path.is_file() else ""
    return Face(source, f"{found.split[row]} · {found.label[row]}", found.paths[row])
