"""The figure of results by group: shares with intervals beside odds ratios, unadjusted and adjusted."""

from collections.abc import Mapping
from textwrap import fill as wrap

import numpy as np
from matplotlib.figure import Figure

from mftn.evaluate.groups.results import GroupResults, Share
from mftn.evaluate.groups.sentences import people
from mftn.figures import new_figure

BLUE, ORANGE, GREY, INK = "#0072B2", "#D55E00", "#8C8C8C", "#1A1A1A"
LOWEST, HIGHEST = 0.02, 50.0
"""Range of odds ratios that is drawn; intervals are cut off there."""
LONGEST = 60
"""Longer names are broken into several lines of this many characters."""


def draw_groups(models: Mapping[str, GroupResults]) -> Figure:
    """One row per column, label and group, beside a panel with the odds ratios that were tested."""
    rows = [(name, share) for name, results in models.items() for share in results.shares]
    names = [_name(model if len(models) > 1 else "", share) for model, share in rows]
    lines = max((name.count("\n") + 1 for name in names), default=1)
    widest = max((len(line) for name in names for line in name.split("\n")), default=0)
    figure = new_figure(8 + 0.075 * widest, 1.4 + max(0.27, 0.16 * lines) * max(len(rows), 3))
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(1.1, 1))
    before = None
    for y, (model, share) in enumerate(rows):
        few = share.people < models[model].options.fewest
        low, high = (100 * bound for bound in share.interval)
        colour = GREY if few else BLUE
        left.plot([low, high], [y, y], color=colour, linewidth=1.6)
        left.plot(100 * share.share, y, "o", color=colour, markersize=5, markerfacecolor="white" if few else colour)
        block = (model, share.column, share.label)
        if before not in (None, block):
            for axes in (left, right):
                axes.axhline(y - 0.5, color="#DDDDDD", linewidth=0.8)
        before = block
    rows_of = {(model, share.column, share.label, share.group): y for y, (model, share) in enumerate(rows)}
    for model, results in models.items():
        for found in results.comparisons:
            y = rows_of[model, found.column, found.label, found.group]
            for test, shift, colour, fill in (
                (found.raw, -0.14, GREY, "white"),
                (found.adjusted, 0.14, ORANGE, ORANGE),
            ):
                if test:
                    ends = np.clip([*test.interval, test.odds_ratio], LOWEST, HIGHEST)
                    right.plot(ends[:2], [y + shift] * 2, color=colour, linewidth=1.6)
                    right.plot(ends[2], y + shift, "D", color=colour, markersize=4.5, markerfacecolor=fill)
    left.set_yticks(range(len(rows)), names, fontsize=8)
    left.set_ylim(len(rows) - 0.4, -0.6)
    left.set_xlim(-2, 102)
    left.set_xlabel("images classified correctly (%), with 95 % interval", fontsize=9)
    right.set_xscale("log")
    right.set_xlim(LOWEST, HIGHEST)
    right.set_xticks([0.05, 0.2, 1, 5, 20], ["0.05", "0.2", "1", "5", "20"])
    right.axvline(1, color=INK, linewidth=0.8)
    right.set_xlabel("odds ratio against the other group or all others", fontsize=9)
    adjusted = sorted({name for results in models.values() for name in results.adjusted_for})
    handles = [("o", BLUE, BLUE, "share"), ("o", GREY, "white", "share, too few people to judge")]
    handles += [("D", GREY, "white", "odds ratio, unadjusted")]
    if adjusted:
        text = wrap(f"odds ratio with {' and '.join(adjusted)} in the model", LONGEST)
        handles.append(("D", ORANGE, ORANGE, text))
    for marker, colour, fill, text in handles:
        left.plot([], [], marker, color=colour, markerfacecolor=fill, label=text)
    figure.legend(loc="outside upper center", ncols=2, fontsize=8, frameon=False)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="x", color="#E8E8E8", linewidth=0.7)
        axes.tick_params(labelsize=8)
        axes.tick_params(axis="y", length=0)
    return figure


def _name(model: str, share: Share) -> str:
    before = f"{model}, " if model else ""
    return wrap(f"{before}{share.label}: {share.column} {share.group} ({people(share.people)})", LONGEST)
