"""The figure of results by group: shares with intervals beside odds ratios, unadjusted and adjusted."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from textwrap import fill as wrap

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mftn.evaluate.groups.results import Comparison, GroupResults, Share
from mftn.evaluate.groups.sentences import people
from mftn.figures import new_figure

BLUE, ORANGE, GREY, INK = "#0072B2", "#D55E00", "#8C8C8C", "#1A1A1A"
MIN_ODDS_RATIO, MAX_ODDS_RATIO = 0.02, 50.0
"""Range of odds ratios that is drawn; intervals are cut off there."""
LINE_LENGTH = 60
"""Longer names are broken into several lines of this many characters."""


def draw_groups(models: Mapping[str, GroupResults]) -> Figure:
    """One row per column, label and group, beside a panel with the odds ratios that were tested."""
    rows = [(name, share) for name, results in models.items() for share in results.shares]
    names = [_name(model if len(models) > 1 else "", share) for model, share in rows]
    lines = max((name.count("\n") + 1 for name in names), default=1)
    widest = max((len(line) for name in names for line in name.split("\n")), default=0)
    figure = new_figure(8 + 0.075 * widest, 1.4 + max(0.27, 0.16 * lines) * max(len(rows), 3))
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(1.1, 1))
    for y, (row, previous) in enumerate(pairwise(rows), start=1):
        if _block(*row) != _block(*previous):
            for axes in (left, right):
                axes.axhline(y - 0.5, color="#DDDDDD", linewidth=0.8)
    _draw_shares(left, [(share, share.people < models[model].options.fewest) for model, share in rows])
    _draw_odds_ratios(right, models, {(*_block(model, share), share.group): y for y, (model, share) in enumerate(rows)})
    left.set_yticks(range(len(rows)), names, fontsize=8)
    left.set_ylim(len(rows) - 0.4, -0.6)
    _add_legend(figure, left, sorted({name for results in models.values() for name in results.adjusted_for}))
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="x", color="#E8E8E8", linewidth=0.7)
        axes.tick_params(labelsize=8)
        axes.tick_params(axis="y", length=0)
    return figure


def _block(model: str, found: Share | Comparison) -> tuple[str, str, str]:
    """What neighbouring rows have in common where no line separates them."""
    return model, found.column, found.label


def _draw_shares(axes: Axes, rows: Sequence[tuple[Share, bool]]) -> None:
    """Each group's share with its interval; hollow where there are too few people."""
    for y, (share, few) in enumerate(rows):
        colour = GREY if few else BLUE
        axes.plot([100 * bound for bound in share.interval], [y, y], color=colour, linewidth=1.6)
        axes.plot(100 * share.share, y, "o", color=colour, markersize=5, markerfacecolor="white" if few else colour)
    axes.set_xlim(-2, 102)
    axes.set_xlabel("images classified correctly (%), with 95 % interval", fontsize=9)


def _draw_odds_ratios(
    axes: Axes, models: Mapping[str, GroupResults], rows: Mapping[tuple[str, str, str, str], int]
) -> None:
    """The odds ratios of each comparison with their intervals, above and below the middle of the group's row."""
    for model, results in models.items():
        for found in results.comparisons:
            y = rows[*_block(model, found), found.group]
            for test, shift, colour, fill in (
                (found.raw, -0.14, GREY, "white"),
                (found.adjusted, 0.14, ORANGE, ORANGE),
            ):
                if test:
                    ends = np.clip([*test.interval, test.odds_ratio], MIN_ODDS_RATIO, MAX_ODDS_RATIO)
                    axes.plot(ends[:2], [y + shift] * 2, color=colour, linewidth=1.6)
                    axes.plot(ends[2], y + shift, "D", color=colour, markersize=4.5, markerfacecolor=fill)
    axes.set_xscale("log")
    axes.set_xlim(MIN_ODDS_RATIO, MAX_ODDS_RATIO)
    axes.set_xticks([0.05, 0.2, 1, 5, 20], ["0.05", "0.2", "1", "5", "20"])
    axes.axvline(1, color=INK, linewidth=0.8)
    axes.set_xlabel("odds ratio against the other group or all others", fontsize=9)


def _add_legend(figure: Figure, axes: Axes, covariates: Sequence[str]) -> None:
    handles = [("o", BLUE, BLUE, "share"), ("o", GREY, "white", "share, too few people to judge")]
    handles += [("D", GREY, "white", "odds ratio, unadjusted")]
    if covariates:
        text = wrap(f"odds ratio with {' and '.join(covariates)} in the model", LINE_LENGTH)
        handles.append(("D", ORANGE, ORANGE, text))
    for marker, colour, fill, text in handles:
        axes.plot([], [], marker, color=colour, markerfacecolor=fill, label=text)
    figure.legend(loc="outside upper center", ncols=2, fontsize=8, frameon=False)


def _name(model: str, share: Share) -> str:
    before = f"{model}, " if model else ""
    return wrap(f"{before}{share.label}: {share.column} {share.group} ({people(share.people)})", LINE_LENGTH)
