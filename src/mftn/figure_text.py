"""Literal text in matplotlib figures: names of people, files and conditions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

SCRIPTS = (
    "Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans CJK KR", "Source Han Sans", "WenQuanYi Zen Hei",
    "Droid Sans Fallback", "Microsoft YaHei", "Yu Gothic", "Malgun Gothic", "PingFang SC", "Hiragino Sans",
    "Apple SD Gothic Neo", "Noto Sans Devanagari", "Noto Sans Thai", "Nirmala UI", "Leelawadee UI", "Arial Unicode MS",
)  # fmt: skip
"""Fonts of Linux, Windows and macOS for scripts that matplotlib's own font lacks; the installed ones are used."""


@contextmanager
def text_as_written() -> Iterator[None]:
    """Show `$` literally, and other scripts where a font has them, in figures drawn and saved within the block."""
    import matplotlib
    from matplotlib.font_manager import fontManager

    installed = {font.name for font in fontManager.ttflist}
    families = ["DejaVu Sans", *(name for name in SCRIPTS if name in installed)]
    with matplotlib.rc_context({"text.parse_math": False, "font.family": families}):
        yield
