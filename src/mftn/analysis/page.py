"""summary.html: one self-contained page, for the screen, a phone and paper."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pandas as pd

from mftn import __version__
from mftn.analysis.compare_figures import format_p
from mftn.analysis.methods import methods
from mftn.analysis.synchrony import ALL
from mftn.labels import EXPRESSIONS
from mftn.pages import render_page

if TYPE_CHECKING:
    from mftn.analysis.summary import Summary

MAX_ROWS, MAX_SEGMENTS = 24, 60
"""Maximum number of rows of a table on the page; the files have all of them."""


def render(summary: Summary, images: dict[str, str], subjects: dict[str, str]) -> str:
    """Render the page.

    Args:
        summary: The results.
        images: Figures as data URLs, by name.
        subjects: The segment or factor that each figure shows, by name.
    """
    segments = _segment_means(summary)
    return render_page(
        "mftn.analysis",
        "summary.html.j2",
        {"number": _number, "percent": _percent, "clock": _clock, "p": _p},
        study=summary.study,
        settings=summary.settings,
        notes=summary.notes,
        images=images,
        subjects=subjects,
        expressions=EXPRESSIONS,
        segments=segments[:MAX_SEGMENTS],
        segments_left=max(len(segments) - MAX_SEGMENTS, 0),
        persons=_records(summary.persons),
        persons_left=max(len(summary.persons) - MAX_ROWS, 0),
        events=_event_rows(summary),
        tests=_records(summary.conditions, 200),
        tests_left=max(len(summary.conditions) - 200, 0),
        synchrony=_records(summary.synchrony.sort_values("person", key=lambda names: names != ALL, kind="stable")),
        synchrony_left=max(len(summary.synchrony) - MAX_ROWS, 0),
        methods=methods(summary),
        tables=list(summary.frames()),
        version=__version__,
    )


def _segment_means(summary: Summary) -> list[dict[str, Any]]:
    """One row per segment and combination of levels: the number of people, and each expression's mean over them.

    A person's own mean is weighted by seen time over recordings, as in the comparisons. Where the study identifies
    people, tracks of others are left out.
    """
    keys = ["segment", *summary.study.factors]
    value = "difference" if summary.study.baseline else "mean"
    frame = summary.expressions.dropna(subset=value)
    if summary.study.people_given:
        frame = frame[frame["person"].isin(summary.persons.loc[summary.persons["known"], "person"])]
    weights = frame["seen"].fillna(1.0)  # images have one row per person
    weighted = weights * frame[value]
    found = []
    for names, rows in frame.groupby(keys, sort=False, dropna=False):
        cells = [rows["person"], rows["expression"]]
        means = weighted[rows.index].groupby(cells).sum() / weights[rows.index].groupby(cells).sum()
        each = means.unstack().reindex(columns=EXPRESSIONS)
        said = [str(name) for name in names if isinstance(name, str) and name]
        found.append({"name": " · ".join(said), "people": int(each.notna().any(axis=1).sum()), **each.mean().to_dict()})
    return found


def _event_rows(summary: Summary) -> list[dict[str, Any]]:
    """One row per expression: number of events, people who show any, and medians."""
    found = []
    for name in EXPRESSIONS:
        rows = summary.events[summary.events["expression"] == name]
        if len(rows):
            medians = {"duration": rows["duration"].median(), "peak": rows["peak"].median()}
            cut = int((rows["cut_start"] | rows["cut_end"]).sum())
            found.append({"name": name, "count": len(rows), "people": rows["person"].nunique(), "cut": cut, **medians})
    return found


def _records(frame: pd.DataFrame, most: int = MAX_ROWS) -> list[dict[str, Any]]:
    return frame.head(most).to_dict("records")


def _number(value: float | None, digits: int = 2, sign: bool = False) -> str:
    if value is None or math.isnan(value):
        return "–"
    return f"{value:{'+' if sign else ''}.{digits}f}".replace("-", "−")


def _percent(value: float | None) -> str:
    return "–" if value is None or math.isnan(value) else f"{100 * value:.1f} %"


def _p(value: float) -> str:
    return "–" if math.isnan(value) else format_p(value).removeprefix("p ").removeprefix("= ")


def _clock(value: float) -> str:
    """Seconds to two decimals, or minutes and seconds where there are many."""
    if math.isnan(value):
        return "–"
    value = round(value, 2)  # else 239.999 would be 3:60.00
    return f"{value:.2f} s" if value < 180 else f"{int(value // 60)}:{value % 60:05.2f} min"
