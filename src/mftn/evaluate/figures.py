"""Figures of an evaluation; each is drawn without a display and written whole."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from mftn.labels import SHORT_NAMES

PUBLISHED_ORDER = ("anger", "contempt", "disgust", "fear", "happiness", "neutral", "sadness", "surprise")
"""Rows and columns of the published confusion matrices."""


def new_figure(width: float, height: float) -> Figure:
    """A figure of this size in inches that needs no display and no global state."""
    figure = Figure(figsize=(width, height), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: Figure, *paths: Path) -> None:
    """Write the figure to every path, in the format of its suffix."""
    for path in paths:
        temporary = path.with_name(f"{path.stem}.partial{path.suffix}")
        metadata = {"CreationDate": None} if path.suffix == ".pdf" else None
        figure.savefig(temporary, metadata=metadata)
        temporary.replace(path)


def confusion_matrix(
    axes: Axes, counts: NDArray[np.int64], labels: tuple[str, ...], title: str, rows: str = "True Label"
) -> None:
    """Draw a confusion matrix in the published form: shares of the true class, two decimals, blue from 0 to 1.

    Args:
        axes: Where.
        counts: (K, K), rows are true classes.
        labels: The classes of rows and columns; drawn in the published order.
        title: Above.
        rows: Name of the rows' axis; empty beside another matrix.
    """
    order = [labels.index(name) for name in PUBLISHED_ORDER if name in labels]
    shares = _shares(counts)[np.ix_(order, order)]
    axes.imshow(np.nan_to_num(shares), cmap="Blues", vmin=0, vmax=1)
    _write_cells(axes, shares, "{:.2f}", dark=0.5)
    _name_cells(axes, [SHORT_NAMES[labels[index]] for index in order], title, rows)


def confusion_difference(
    axes: Axes, first: NDArray[np.int64], second: NDArray[np.int64], labels: tuple[str, ...], title: str
) -> None:
    """Draw row-normalised `first` − `second` in the published order, red for less and blue for more."""
    order = [labels.index(name) for name in PUBLISHED_ORDER if name in labels]
    difference = (_shares(first) - _shares(second))[np.ix_(order, order)]
    axes.imshow(np.nan_to_num(difference), cmap="RdBu", vmin=-0.3, vmax=0.3)
    _write_cells(axes, difference, "{:+.2f}", dark=0.2)
    _name_cells(axes, [SHORT_NAMES[labels[index]] for index in order], title, "")


def _shares(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Rows that sum to 1; NaN for a class without samples."""
    totals = counts.sum(axis=1, keepdims=True)
    return np.where(totals > 0, counts / np.maximum(totals, 1), np.nan)


def _write_cells(axes: Axes, values: NDArray[np.float64], form: str, dark: float) -> None:
    for (row, column), value in np.ndenumerate(values):
        text = "–" if np.isnan(value) else form.format(value)
        colour = "white" if abs(value) > dark else "black"
        axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=7)


def _name_cells(axes: Axes, names: list[str], title: str, rows: str) -> None:
    axes.set_xticks(range(len(names)), names)
    axes.set_yticks(range(len(names)), names)
    axes.set(title=title, xlabel="Predicted Label", ylabel=rows)
