"""Figures of a summary: who was seen when, curves, events, transitions, quality."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke

from mftn.analysis.courses import Course, align, coarser, nan_mean
from mftn.analysis.rows import K
from mftn.analysis.segments import WHOLE
from mftn.analysis.table import Floats
from mftn.figures import new_figure
from mftn.labels import COLOURS, EXPRESSIONS

if TYPE_CHECKING:
    import pandas as pd

    from mftn.analysis.collect import Presence

MAX_ROWS = 60
"""Maximum number of rows in a figure with one row per person."""

MAX_BANDS = 12
"""Maximum number of people whose own course is drawn."""

INK, SOFT, GRID = "#1A1A1A", "#595959", "#E3E3E3"
LEVEL_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#8A6D00", "#56B4E9")
"""Colours of conditions, unrelated to those of expressions: Okabe and Ito's palette with a darker yellow."""

LEVEL_STYLES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (8, 2)))
_EDGE = [withStroke(linewidth=2.6, foreground="#555555")]


def tidy(axes: Axes, grid: Literal["x", "y"] = "y") -> None:
    """Dark text, no box, a light grid along one axis."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis=grid, color=GRID, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=8, colors=INK)


def name_seconds(axes: Axes, longest: float) -> None:
    """Label the time axis in seconds, or in minutes where the stretch is long."""
    if longest > 180:
        axes.xaxis.set_major_formatter(lambda value, _: f"{int(value // 60)}:{round(value % 60):02d}")
        axes.set_xlabel("minutes:seconds", fontsize=9)
    else:
        axes.set_xlabel("seconds", fontsize=9)


def draw_presence(presence: Sequence[Presence]) -> Figure:
    """One row per person and recording, with bars while the person is seen."""
    shown = presence[:MAX_ROWS]
    figure = new_figure(9, 0.9 + 0.24 * max(len(shown), 3))
    axes = figure.subplots()
    for row, one in enumerate(shown):
        axes.barh(row, one.length, color="#F1F1F1", height=0.62)
        axes.broken_barh([(a, b - a) for a, b in one.spans], (row - 0.31, 0.62), facecolor="#0072B2")
    longest = max(one.length for one in shown)
    name_rows(axes, [label(one.person, one.source) for one in shown], len(presence))
    axes.set_xlim(0, longest)
    tidy(axes, "x")
    name_seconds(axes, longest)
    handles = [Patch(color="#0072B2", label="seen"), Patch(color="#F1F1F1", label="not seen")]
    figure.legend(handles=handles, loc="outside upper right", ncols=2, fontsize=8, frameon=False)
    return figure


def draw_raster(events: pd.DataFrame, presence: Sequence[Presence]) -> Figure:
    """One row per person and recording, with a lane for each expression except neutral."""
    shown = presence[:MAX_ROWS]
    figure = new_figure(9, 1.1 + 0.34 * max(len(shown), 3))
    axes = figure.subplots()
    rows = {(one.source, one.person): index for index, one in enumerate(shown)}
    lanes = {name: number for number, name in enumerate(EXPRESSIONS[1:])}
    height = 0.84 / len(lanes)
    for one, index in zip(shown, rows.values(), strict=True):
        axes.broken_barh([(a, b - a) for a, b in one.spans], (index - 0.42, 0.84), facecolor="#F6F6F6")
    for (source, person, name), found in events.groupby(["source", "person", "expression"]):
        if (source, person) in rows and name in lanes:
            low = rows[source, person] - 0.42 + height * lanes[name]
            bars = found[["onset", "duration"]].to_numpy()
            axes.broken_barh(bars, (low, height), facecolor=COLOURS[name], edgecolor="#444444", linewidth=0.4)
    longest = max(one.length for one in shown)
    name_rows(axes, [label(one.person, one.source) for one in shown], len(presence))
    axes.set_xlim(0, longest)
    tidy(axes, "x")
    name_seconds(axes, longest)
    _expression_legend(figure, EXPRESSIONS[1:])
    return figure


def draw_bands(courses: Sequence[Course]) -> Figure:
    """Each person's own course in a recording: probabilities stacked, white while not seen, lines between segments."""
    groups: dict[tuple[str, str], list[Course]] = {}
    for course in courses:
        groups.setdefault((course.source, course.person), []).append(course)
    shown = list(groups.items())[:MAX_BANDS]
    longest = max(course.segment.end for _, group in shown for course in group)
    figure = new_figure(9, 0.9 + 0.9 * len(shown))
    bands = figure.subplots(len(shown), 1, squeeze=False, sharex=True)[:, 0]
    for band, ((source, person), group) in zip(bands, shown, strict=True):
        for course in group:
            _stack(band, course, max(1, -(-course.bins // 600)))
            if len(group) > 1:
                band.axvline(course.segment.start, color=INK, linewidth=0.8)
        band.set(ylim=(0, 1), yticks=(0, 1), xlim=(0, longest))
        band.set_title(label(person, source), fontsize=8, loc="left", color=INK, pad=3)
        tidy(band)
    name_seconds(bands[-1], longest)
    _expression_legend(figure, EXPRESSIONS)
    return figure


def _stack(band: Axes, course: Course, factor: int) -> None:
    values = np.repeat(coarser(course.full()[:, :K], factor), 2, axis=0)  # steps: each bin from its start to its end
    edges = course.segment.start + np.arange(len(values) // 2 + 1) * factor / course.rate
    times = np.repeat(edges, 2)[1:-1].clip(max=course.segment.end)
    band.stackplot(times, np.nan_to_num(values).T, colors=[COLOURS[name] for name in EXPRESSIONS])


def draw_curves(segment: str, courses: Sequence[Course], levels: Sequence[str], confidence: float) -> Figure:
    """Means over people with intervals, a panel for each expression and the valence index, a line for each level.

    Args:
        segment: Name of the segment.
        courses: Courses in the segment; each person counts once per level.
        levels: The level of each course.
        confidence: Confidence level of the intervals over people; there are none for fewer than three.
    """
    figure = new_figure(9, 6.4)
    panels = figure.subplots(3, 3, sharex=True).ravel()
    every = sorted(set(levels))
    names = every[: len(LEVEL_COLOURS)]
    for number, name in enumerate(names):
        chosen = [course for course, level in zip(courses, levels, strict=True) if level == name]
        times, mean, reach = mean_curve(chosen, confidence)
        for index, panel in enumerate(panels):
            colour = LEVEL_COLOURS[number] if len(names) > 1 else COLOURS.get((*EXPRESSIONS, "")[index], "#333333")
            edge = None if len(names) > 1 else _EDGE
            panel.plot(
                times,
                mean[:, index],
                color=colour,
                linewidth=1.5,
                linestyle=LEVEL_STYLES[number],
                path_effects=edge,
                label=f"{name} (n = {len({course.person for course in chosen})})",
            )
            low, high = mean[:, index] - reach[:, index], mean[:, index] + reach[:, index]
            panel.fill_between(times, low, high, color=colour, alpha=0.25, linewidth=0)
    for index, panel in enumerate(panels):
        panel.set_title((*EXPRESSIONS, "valence index")[index], fontsize=9, color=INK)
        panel.set_ylim(-1 if index == K else 0, 1)
        tidy(panel)
    longest = max(course.bins / course.rate for course in courses)
    for panel in panels[6:]:
        name_seconds(panel, longest)
        panel.set_xlim(0, longest)
    figure.supylabel("probability", fontsize=9)
    title = "" if segment == WHOLE else segment
    if len(every) > len(names):
        title = f"{title}, the first {len(names)} of {len(every)} conditions".removeprefix(", ")
    if len(names) > 1:
        handles, texts = panels[0].get_legend_handles_labels()
        figure.legend(
            handles,
            texts,
            title=title,
            title_fontsize=10,
            loc="outside upper center",
            ncols=len(names),
            fontsize=8,
            frameon=False,
        )
    elif title:
        figure.suptitle(title, fontsize=10, color=INK)
    return figure


def mean_curve(courses: Sequence[Course], confidence: float) -> tuple[Floats, Floats, Floats]:
    """(b,) seconds of the bins' middles, (b, 9) means over people, and (b, 9) half widths of their t intervals."""
    from scipy.stats import t

    factor = -(-max(course.bins for course in courses) // 200)
    aligned = align(courses, factor)
    people = np.array([course.person for course in courses])
    each = np.stack([nan_mean(aligned[people == person], axis=0) for person in dict.fromkeys(people)])  # (P, b, 9)
    mean = nan_mean(each, axis=0)
    n = (~np.isnan(each)).sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        spread = np.sqrt(nan_mean((each - mean) ** 2, axis=0) * n / (n - 1))
        reach = np.where(n > 2, t.ppf(0.5 + confidence / 2, n - 1) * spread / np.sqrt(n), np.nan)
    times = (np.arange(len(mean), dtype=np.float64) + 0.5) * (factor / courses[0].rate)
    return times, mean, reach


def draw_transitions(transitions: pd.DataFrame) -> Figure:
    """Counts over all people, coloured by their share of the transitions from the same expression."""
    counts = np.zeros((K, K))
    for before, after, count in transitions[["before", "after", "count"]].itertuples(index=False):
        counts[EXPRESSIONS.index(before), EXPRESSIONS.index(after)] += count
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, totals, out=np.zeros_like(counts), where=totals > 0)
    figure = new_figure(5.6, 4.9)
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for before, after in zip(*np.nonzero(counts), strict=True):
        ink = "white" if shares[before, after] > 0.55 else INK
        axes.text(after, before, f"{int(counts[before, after])}", ha="center", va="center", color=ink, fontsize=8)
    axes.set_xticks(range(K), EXPRESSIONS, rotation=40, ha="right", fontsize=8)
    axes.set_yticks(range(K), EXPRESSIONS, fontsize=8)
    axes.set_xlabel("after", fontsize=9)
    axes.set_ylabel("before", fontsize=9)
    return figure


def draw_quality(persons: pd.DataFrame) -> Figure:
    """Share of time seen, face size and detector score of each person and segment."""
    shown = persons.iloc[:MAX_ROWS]
    images = shown["seen"].isna()
    share = (shown["seen"] / shown["duration"]).where(
        ~images, shown["frames"] / (shown["frames"] + shown["frames_missing"])
    )
    figure = new_figure(9, 0.9 + 0.24 * max(len(shown), 3))
    panels = figure.subplots(1, 3, sharey=True)
    rows = np.arange(len(shown))
    for panel, values, name in zip(
        panels,
        (share, shown["face_size"], shown["score"]),
        ("share seen", "face size (pixels)", "detector score"),
        strict=True,
    ):
        panel.hlines(rows, 0, values, color="#C9DCEB", linewidth=2)
        panel.plot(values, rows, "o", color="#0072B2", markersize=4)
        panel.set_title(name, fontsize=9, color=INK)
        panel.set_xlim(0, 1.04 if name != "face size (pixels)" else None)
        tidy(panel, "x")
    names = [
        label(row.person, row.source) + ("" if row.segment == "all" else f" · {row.segment}")
        for row in shown.itertuples()
    ]
    name_rows(panels[0], names, len(persons))
    return figure


def label(person: str, source: str | float | None) -> str:
    """A person's name, and the recording's unless the person's name already contains it."""
    where = source.rsplit("/", 1)[-1] if isinstance(source, str) else ""
    text = person.rsplit("/", 1)[-1]
    text = text if not where or where in person else f"{text} · {where}"
    return text if len(text) <= 38 else f"{text[:18]}…{text[-19:]}"


def name_rows(axes: Axes, names: Sequence[str], total: int) -> None:
    """Name each row; where there are more rows than are drawn, say how many."""
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.set_ylim(max(len(names), 3) - 0.4, -0.6)
    if total > len(names):
        axes.set_ylabel(f"the first {len(names)} of {total:,}", fontsize=9)


def _expression_legend(figure: Figure, names: Sequence[str]) -> None:
    handles = [Patch(facecolor=COLOURS[name], edgecolor="#777777", linewidth=0.5, label=name) for name in names]
    figure.legend(
        handles=handles,
        loc="outside upper center",
        ncols=len(names),
        fontsize=7.5,
        frameon=False,
        columnspacing=0.9,
        handlelength=1.2,
    )
