"""Figures of an evaluation."""

from collections.abc import Collection, Mapping, Sequence
from textwrap import fill
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from mftn.evaluate.metrics import Counts
from mftn.figures import new_figure
from mftn.labels import COLOURS, SHORT_NAMES

Values = NDArray[Any]

PUBLISHED_ORDER = ("anger", "contempt", "disgust", "fear", "happiness", "neutral", "sadness", "surprise")
"""Rows and columns of the published confusion matrices."""

STYLES = ["o-", "s--", "^:", "D-.", "v-", "P--"]
"""Line styles that can be told apart without colour."""

MARKERS = "osD^vP*X"
"""One marker per class, so that classes can be told apart without colour."""

PER_ROW = 3
"""Panels beside each other; more are drawn below."""

LINE_LENGTH = 36
"""Longer names are broken into several lines of this many characters."""


def confusion_matrix(axes: Axes, counts: Counts, labels: tuple[str, ...], title: str, rows: str = "True Label") -> None:
    """Draw a confusion matrix in the published form: shares of the true class, two decimals, blue from 0 to 1.

    Args:
        axes: Axes to draw on.
        counts: (K, K), rows are true classes.
        labels: The classes of rows and columns; drawn in the published order.
        title: Title of the matrix.
        rows: Label of the rows' axis; empty beside another matrix.
    """
    order = [labels.index(name) for name in PUBLISHED_ORDER if name in labels]
    shares = _shares(counts)[np.ix_(order, order)]
    axes.imshow(np.nan_to_num(shares), cmap="Blues", vmin=0, vmax=1)
    _write_cells(axes, shares, "{:.2f}", dark=0.5)
    _name_cells(axes, [SHORT_NAMES[labels[index]] for index in order], title, rows)


def confusion_difference(axes: Axes, first: Counts, second: Counts, labels: tuple[str, ...], title: str) -> None:
    """Draw row-normalised `first` − `second` in the published order, red for less and blue for more."""
    order = [labels.index(name) for name in PUBLISHED_ORDER if name in labels]
    difference = (_shares(first) - _shares(second))[np.ix_(order, order)]
    axes.imshow(np.nan_to_num(difference), cmap="RdBu", vmin=-0.3, vmax=0.3)
    _write_cells(axes, difference, "{:+.2f}", dark=0.2)
    _name_cells(axes, [SHORT_NAMES[labels[index]] for index in order], title, "")


def confusion_panel(counts: Mapping[str, Counts], labels: tuple[str, ...]) -> Figure:
    """One matrix per model and, for two models, their difference."""
    names = list(counts)
    figure, panels = _panels(len(names) + (len(names) == 2), 4.2, 4.4, sharey=False)
    for number, (panel, name) in enumerate(zip(panels, names, strict=False)):
        confusion_matrix(panel, counts[name], labels, name, "" if number % PER_ROW else "True Label")
    if len(names) == 2:
        first, second = names
        confusion_difference(panels[2], counts[second], counts[first], labels, f"{second} − {first}")
    return figure


def reliability_diagram(curves: Mapping[str, tuple[Counts, Values, Values]]) -> Figure:
    """Accuracy against confidence, one panel per model.

    Args:
        curves: By model, what `metrics.reliability` gives.
    """
    figure, panels = _panels(len(curves), 4.0, 3.8)
    for panel, (name, (counts, confidence, right)) in zip(panels, curves.items(), strict=True):
        filled = counts > 0
        panel.plot([0, 1], [0, 1], color="grey", linestyle="--", linewidth=1)
        panel.bar(confidence[filled], right[filled], width=0.04, color="#56B4E9", label="accuracy of the bin")
        panel.bar(confidence[filled], counts[filled] / counts.sum(), width=0.02, color="#D55E00", label="share")
        panel.set(xlabel="Confidence", xlim=(0, 1), ylim=(0, 1))
        _set_title(panel, name)
    for panel in panels[::PER_ROW]:
        panel.set_ylabel("Accuracy, and share of images")
    panels[0].legend(fontsize="small", loc="upper left")
    return figure


