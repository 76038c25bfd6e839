"""What all matplotlib figures share: made without a display, with names shown literally, written atomically."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from mftn.files import write_encoded

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SCRIPTS = (
    "Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans CJK KR", "Source Han Sans", "WenQuanYi Zen Hei",
    "Droid Sans Fallback", "Microsoft YaHei", "Yu Gothic", "Malgun Gothic", "PingFang SC", "Hiragino Sans",
    "Apple SD Gothic Neo", "Noto Sans Devanagari", "Noto Sans Thai", "Nirmala UI", "Leelawadee UI", "Arial Unicode MS",
)  # fmt: skip
"""Fonts of Linux, Windows and macOS for scripts that matplotlib's own font lacks; the installed ones are used."""

DPI, MAX_PIXELS = 150, 60_000
"""Pixels per inch, fewer where a side would have more pixels than this; Agg draws at most 65,536."""


@contextmanager
def text_as_written() -> Iterator[None]:
    """Show `$` literally, and other scripts where a font has them, in figures drawn and saved within the block."""
    import matplotlib
    from matplotlib.font_manager import fontManager

    installed = {font.name for font in fontManager.ttflist}
    families = ["DejaVu Sans", *(name for name in SCRIPTS if name in installed)]
    with matplotlib.rc_context({"text.parse_math": False, "font.family": families}):
        yield


def new_figure(width: float, height: float) -> Figure:
    """A figure of this size in inches that needs no display and no global state."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=min(DPI, MAX_PIXELS / max(width, height)), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: Figure, *paths: Path) -> None:
    """Write the figure to every path, in the format of its suffix."""
    for path in paths:
        metadata = {"CreationDate": None} if path.suffix == ".pdf" else None
        with write_encoded(path) as content:
            figure.savefig(content, format=path.suffix[1:], metadata=metadata)
