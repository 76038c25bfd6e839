"""Time and peak memory of `mftn summarize` on a synthetic table: 100 hours at 30 frames per second, 10.8 million rows.

python benchmarks/summarize.py [--hours 100] [--format parquet]
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from mftn.labels import EXPRESSIONS
from mftn.types import Prediction

RATE, SECONDS = 30, 3600
ROWS_OF_A_GROUP = 1000  # as `mftn predict` writes them


def one_hour(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """One hour of a person who mostly looks neutral, smiles occasionally, and sometimes turns away for a second."""
    n = RATE * SECONDS
    strength = np.full((n, len(EXPRESSIONS)), -3.0)
    strength[:, 0] = 2.0
    for number in range(1, len(EXPRESSIONS)):
        for start in rng.integers(0, n - 200, 120 if number == 1 else 15):
            length = int(rng.integers(20, 200))
            strength[start : start + length, number] += 7 * np.hanning(length)
    strength += np.repeat(rng.normal(0, 0.3, (n // 10, len(EXPRESSIONS))), 10, axis=0)
    exponent = np.exp(strength)
    return {"probabilities": exponent / exponent.sum(axis=1, keepdims=True), "away": rng.integers(0, n, 40)}


def table(number: int, hour: dict[str, np.ndarray]) -> pa.Table:
    """The table of one recording, with the documented columns."""
    n = RATE * SECONDS
    probabilities = np.roll(hour["probabilities"], 997 * number, axis=0).astype(np.float32)
    unseen = np.zeros(n, bool)
    for start in hour["away"]:
        unseen[start : start + RATE] = True
    probabilities[unseen] = np.nan
    columns: dict[str, object] = dict.fromkeys(Prediction("", 0, 0, ()).to_rows()[0])
    jitter = (probabilities[:, 0] * 20).astype(np.float32)
    for name in columns:
        columns[name] = np.where(unseen, np.nan, 100 + jitter).astype(np.float32)
    for place, name in enumerate(EXPRESSIONS):
        columns[f"p_{name}"] = probabilities[:, place]
    top = np.nan_to_num(probabilities, nan=-1).argmax(axis=1)
    columns |= {"source": np.full(n, f"films/P{number:03d}.mp4"), "error": pa.nulls(n, pa.string())}
    columns |= {"width": np.full(n, 1280, np.int32), "height": np.full(n, 720, np.int32)}
    columns["right"], columns["bottom"] = 260 + jitter, 280 + jitter
    columns["expression"] = pa.array(np.array(EXPRESSIONS)[top], mask=unseen)
    columns["probability"] = np.where(unseen, np.nan, probabilities.max(axis=1)).astype(np.float32)
    columns |= {
        "frame": np.arange(n),
        "time": np.arange(n) / RATE,
        "track": pa.array(np.ones(n, np.int32), mask=unseen),
    }
    return pa.table({name: pa.array(values, from_pandas=True) for name, values in columns.items()})


def write(path: Path, hours: int) -> None:
    """Write the synthetic table."""
    hour = one_hour(np.random.default_rng(0))
    first = table(0, hour)
    writer = (pq.ParquetWriter if path.suffix == ".parquet" else pa.csv.CSVWriter)(path, first.schema)
    with writer:
        for number in range(hours):
            rows = table(number, hour)
            for start in range(0, len(rows), ROWS_OF_A_GROUP):
                writer.write_table(rows.slice(start, ROWS_OF_A_GROUP))


def main() -> None:
    """Make the table, run the command as a user would, and print the results."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--hours", type=int, default=100)
    parser.add_argument("--format", choices=("parquet", "csv"), default="parquet")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"faces.{options.format}"
        write(path, options.hours)
        segments = Path(folder) / "segments.csv"
        segments.write_text("name,start,end\nrest,0,60\nfirst half,60,1800\nsecond half,1800,3600\n")
        command = [sys.executable, "-m", "mftn", "summarize", str(path), "--out", str(Path(folder) / "out")]
        command += ["--segments", str(segments), "--people", "one", "--baseline", "rest", "--window", "10s"]
        start = time.perf_counter()
        subprocess.run(command, check=True)
        seconds = time.perf_counter() - start
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        print(
            f"{options.hours} h, {options.hours * RATE * SECONDS:,} rows, {path.stat().st_size / 1e6:,.0f} MB of "
            f"{options.format}: {seconds:.1f} s ({usage.ru_utime + usage.ru_stime:.1f} s of CPU time), "
            f"peak {usage.ru_maxrss / 1024:.0f} MB, {os.cpu_count()} cores"
        )


if __name__ == "__main__":
    main()