def robustness_curves(
    results: Mapping[str, Mapping[str, list[tuple[float, float]]]], units: Mapping[str, str]
) -> Figure:
    """Accuracy against strength, one panel per corruption, one line per model.

    Args:
        results: By model and corruption, pairs of strength and accuracy; the first pair is without corruption.
        units: By corruption, the unit of its strengths.
    """
    corruptions = list(next(iter(results.values())))
    figure, panels = _panels(len(corruptions), 3.5, 2.6, key=results)
    lines = {}
    for panel, corruption in zip(panels, corruptions, strict=True):
        for (name, curves), style in zip(results.items(), STYLES * len(results), strict=False):
            strengths, accuracies = zip(*curves[corruption], strict=True)
            (lines[name],) = panel.plot(range(len(strengths)), [100 * a for a in accuracies], style, markersize=4)
            panel.set_xticks(range(len(strengths)), ["none", *(f"{s:g}" for s in strengths[1:])])
        panel.set(title=corruption, xlabel=units[corruption])
        panel.grid(alpha=0.3)
    for panel in panels[::PER_ROW]:
        panel.set_ylabel("Accuracy (%)")
    _add_key(figure, lines, PER_ROW)
    return figure


def agreement_plot(results: Mapping[str, list[dict[str, float]]]) -> Figure:
    """Accuracy with its interval against the share of raters who agree."""
    figure, (axes,) = _panels(1, 5.5, 3.6, key=results)
    lines = {}
    apart = min(0.008, 0.06 / len(results))  # so that no model's points move into the next bin
    for number, ((name, rows), style) in enumerate(zip(results.items(), STYLES * len(results), strict=False)):
        seen = [row for row in rows if row["images"]]
        centres = np.array([(row["from"] + row["to"]) / 2 for row in seen]) + apart * number
        values = np.array([row["accuracy"] for row in seen])
        errors = np.array([[row["accuracy"] - row["low"], row["high"] - row["accuracy"]] for row in seen]).T
        lines[name] = axes.errorbar(centres, 100 * values, 100 * errors, fmt=style, capsize=3)
    axes.set(xlabel="Raters who agree on the label (share)", xlim=(0, 1.02), ylabel="Accuracy (%)", ylim=(0, 102))
    axes.grid(alpha=0.3)
    _add_key(figure, lines, 1)
    return figure


def deletion_plot(fractions: Sequence[float], curves: Mapping[str, Mapping[str, Values]]) -> Figure:
    """Mean probability of the explained class as locations are removed, one panel per model."""
    figure, panels = _panels(len(curves), 4.2, 3.6)
    for panel, (name, orders) in zip(panels, curves.items(), strict=True):
        for (order, values), style in zip(orders.items(), STYLES, strict=False):
            panel.plot(100 * np.asarray(fractions), values, style, label=order, markersize=4)
        panel.set(xlabel="Locations removed (%)", ylim=(0, 1))
        panel.grid(alpha=0.3)
        _set_title(panel, name)
    for panel in panels[::PER_ROW]:
        panel.set_ylabel("Mean probability of the class")
    panels[0].legend(fontsize="small")
    return figure


def explanation_grid(
    faces: Sequence[NDArray[np.uint8]], columns: Sequence[str], rows: Mapping[str, Sequence[Values]]
) -> Figure:
    """A grid like the published figure: one column per class, a row of faces, then one row of heat maps per method.

    Args:
        faces: H×W or H×W×3, one per column.
        columns: Names of the columns.
        rows: By method, one map (h, w) per column; only locations that add to the class are shown, scaled by the
            map's peak.
    """
    rows = {fill(method, LINE_LENGTH): maps for method, maps in rows.items()}
    names = 0.08 * max((len(line) for method in rows for line in method.split("\n")), default=0)  # inches at the left
    figure = new_figure(1.15 * len(faces) + names + 0.3, 1.15 * (len(rows) + 1) + 0.2)
    figure.set_layout_engine("compressed")  # faces are square: without gaps between them, names are not cut off
    axes = figure.subplots(len(rows) + 1, len(faces), squeeze=False)
    for column, (face, name) in enumerate(zip(faces, columns, strict=True)):
        height, width = face.shape[:2]
        for row, method in enumerate(["face", *rows]):
            cell = axes[row, column]
            cell.imshow(face, cmap="gray", vmin=0, vmax=255)
            if row:
                heat = np.maximum(rows[method][column], 0)
                cell.imshow(
                    heat / max(float(heat.max()), 1e-12),
                    cmap="jet",
                    alpha=0.45,
                    vmin=0,
                    vmax=1,
                    interpolation="bilinear",
                    extent=(-0.5, width - 0.5, height - 0.5, -0.5),
                )
            cell.set(xticks=[], yticks=[])
            if not row:
                cell.set_title(name, fontsize=9)
            if not column:
                cell.set_ylabel(method, rotation=0, ha="right", va="center", fontsize=9)
    return figure


