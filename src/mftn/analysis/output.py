"""A summary's files: tables for R and pandas, figures for a paper, notes, methods, and one page with everything."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from mftn.analysis.elan import BIDS_DESCRIPTION, bids_tables, file_names, write_bids, write_elan
from mftn.analysis.methods import methods, versions
from mftn.analysis.summary import TABLES, Summary
from mftn.analysis.synchrony import ALL
from mftn.errors import MissingExtraError
from mftn.figures import save_figure, text_as_written
from mftn.files import CsvLines, atomic_write, json_text, write_text
from mftn.pages import data_uri
from mftn.result_folder import ResultFolder

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from mftn.analysis.courses import Course

INDEX = "summary.json"
"""The file that lists the others."""

TEXTS = ("summary.html", INDEX, "methods.txt", "notes.txt")
"""Files in the folder that are neither tables nor figures."""

ALWAYS = (*TEXTS, "expressions.csv", "persons.csv", "events.csv", "transitions.csv")
"""Files that every summary has."""

OUTPUTS = (*(f"{name}{suffix}" for name in TABLES for suffix in (".csv", ".parquet")), *TEXTS)
"""Files in the folder, besides those in figures/, elan/ and bids/."""

RESULT = re.compile(r"[^/]+\.(csv|parquet)|figures/[^/]+\.(png|pdf)")
"""Tables and figures as they are listed in summary.json."""

MAX_CURVES = 6
"""Maximum number of segments whose mean curves are drawn."""


def write_summary(summary: Summary, folder: Path, *, elan: bool, bids: bool) -> Path:
    """Write everything and return the page's path.

    Args:
        summary: The results.
        folder: Where the files go.
        elan: Whether to write files for ELAN.
        bids: Whether to write BIDS-like tables.

    Raises:
        OutputError: The folder has a file with the name of a result that no summary wrote.
        OSError: A file cannot be written; the error names it.
    """
    results, frames = ResultFolder(folder, INDEX), summary.frames()
    with text_as_written():
        figures = list(_figures(summary))
    files = [f"{name}.{kind}" for name in frames for kind in ("csv", "parquet")]
    files += [f"figures/{name}.{kind}" for name, _, _ in figures for kind in ("png", "pdf")]
    files += TEXTS
    if bids:
        files += [f"bids/{name}" for name in (BIDS_DESCRIPTION, *bids_tables(summary.events))]
    digests = results.earlier().get("elan", {})
    results.begin(files)
    (folder / "figures").mkdir(exist_ok=True)
    page = folder / "summary.html"  # written last: after an interruption, an earlier one would contradict the tables
    page.unlink(missing_ok=True)
    if elan:
        sources = [one.source for one in summary.presence]
        digests, changed = write_elan(summary.events, sources, folder / "elan", digests)
        kept = [
            f"elan/{old}: has been changed since it was written, so it is kept; the new events are in elan/{new}"
            for old, new in changed.items()
        ]
        summary = replace(summary, notes=(*summary.notes, *kept))
    for name, frame in frames.items():
        write_table(frame, folder / name)
    images, subjects = {}, {}
    with text_as_written():
        for name, subject, figure in figures:
            for kind in ("png", "pdf"):
                save_figure(figure, folder / "figures" / f"{name}.{kind}")
                figure.set_layout_engine("none")  # the layout of the first format also serves the second
            image = (folder / "figures" / f"{name}.png").read_bytes()
            images[name], subjects[name] = data_uri(image), subject
    if bids:
        write_bids(summary.events, folder / "bids")
    write_text(folder / "methods.txt", "\n\n".join(methods(summary)) + "\n")
    write_text(folder / "notes.txt", "".join(f"{note}\n" for note in summary.notes))
    files = results.remove_others(files, RESULT)
    settings, study = asdict(summary.settings), asdict(summary.study)
    about = {"settings": settings, "study": study, "versions": versions(), "files": files, "elan": digests}
    write_text(folder / INDEX, json_text(about, indent=1))
    write_text(page, _page(summary, images, subjects))
    return page


def write_table(frame: pd.DataFrame, path: Path) -> None:
    """Write PATH.csv and PATH.parquet.

    R's readr and pandas read the CSV without options: a header of plain names, commas, UTF-8, NA for missing values,
    TRUE and FALSE, decimal points.
    """
    flags = [name for name in frame if frame[name].dtype == bool]
    words = frame.assign(**{name: frame[name].map({True: "TRUE", False: "FALSE"}) for name in flags})
    with atomic_write(path.with_suffix(".csv")) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        words.to_csv(CsvLines(file), index=False, na_rep="NA", float_format=_decimal, lineterminator="\r\n")
    with atomic_write(path.with_suffix(".parquet")) as partial:
        frame.to_parquet(partial, index=False)


def _decimal(value: float) -> str:
    """Eight digits, and milliseconds even for recordings that last for days."""
    return f"{value:.3f}" if 1e5 <= abs(value) < 1e12 else f"{value:.8g}"


def _figures(summary: Summary) -> Iterator[tuple[str, str, Figure]]:
    """Each figure with its file name and, where there are several of a kind, the segment or factor that it shows."""
    try:
        from mftn.analysis import compare_figures, figures
    except ModuleNotFoundError as error:
        raise MissingExtraError("Figures of a summary", "analysis") from error
    confidence = summary.settings.confidence
    if summary.presence:
        yield "presence", "", figures.draw_presence(summary.presence)
    if summary.courses:
        yield "people", "", figures.draw_bands(summary.courses)
        yield "events", "", figures.draw_raster(summary.events, summary.presence)
    for segment, name, courses, levels in curve_groups(summary):
        yield f"curves_{name}", segment, figures.draw_curves(segment, courses, levels, confidence)
    if len(summary.transitions):
        yield "transitions", "", figures.draw_transitions(summary.transitions)
    what = "difference from own baseline" if summary.study.baseline else "mean probability"
    names = file_names(list(summary.units))
    for factor, units in summary.units.items():
        if (summary.conditions["factor"] == factor).any():
            figure = compare_figures.draw_conditions(factor, units, summary.conditions, confidence, what)
            yield f"conditions_{names[factor]}", factor, figure
    if len(summary.synchrony):
        each = summary.synchrony[(summary.synchrony["kind"] == "pair") | (summary.synchrony["person"] == ALL)]
        yield "synchrony", "", compare_figures.draw_synchrony(each)
    yield "quality", "", figures.draw_quality(summary.persons)


def curve_groups(summary: Summary) -> Iterator[tuple[str, str, list[Course], list[str]]]:
    """Segments with their file names, courses, and the first factor's level of each course.

    Where the study identifies people, everyone else is left out.
    """
    known = any(course.known for course in summary.courses)
    chosen = [course for course in summary.courses if course.known or not known]
    segments = list(dict.fromkeys(course.segment.name for course in chosen))[:MAX_CURVES]
    names = file_names(segments)
    factor = next(iter(summary.study.factors), None)
    for segment in segments:
        courses = [course for course in chosen if course.segment.name == segment]
        levels = [
            course.segment.conditions.get(factor, "") or "no condition" if factor else "all" for course in courses
        ]
        yield segment, names[segment], courses, levels


def _page(summary: Summary, images: dict[str, str], subjects: dict[str, str]) -> str:
    from mftn.analysis.page import render

    return render(summary, images, subjects)
