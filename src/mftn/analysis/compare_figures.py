"""Figures of comparisons: people in each condition, and synchrony against chance."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from mftn.analysis.conditions import SIGNALS, Units
from mftn.analysis.figures import INK, LEVEL_COLOURS, MAX_ROWS, SOFT, label, name_rows, tidy
from mftn.figures import new_figure

if TYPE_CHECKING:
    import pandas as pd


def draw_conditions(factor: str, units: Units, conditions: pd.DataFrame, confidence: float, what: str) -> Figure:
    """Each person's value at each level, joined by lines, beside the mean and its interval.

    Args:
        factor: Name of the factor.
        units: What was compared.
        conditions: The tests, for the corrected p of each panel.
        confidence: Confidence level of the intervals, by Student's t over people.
        what: Label of the axis.
    """
    from scipy.stats import t

    if (conditions.loc[conditions["factor"] == factor, "design"] == "between").all():
        units = units.without(units.several())  # as the test does
    means = units.means()
    levels = list(means)
    width = max(9.0, min(2.2 + 0.55 * 3 * len(levels), 16.0))
    figure = new_figure(width, 7.4)
    panels = figure.subplots(3, 3, sharex=True).ravel()
    rng = np.random.default_rng(0)
    people = sorted({person for level in means.values() for person in level})
    jitter = dict(zip(people, rng.uniform(-0.12, 0.12, len(people)), strict=True))
    for index, panel in enumerate(panels):
        for person in people:
            seen = [
                (x + jitter[person], means[level][person][index])
                for x, level in enumerate(levels)
                if person in means[level]
            ]
            if len(seen) > 1:
                panel.plot(*zip(*seen, strict=True), color="#C4C4C4", linewidth=0.6, zorder=1)
        for x, level in enumerate(levels):
            values = np.array([value[index] for value in means[level].values()])
            colour = LEVEL_COLOURS[x % len(LEVEL_COLOURS)]
            spots = [x + jitter[person] for person in means[level]]
            panel.plot(spots, values, "o", color=colour, markersize=3, alpha=0.55, markeredgewidth=0, zorder=2)
            if len(values) > 2:
                reach = t.ppf(0.5 + confidence / 2, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
                panel.errorbar(
                    x + 0.27,
                    values.mean(),
                    reach,
                    color=INK,
                    marker="D",
                    markersize=4,
                    capsize=3,
                    linewidth=1.3,
                    zorder=3,
                )
        panel.axhline(0, color="#999999", linewidth=0.7, zorder=0)
        panel.set_title(_title(SIGNALS[index], factor, conditions), fontsize=9, color=INK)
        panel.set_xlim(-0.5, len(levels) - 0.3)
        tidy(panel)
        long = max(map(len, levels)) * len(levels) > 26
        panel.set_xticks(
            range(len(levels)), levels, fontsize=8, rotation=30 if long else 0, ha="right" if long else "center"
        )
    figure.supylabel(what, fontsize=9, color=INK)
    figure.suptitle(factor, fontsize=10, color=INK)
    return figure


def _title(signal: str, factor: str, conditions: pd.DataFrame) -> str:
    rows = conditions[(conditions["factor"] == factor) & (conditions["signal"] == signal)]
    whole = rows[rows["contrast"] == "any"]
    p = (whole if len(whole) else rows)["p_holm"]  # with several pairs, no single p describes the panel
    name = signal.replace("_", " ")
    return f"{name}, {format_p(float(p.iloc[0]))}" if len(p) == 1 and p.notna().all() else name


def format_p(p: float) -> str:
    """Format p as papers do."""
    return "p < .001" if p < 0.001 else f"p = {p:.3f}".replace("0.", ".")


def draw_synchrony(synchrony: pd.DataFrame) -> Figure:
    """Correlation of each pair, or of all viewers, beside the chance level; filled where p < .05."""
    shown = synchrony.iloc[:MAX_ROWS]
    pair = shown["kind"] == "pair"
    values = shown["peak_r"].where(pair, shown["r"])
    rows = np.arange(len(shown))
    figure = new_figure(9, 1.1 + 0.24 * max(len(shown), 3))
    axes = figure.subplots()
    axes.hlines(rows, shown["chance"].fillna(values), values, color="#C9DCEB", linewidth=2)
    axes.plot(shown["chance"], rows, "|", color=SOFT, markersize=9, label="chance")
    sure = (shown["p"] < 0.05).to_numpy()
    axes.plot(values[sure], rows[sure], "o", color="#0072B2", markersize=5, label="observed, p < .05 (not corrected)")
    axes.plot(values[~sure], rows[~sure], "o", markerfacecolor="white", color="#0072B2", markersize=5, label="observed")
    names = [
        f"{label(row.person, None)} – {label(row.other, None)}, {row.signal.replace('_', ' ')}"
        + ("" if row.segment == "all" else f" · {row.segment}")
        for row in shown.itertuples()
    ]
    name_rows(axes, names, len(synchrony))
    axes.set_xlabel("correlation (highest within the lags for pairs)", fontsize=9)
    axes.axvline(0, color="#999999", linewidth=0.7)
    tidy(axes, "x")
    figure.legend(loc="outside upper center", ncols=3, fontsize=8, frameon=False)
    return figure
