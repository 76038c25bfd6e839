"""A prediction as a matplotlib figure."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from mftn.display import MAX_SHOWN, caption_of, image_of, scaled_down, title_of
from mftn.figures import text_as_written
from mftn.labels import COLOURS
from mftn.types import Face, Prediction

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from mftn.images import ImageSource

FIGURE_SIDE = 1200
"""Length in pixels of the longer side of the image in a figure."""


class NotebookFigure(Figure):
    """A figure that notebooks display without pyplot, which would keep it in memory."""

    def _repr_png_(self) -> bytes:
        content = io.BytesIO()
        self.savefig(content, format="png")
        return content.getvalue()


@text_as_written()
def draw_figure(prediction: Prediction, image: ImageSource | None = None) -> NotebookFigure:
    """Draw the annotated image, and bars of all probabilities of each face."""
    shown = scaled_down(image_of(prediction, image), prediction.faces, FIGURE_SIDE)
    faces = prediction.faces[:MAX_SHOWN]
    rows, columns = min(len(faces), 4), -(-len(faces) // 4)
    height = max(4.0, 1.9 * rows)
    width = min(max(1.2 * height * shown.width / shown.height, 1.0), 9.0)
    figure = NotebookFigure(figsize=(width + 3.2 * columns, height), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(max(rows, 1), 1 + columns, width_ratios=[width, *[3.0] * columns])
    axes = figure.add_subplot(grid[:, 0])
    axes.imshow(shown)
    axes.set_axis_off()
    axes.set_title(caption_of(prediction), fontsize=9)
    for index, face in enumerate(faces):
        _draw_bars(figure.add_subplot(grid[index % 4, 1 + index // 4]), face, title_of(prediction.faces, index))
    return figure


def _draw_bars(axes: Axes, face: Face, title: str) -> None:
    names, values = list(face.probabilities), list(face.probabilities.values())
    axes.barh(names, values, color=[COLOURS.get(name, "grey") for name in names])
    for row, value in enumerate(values):
        axes.text(value + 0.02, row, f"{value:.0%}", va="center", fontsize=7)
    axes.set_xlim(0, 1.18)
    axes.set_xticks([])
    axes.invert_yaxis()
    axes.tick_params(axis="y", length=0, labelsize=7)
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    axes.set_title(title, fontsize=8, loc="left")
