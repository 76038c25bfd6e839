"""Draw the figures of docs/network.md as SVG: the network, and its attention.

python tools/draw_network.py
"""

from collections.abc import Sequence
from pathlib import Path
from xml.sax.saxutils import escape

IMAGES = Path(__file__).parents[1] / "docs" / "images"
BACKBONE, TOKENS, HEAD, PAPER, INK, DIM = "#d7e8f7", "#fde3c0", "#d9efd4", "#ffffff", "#1f2933", "#66727f"

Point = tuple[float, float]


class Drawing:
    """An SVG of rounded boxes and arrows; coordinates are pixels from the upper left."""

    def __init__(self, width: int, height: int, title: str) -> None:
        self.parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
            'font-family="system-ui, sans-serif" text-anchor="middle">',
            f"<title>{escape(title)}</title>",
            '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
            f'<path d="M0 0 8 4 0 8z" fill="{DIM}"/></marker></defs>',
            f'<rect width="{width}" height="{height}" rx="12" fill="{PAPER}"/>',
        ]

    def box(self, x: float, y: float, width: float, height: float, colour: str, *lines: str) -> None:
        """A box centred on (x, y), its first line bold."""
        self.parts.append(
            f'<rect x="{x - width / 2:g}" y="{y - height / 2:g}" width="{width:g}" height="{height:g}" rx="7" '
            f'fill="{colour}" stroke="{DIM}"/>'
        )
        for number, line in enumerate(lines):
            self.text(x, y + 18 * (number - (len(lines) - 1) / 2) + 5, line, bold=number == 0)

    def text(self, x: float, y: float, line: str, bold: bool = False, colour: str = INK) -> None:
        """One line of text, centred on x."""
        weight = ' font-weight="600"' if bold else ""
        self.parts.append(f'<text x="{x:g}" y="{y:g}" font-size="14"{weight} fill="{colour}">{escape(line)}</text>')

    def arrow(self, *points: Point) -> None:
        """A line through points, with an arrowhead at the last."""
        path = " ".join(f"{x:g},{y:g}" for x, y in points)
        self.parts.append(
            f'<polyline points="{path}" fill="none" stroke="{DIM}" stroke-width="1.6" marker-end="url(#tip)"/>'
        )

    def plus(self, x: float, y: float, sign: str = "+") -> None:
        """A small circle around a sign."""
        self.parts.append(f'<circle cx="{x:g}" cy="{y:g}" r="13" fill="{PAPER}" stroke="{DIM}"/>')
        self.text(x, y + 5, sign, bold=True)

    def svg(self) -> str:
        """The content of the SVG file."""
        return "\n".join([*self.parts, "</svg>\n"])


def draw_network(widths: Sequence[int] = (128, 256, 512, 1024), size: int = 224, fused: int = 512) -> str:
    """MFTN on a ConvNeXt: four stages downwards, the MsTN to the right of the last three, both heads' sum below."""
    drawing = Drawing(690, 660, "MFTN-FER: a backbone, MsTN on its last three stages, and the sum of both heads")
    drawing.box(90, 65, 140, 54, PAPER, "aligned face", f"3×{size}×{size}")
    drawing.text(90, 25, "backbone", colour=DIM)
    drawing.text(435, 185, "MsTN: a branch per stage, with its own blocks", colour=DIM)
    for number, width in enumerate(widths):
        y, side = 150 + 95 * number, size // (4 * 2**number)
        drawing.arrow((90, y - (58 if number == 0 else 68)), (90, y - 27))
        drawing.box(90, y, 140, 54, BACKBONE, f"stage {number + 1}", f"{width}×{side}×{side}")
        if number:
            _draw_branch(drawing, y, width, side * side, fused)
    drawing.arrow((90, 462), (90, 518))
    drawing.box(90, 545, 140, 54, HEAD, "its own head", "pool, LN, Linear")
    drawing.arrow((650, 245), (650, 532))
    drawing.plus(650, 545)
    drawing.arrow((637, 545), (570, 545))
    drawing.box(510, 545, 120, 54, HEAD, "Linear")
    drawing.arrow((160, 545), (287, 545))
    drawing.text(222, 535, "P_IB", colour=DIM)
    drawing.arrow((450, 545), (313, 545))
    drawing.text(382, 535, "P_MsTN", colour=DIM)
    drawing.plus(300, 545)
    drawing.arrow((300, 558), (300, 593))
    drawing.box(300, 615, 170, 44, PAPER, "argmax: expression")
    return drawing.svg()


def _draw_branch(drawing: Drawing, y: float, width: int, tokens: int, fused: int) -> None:
    """Draw the path from a stage's map to one vector, which is added to the sum on the right."""
    drawing.arrow((160, y), (205, y))
    drawing.box(255, y, 100, 54, TOKENS, "tokens", f"{tokens}×{width}")
    drawing.arrow((305, y), (335, y))
    drawing.box(400, y, 130, 66, TOKENS, "2 blocks", "+ ACA(LN(x))", "+ MLP(LN(x))")
    drawing.arrow((465, y), (495, y))
    drawing.box(560, y, 130, 54, TOKENS, f"Linear to {fused}", "mean over N")
    drawing.arrow((625, y), (650, y))


def draw_attention() -> str:
    """Adaptive Context Attention on N tokens of C channels."""
    drawing = Drawing(620, 470, "Adaptive Context Attention")
    drawing.box(75, 200, 110, 54, PAPER, "tokens X", "N×C")
    for y in (60, 150, 240, 335):
        drawing.arrow((130, 200), (150, 200), (150, y), (175, y))
    drawing.box(260, 60, 170, 54, TOKENS, "Q", "Linear, GELU, Linear")
    drawing.box(260, 150, 170, 44, TOKENS, "K: Linear")
    drawing.box(260, 240, 170, 44, TOKENS, "V: Linear")
    drawing.box(260, 335, 170, 54, BACKBONE, "depth-wise 3×3", "on the H×W map")
    drawing.arrow((345, 60), (390, 60), (390, 92))
    drawing.arrow((345, 150), (390, 150), (390, 118))
    drawing.plus(390, 105, "⊙")
    drawing.arrow((403, 105), (435, 105))
    drawing.box(510, 105, 150, 54, TOKENS, "A: softmax", "over the N tokens")
    drawing.arrow((510, 132), (510, 227))
    drawing.arrow((345, 240), (497, 240))
    drawing.plus(510, 240, "⊙")
    drawing.arrow((510, 253), (510, 322))
    drawing.arrow((345, 335), (497, 335))
    drawing.plus(510, 335)
    drawing.arrow((510, 348), (510, 393))
    drawing.box(510, 420, 150, 54, HEAD, "Linear", "N×C")
    return drawing.svg()


def main() -> None:
    """Write both figures."""
    (IMAGES / "network.svg").write_text(draw_network(), encoding="utf-8")
    (IMAGES / "attention.svg").write_text(draw_attention(), encoding="utf-8")


if __name__ == "__main__":
    main()