def embedding_plot(points: Mapping[str, Mapping[str, Values]], labels: Values, classes: Sequence[str]) -> Figure:
    """Features in two dimensions: one row per method, one column per feature; classes differ in colour and marker.

    Args:
        points: (n, 2) by method and feature.
        labels: (n,) class indices.
        classes: Names of the classes.
    """
    columns = len(next(iter(points.values())))
    shape = (len(points), columns) if columns > 1 else (1, len(points))
    figure = new_figure(2.9 * shape[1], 3.0 * shape[0] + 0.6)
    cells = iter(figure.subplots(*shape, squeeze=False).ravel())
    for method, features in points.items():
        for feature, positions in features.items():
            cell = next(cells)
            for number, name in enumerate(classes):
                chosen = labels == number
                cell.scatter(
                    *positions[chosen].T, s=9, c=COLOURS[name], marker=MARKERS[number], linewidths=0.6, label=name
                )
            cell.set(xticks=[], yticks=[], title=f"{feature}, {method}")
    handles, names = figure.axes[0].get_legend_handles_labels()
    columns = min(len(classes), 2 * shape[1])
    figure.legend(handles, names, loc="outside lower center", ncols=columns, markerscale=2, fontsize="small")
    return figure


def _panels(
    count: int, width: float, height: float, key: Collection[str] = (), sharey: bool = True
) -> tuple[Figure, list[Axes]]:
    """Panels of a size in inches, `PER_ROW` to a row, and room below for a key with these names."""
    columns, rows = min(count, PER_ROW), -(-count // PER_ROW)
    lines = sum(fill(name, LINE_LENGTH).count("\n") + 1 for name in key)
    figure = new_figure(columns * width, rows * height + 0.2 * -(-lines // columns))
    panels = list(figure.subplots(rows, columns, squeeze=False, sharey=sharey).ravel())
    for panel in panels[count:]:
        panel.remove()
    return figure, panels[:count]


def _add_key(figure: Figure, lines: Mapping[str, Any], columns: int) -> None:
    """Name the lines below the panels."""
    names = [fill(name, LINE_LENGTH) for name in lines]
    columns = min(columns, len(names))
    figure.legend(list(lines.values()), names, loc="outside lower center", ncols=columns, fontsize="small")


def _set_title(axes: Axes, title: str) -> None:
    axes.set_title(fill(title, LINE_LENGTH), fontsize="medium")


def _shares(counts: Counts) -> NDArray[np.float64]:
    """Rows that sum to 1; NaN for a class without samples."""
    totals = counts.sum(axis=1, keepdims=True)
    return np.where(totals > 0, counts / np.maximum(totals, 1), np.nan)


def _write_cells(axes: Axes, values: NDArray[np.float64], form: str, dark: float) -> None:
    for (row, column), value in np.ndenumerate(values):
        text = "–" if np.isnan(value) else form.format(round(value, 2) + 0.0)  # no −0.00
        colour = "white" if abs(value) > dark else "black"
        axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=7)


def _name_cells(axes: Axes, names: list[str], title: str, rows: str) -> None:
    axes.set_xticks(range(len(names)), names)
    axes.set_yticks(range(len(names)), names)
    axes.set(xlabel="Predicted Label", ylabel=rows)
    _set_title(axes, title)
