"""Convert a checkpoint to the ONNX file that prediction runs."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import tyro

from mftn.cli.options import FILES, FOLDER, Options, OutFile, Switch, Unset
from mftn.cli.outputs import check_outputs
from mftn.errors import ConfigError
from mftn.spec import Precision

BATCH, SECONDS = 32, 1.0
"""Batch size and duration of the speed measurement."""


@dataclass(frozen=True)
class Arguments(Options):
    """Options of `mftn export`.

    Attributes:
        weights: A checkpoint of `mftn train`, or an exported file. Several, which may also be names of installed
            models, become one file that averages their predictions.
        out: The ONNX file to write, for ONNX Runtime and OpenVINO; by default beside the weights.
        name: The model's name; by default the file's stem.
        precision: fp16 stores weights in half precision and int8-weights in 8 bits, while the arithmetic stays in
            float32; int8 computes in 8 bits, calibrated on training faces of --data, and is refused if it loses more
            than 0.3 points there.
        overwrite: Replace the ONNX file if it already exists; the weights are never replaced.
        data: A prepared data set, on whose validation faces the file is compared with the network.
    """

    weights: Annotated[tyro.conf.Positional[tuple[Path, ...]], FILES]
    out: OutFile = None
    name: Unset[str] = None
    precision: Precision = "fp32"
    data: Annotated[Unset[Path], FOLDER] = None
    overwrite: Switch = False


EXAMPLES = (
    "mftn export runs/ferplus/best.safetensors --out mine.onnx",
    "mftn export runs/ferplus/best.safetensors --precision int8 --data data/ferplus",
    "mftn export mftn_facenet_ferplus mftn_mobile_ferplus --out both.onnx --precision fp16",
)


def run(arguments: Arguments) -> int:
    """Export, and print how much the file's outputs differ from the network's."""
    weights, out = _files(arguments.weights), arguments.out
    if out is None:
        if len(weights) > 1:
            raise ConfigError("several networks become one file; name it with --out")
        out = weights[0].with_suffix(".onnx")
    check_outputs([("--out", out)], weights, arguments.overwrite)
    if out.suffix.lower() != ".onnx":
        raise ConfigError(f"--out {out}: is written as an ONNX file; name it NAME.onnx")

    import numpy as np

    from mftn.cli.benchmark import measure
    from mftn.engines import installed_engines, load_engine
    from mftn.export import export_onnx

    result = export_onnx(weights, out, arguments.name or out.stem, arguments.precision, arguments.data)
    faces = f"{result.faces:,} validation faces" if result.faces else "noise"
    print(f"{out}: {result.megabytes:.1f} MB, largest difference of a probability {result.parity:.1e} on {faces}")
    if result.faces:
        change = round(-100 * result.lost, 2) + 0.0  # no −0.00
        print(f"  same expression on {result.agreement:.2%}, accuracy {change:+.2f} points")
    for engine in installed_engines():
        loaded = load_engine(out, engine=engine)
        crops = np.random.default_rng(0).integers(0, 256, (BATCH, *loaded.spec.size, 3), dtype=np.uint8)
        row = measure(engine, 0, BATCH, SECONDS, partial(loaded.probabilities, crops))
        print(f"  {engine}: {row['per_second']:,.0f} faces per second in batches of {BATCH}")
    return 0


def _files(weights: tuple[Path, ...]) -> list[Path]:
    """The files to export.

    Raises:
        ConfigError: No file, a folder, or only the name of an installed model, which is exported already, is given.
        UnknownModelError: No installed model has that name.
    """
    from mftn.engines.installed import find_model, list_models

    if not weights:
        raise ConfigError("name a checkpoint of mftn train, or an exported file")
    for path in weights:
        if path.is_dir():
            inside = path / "best.safetensors"
            advice = f"name the checkpoint {inside}" if inside.is_file() else "name a file in it"
            raise ConfigError(f"{path}: is a folder; {advice}")
    names = {str(path) for path in weights if not path.suffix and not path.exists()}
    if len(weights) == 1 and names & {card.name for card in list_models()}:
        raise ConfigError(
            f"{weights[0]}: is an installed model, exported already: use it as --model {weights[0]}, or export its "
            f"file again with mftn export {find_model(str(weights[0]))} --out NEW.onnx"
        )
    return [find_model(str(path)) if str(path) in names else path for path in weights]
