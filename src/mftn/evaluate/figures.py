"""Figures of an evaluation, drawn without a display and written atomically."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from mftn.evaluate.metrics import Counts
from mftn.files import write_encoded
from mftn.labels import COLOURS, SHORT_NAMES

Values = NDArray[Any]

PUBLISHED_ORDER = ("anger", "contempt", "disgust", "fear", "happiness", "neutral", "sadness", "surprise")
"""Rows and columns of the published confusion matrices."""

STYLES = ["o-", "s--", "^:", "D-.", "v-", "P--"]
"""Line styles that can be told apart without colour."""

MARKERS = "osD^vP*X"
"""One marker per class, so that classes can be told apart without colour."""


def new_figure(width: float, height: float) -> Figure:
    """A figure of this size in inches that needs no display and no global state."""
    figure = Figure(figsize=(width, height), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: Figure, *paths: Path) -> None:
    """Write the figure to every path, in the format of its suffix."""
    for path in paths:
        metadata = {"CreationDate": None} if path.suffix == ".pdf" else None
        with write_encoded(path) as content:
            figure.savefig(content, format=path.suffix[1:], metadata=metadata)


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
    panels = len(names) + (len(names) == 2)
    figure = new_figure(4.2 * panels, 4.4)
    axes = np.atleast_1d(figure.subplots(1, panels))
    for column, name in enumerate(names):
        confusion_matrix(axes[column], counts[name], labels, name, "" if column else "True Label")
    if len(names) == 2:
        first, second = names
        confusion_difference(axes[2], counts[second], counts[first], labels, f"{second} − {first}")
    return figure


def reliability_diagram(curves: Mapping[str, tuple[Counts, Values, Values]]) -> Figure:
    """Accuracy against confidence, one panel per model, from counts, mean confidence and accuracy of the bins."""
    figure = new_figure(4.0 * len(curves), 3.8)
    axes = np.atleast_1d(figure.subplots(1, len(curves), sharey=True))
    for column, (name, (counts, confidence, right)) in enumerate(curves.items()):
        filled = counts > 0
        axes[column].plot([0, 1], [0, 1], color="grey", linestyle="--", linewidth=1)
        axes[column].bar(confidence[filled], right[filled], width=0.04, color="#56B4E9", label="accuracy of the bin")
        axes[column].bar(confidence[filled], counts[filled] / counts.sum(), width=0.02, color="#D55E00", label="share")
        axes[column].set(title=name, xlabel="Confidence", xlim=(0, 1), ylim=(0, 1))
    axes[0].set_ylabel("Accuracy, and share of images")
    axes[0].legend(fontsize="small", loc="upper left")
    return figure


def robustness_curves(
    results: Mapping[str, Mapping[str, list[tuple[float, float]]]], units: Mapping[str, str]
) -> Figure:
    """Accuracy against strength, one panel per corruption, one line per model; the first strength is clean."""
    corruptions = list(next(iter(results.values())))
    figure = new_figure(10.5, 8.0)
    panels = figure.subplots(-(-len(corruptions) // 3), 3, sharey=True).ravel()
    for panel, corruption in zip(panels, corruptions, strict=False):
        for (name, curves), style in zip(results.items(), STYLES * len(results), strict=False):
            strengths, accuracies = zip(*curves[corruption], strict=True)
            panel.plot(range(len(strengths)), [100 * a for a in accuracies], style, label=name, markersize=4)
            panel.set_xticks(range(len(strengths)), ["none", *(f"{s:g}" for s in strengths[1:])])
        panel.set(title=corruption, xlabel=units[corruption])
        panel.grid(alpha=0.3)
    for panel in panels[::3]:
        panel.set_ylabel("Accuracy (%)")
    panels[0].legend(fontsize="small")
    for panel in panels[len(corruptions) :]:
        panel.axis("off")
    return figure


def agreement_plot(results: Mapping[str, list[dict[str, float]]]) -> Figure:
    """Accuracy with its interval against the share of raters who agree."""
    figure = new_figure(5.5, 3.6)
    axes = figure.subplots()
    for column, ((name, rows), style) in enumerate(zip(results.items(), STYLES * len(results), strict=False)):
        seen = [row for row in rows if row["images"]]
        centres = np.array([(row["from"] + row["to"]) / 2 for row in seen]) + 0.008 * column
        values = np.array([row["accuracy"] for row in seen])
        errors = np.array([[row["accuracy"] - row["low"], row["high"] - row["accuracy"]] for row in seen]).T
        axes.errorbar(centres, 100 * values, 100 * errors, fmt=style, capsize=3, label=name)
    axes.set(xlabel="Raters who agree on the label (share)", ylabel="Accuracy (%)", ylim=(0, 102))
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    return figure


def deletion_plot(fractions: Sequence[float], curves: Mapping[str, Mapping[str, Values]]) -> Figure:
    """Mean probability of the explained class as locations are removed, one panel per model."""
    figure = new_figure(4.2 * len(curves), 3.6)
    axes = np.atleast_1d(figure.subplots(1, len(curves), sharey=True))
    for column, (name, orders) in enumerate(curves.items()):
        for (order, values), style in zip(orders.items(), STYLES, strict=False):
            axes[column].plot(100 * np.asarray(fractions), values, style, label=order, markersize=4)
        axes[column].set(title=name, xlabel="Locations removed (%)", ylim=(0, 1))
        axes[column].grid(alpha=0.3)
    axes[0].set_ylabel("Mean probability of the class")
    axes[0].legend(fontsize="small")
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
    names = 0.08 * max(map(len, rows), default=0)  # inches beside the images
    figure = new_figure(1.15 * len(faces) + names + 0.3, 1.15 * (len(rows) + 1) + 0.2)
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
        for feature, places in features.items():
            cell = next(cells)
            for number, name in enumerate(classes):
                chosen = labels == number
                cell.scatter(
                    *places[chosen].T, s=9, c=COLOURS[name], marker=MARKERS[number], linewidths=0.6, label=name
                )
            cell.set(xticks=[], yticks=[], title=f"{feature}, {method}")
    handles, names = figure.axes[0].get_legend_handles_labels()
    columns = min(len(classes), 2 * shape[1])
    figure.legend(handles, names, loc="outside lower center", ncols=columns, markerscale=2, fontsize="small")
    return figure


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
    axes.set(title=title, xlabel="Predicted Label", ylabel=rows)
