"""Compare engines and precisions in one run on this machine.

    python benchmarks/engines.py MODEL [MODEL …] [--data data/ferplus]
    python benchmarks/engines.py --base

With model names or files: faces per second in batches of 32 on all cores, and the rate that the machine's measured
matrix peak would allow; with a prepared data set, also accuracy on its validation faces, and the share of labels that
agree with the first row. `--base` compares the int8 file of `mftn_base` (224×224, batches of 8, random weights) with
torch in fp32.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from itertools import product
from pathlib import Path
from typing import get_args

import numpy as np
import onnx
import timm
import torch
from numpy.typing import NDArray

import mftn.models  # noqa: F401 (registers the networks)
from mftn.data.dataset import FaceDataset
from mftn.engines import Engine, Flipped, Precision, find_model, installed_engines, load_engine
from mftn.errors import ModelError
from mftn.export import export_onnx
from mftn.export.int8 import quantise
from mftn.export.onnx import dataset_crops
from mftn.export.recover import load_network
from mftn.faces.align import ARCFACE
from mftn.labels import LABEL_SETS
from mftn.models import save_model
from mftn.spec import ModelSpec

BATCH, BASE_BATCH, TURNS = 32, 8, 7


def medians(rows: Mapping[str, Callable[[], object]], turns: int = TURNS) -> dict[str, float]:
    """Median seconds of each row; the rows alternate, so that other load on the machine affects all equally."""
    took: dict[str, list[float]] = {name: [] for name in rows}
    for turn in range(turns + 1):
        for name, work in rows.items():
            start = time.perf_counter()
            work()
            if turn:  # the first turn warms up
                took[name].append(time.perf_counter() - start)
    return {name: float(np.median(seconds)) for name, seconds in took.items()}


def matrix_peak() -> float:
    """GFLOP/s of a large float32 matrix product in torch, the median of several."""
    a = torch.randn(2048, 2048)
    return 2 * 2048**3 / medians({"product": lambda: a @ a})["product"] / 1e9


def operations(model: str) -> float:
    """GFLOP per face of an exported file, from its convolutions and matrix products (torch's counter)."""
    from torch.utils.flop_counter import FlopCounterMode

    network = load_network(find_model(model))
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.zeros(1, network.described().channels, *network.described().size))
    return float(counter.get_total_flops()) / 1e9


def compare_models(models: list[str], data: Path | None) -> None:
    """Print the speed of every model on every engine in every precision, and the agreement with the first."""
    engines: dict[str, Engine] = {}
    for model, engine in product(models, installed_engines()):
        for precision in get_args(Precision) if engine == "openvino" else ("exact",):
            engines[f"{model}, {engine}, {precision}"] = load_engine(model, engine=engine, precision=precision)
    noise = np.random.default_rng(0)
    rows = {
        name: partial(engine.probabilities, noise.integers(0, 256, (BATCH, *engine.spec.size, 3), dtype=np.uint8))
        for name, engine in engines.items()
    }
    peak = matrix_peak()
    print(f"matrix peak {peak:.0f} GFLOP/s in float32")
    for name, seconds in medians(rows).items():
        print(f"{name}: {BATCH / seconds:,.0f} faces/s")
    if data is not None:
        compare_labels(engines, FaceDataset(data, "valid"))
    for model in models:
        try:
            gigaflops = operations(model)
        except ModelError:  # an int8 file: its network cannot be recovered
            continue
        print(f"{model}: {gigaflops:.3f} GFLOP per face, so {peak / gigaflops:,.0f} faces/s at the peak")


def compare_labels(engines: Mapping[str, Engine], faces: FaceDataset) -> None:
    """Print how often each engine agrees with the first one's labels and the data set's, with flips."""
    truth, first = faces.labels.numpy(), None
    for name, engine in engines.items():
        outputs = classify(Flipped(engine).probabilities, dataset_crops(engine.spec, faces, len(faces)))
        first = outputs if first is None else first
        labels, difference = outputs.argmax(axis=1), np.abs(outputs - first)
        print(
            f"{name}: accuracy {np.mean(labels == truth):.2%}, same label as the first "
            f"{np.mean(labels == first.argmax(axis=1)):.2%}, probabilities: mean difference {difference.mean():.1e}, "
            f"largest {difference.max():.1e} ({len(faces)} crops)"
        )


def classify(run: Callable[[NDArray[np.uint8]], NDArray[np.float32]], crops: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Probabilities of many crops, in batches."""
    return np.concatenate([run(crops[i : i + BATCH]) for i in range(0, len(crops), BATCH)])


def compare_base() -> None:
    """Compare exported files of mftn_base with random weights on each engine with torch."""
    network = timm.create_model("mftn_base", num_classes=8).eval()
    template = tuple((x, y) for x, y in ARCFACE.tolist())
    spec = ModelSpec("mftn_base", LABEL_SETS[8], (224, 224), template, channels=3, arguments={"num_classes": 8})
    crops = np.random.default_rng(0).integers(0, 256, (2 * BASE_BATCH, 224, 224, 3), dtype=np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        weights, exact, fast = (Path(folder) / name for name in ("base.safetensors", "fp32.onnx", "int8.onnx"))
        save_model(network, weights, spec)
        export_onnx(weights, exact, "base")
        whole = onnx.load(exact)
        metadata = list(whole.metadata_props)
        small = quantise(whole, crops)
        small.metadata_props.extend(metadata)
        onnx.save(small, fast)
        batch = crops[:BASE_BATCH]
        x = torch.randn(BASE_BATCH, 3, 224, 224)

        @torch.no_grad()
        def in_torch() -> None:
            network(x)

        rows: dict[str, Callable[[], object]] = {"torch fp32": in_torch}
        for path in (exact, fast):
            for engine in installed_engines():
                rows[f"{path.stem}, {engine}"] = partial(load_engine(path, engine=engine).probabilities, batch)
        seconds = medians(rows, turns=3)
    for name, took in seconds.items():
        print(f"{name}: {BASE_BATCH / took:.2f} faces/s, {seconds['torch fp32'] / took:.2f} of torch fp32")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--base", action="store_true")
    arguments = parser.parse_args()
    if arguments.models:
        compare_models(arguments.models, arguments.data)
    if arguments.base:
        compare_base()


if __name__ == "__main__":
    main()
