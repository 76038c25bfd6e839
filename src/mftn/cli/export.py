"""Turn trained weights into the one file that prediction runs."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro


@dataclass(frozen=True)
class Arguments:
    """What `mftn export` takes.

    Attributes:
        weights: A safetensors file of `mftn train`.
        out: The ONNX file to write; beside the weights if not given.
        name: The model's name; the file's stem if not given.
        precision: fp16 stores weights in half precision; the arithmetic stays in float32.
    """

    weights: Annotated[Path, tyro.conf.Positional]
    out: Path | None = None
    name: str | None = None
    precision: Literal["fp32", "fp16"] = "fp32"


def run(arguments: Arguments) -> int:
    """Export and print how far the file's answers are from the network's."""
    from mftn.export import export_onnx

    out = arguments.out or arguments.weights.with_suffix(".onnx")
    result = export_onnx(arguments.weights, out, arguments.name or out.stem, arguments.precision)
    print(f"{out}: {result['megabytes']:.1f} MB, largest difference of a probability {result['parity']:.1e}")
    return 0
