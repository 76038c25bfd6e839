"""Measure speed on this machine: classifier by engine, threads and batch, detector by size, whole photographs."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from mftn.cli.options import FILE, SECONDS, Options, OutFile, Switch, Unset
from mftn.cli.outputs import check_outputs
from mftn.files import visible
from mftn.limits import check_range

BATCHES = (1, 8, 32)
SIZES = ((350, 350), (512, 512), (1280, 720), (1920, 1080))


@dataclass(frozen=True)
class Arguments(Options):
    """Options of `mftn benchmark`.

    Attributes:
        photo: A photograph to recognise end to end; by default that row is omitted.
        model: Name of an installed model (mftn models lists them), or an exported file. By default mftn_mobile_ferplus.
        detector: Face detector.
        seconds: Duration of each measurement.
        output: Also write the rows as CSV.
        overwrite: Replace the CSV if it already exists.
    """

    photo: Annotated[Unset[Path], FILE] = None
    model: Unset[str] = None
    detector: Literal["yunet", "mtcnn"] = "yunet"
    seconds: Annotated[float, SECONDS] = 2.0
    output: OutFile = None
    overwrite: Switch = False


EXAMPLES = (
    "mftn benchmark",
    "mftn benchmark --photo photo.jpg --output speed.csv",
)


def run(arguments: Arguments) -> int:
    """Measure, print a table, and write the CSV."""
    from mftn.engines import installed_engines, load_engine
    from mftn.faces import load_detector
    from mftn.files import write_csv
    from mftn.images import read_image

    check_range("--seconds", arguments.seconds, 0, 3600, above=True)
    check_outputs([("--output", arguments.output)], filter(None, [arguments.photo]), arguments.overwrite)
    if arguments.photo:
        read_image(arguments.photo)  # report a wrong path before minutes of measuring
    rng = np.random.default_rng(0)
    cores = os.cpu_count() or 1
    rows: list[dict[str, Any]] = []
    for name, threads in product(installed_engines(), sorted({1, cores})):
        engine = load_engine(arguments.model, threads=threads, engine=name)
        for batch in BATCHES:
            crops = rng.integers(0, 256, (batch, *engine.spec.size, 3), dtype=np.uint8)
            what = f"classify, {engine.spec.name}, {name}"
            rows.append(measure(what, threads, batch, arguments.seconds, partial(engine.probabilities, crops)))
    detector = load_detector(arguments.detector, threads=1)
    for width, height in SIZES:
        image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        what = f"detect, {arguments.detector}, {width}×{height}"
        rows.append(measure(what, 1, 1, arguments.seconds, partial(detector.detect, image)))
    if arguments.photo:
        from mftn.recognize import load

        recognizer = load(arguments.model, detector=arguments.detector)
        faces = len(recognizer.predict(arguments.photo).faces)
        what = f"end to end, {arguments.photo.name}, {faces} face(s)"
        rows.append(measure(what, cores, 1, arguments.seconds, partial(recognizer.predict, arguments.photo)))
    Console(width=110).print(_table(rows))
    if arguments.output:
        write_csv(arguments.output, rows)
    return 0


def measure(what: str, threads: int, batch: int, seconds: float, work: Callable[[], object]) -> dict[str, Any]:
    """A row of the table: median and spread of the work's duration, after two warm-up runs."""
    for _ in range(2):
        work()
    took: list[float] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(took) < 3:
        start = time.perf_counter()
        work()
        took.append(time.perf_counter() - start)
    low, middle, high = np.percentile(took, [10, 50, 90]) * 1000
    return {
        "what": what,
        "threads": threads,
        "batch": batch,
        "runs": len(took),
        "median_ms": round(float(middle), 3),
        "p10_ms": round(float(low), 3),
        "p90_ms": round(float(high), 3),
        "per_second": round(1000 * batch / float(middle), 1),
    }


def _table(rows: list[dict[str, Any]]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("what")
    for name in ("threads", "batch", "median", "10 to 90 %", "per second"):
        table.add_column(name, justify="right")
    for row in rows:
        span = f"{row['p10_ms']:.1f}–{row['p90_ms']:.1f} ms"
        middle, rate = f"{row['median_ms']:.1f} ms", f"{row['per_second']:,.0f}"
        table.add_row(Text(visible(row["what"])), str(row["threads"]), str(row["batch"]), middle, span, rate)
    return table
