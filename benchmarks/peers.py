"""mftn beside packages that include weights: size, start, speed, memory and predictions on the same photographs.

    python benchmarks/peers.py PHOTOS LABELS.csv --count 100 --work FOLDER --csv benchmarks/results/peers.csv

Each package gets its own environment under --work, made once. The processor alone is used. A photograph's prediction is
its largest face's expression; one without a face found is wrong.
"""

import argparse
import csv
import importlib
import json
import os
import platform
import random
import subprocess
import sys
import time
import venv
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).parents[1]
COLD_RUNS, WARM_UP = 3, 5
NAMES = {"angry": "anger", "happy": "happiness", "sad": "sadness", "surprised": "surprise"}

Expression = str | None
"""The expression of a photograph's largest face; None without a face."""


@dataclass(frozen=True)
class Loaded:
    """A package ready to predict.

    Attributes:
        predict: Expressions for one file.
        stream: Expressions for many files, in order; None where the package takes one at a time.
    """

    predict: Callable[[str], Expression]
    stream: Callable[[Sequence[str]], Iterable[Expression]] | None = None


@dataclass(frozen=True)
class Peer:
    """A package and how to use it.

    Attributes:
        requirement: What pip installs.
        environment: Its folder under --work; peers may share one.
        distributions: Whose versions are recorded, the package's own first.
        load: Runs in that environment.
    """

    requirement: str
    environment: str
    distributions: tuple[str, ...]
    load: Callable[[], Loaded]


def largest(faces: Iterable[tuple[float, str]]) -> Expression:
    """The expression of the face with the largest area."""
    _, expression = max(faces, default=(0.0, None))
    return NAMES.get(expression, expression) if expression else None


def load_mftn() -> Loaded:
    """The default model and detector."""
    recognizer = importlib.import_module("mftn").load()

    def expression_of(prediction: Any) -> Expression:
        if prediction.error:
            raise RuntimeError(prediction.error)
        return largest(((f.box[2] - f.box[0]) * (f.box[3] - f.box[1]), f.expression) for f in prediction.faces)

    def stream(paths: Sequence[str]) -> Iterator[Expression]:
        return map(expression_of, recognizer.stream(paths))

    return Loaded(lambda path: expression_of(recognizer.predict(path)), stream)


def load_fer(mtcnn: bool) -> Loaded:
    """fer with its Haar cascade or with MTCNN."""
    cv2, fer = importlib.import_module("cv2"), importlib.import_module("fer.fer")
    detector = fer.FER(mtcnn=mtcnn)

    def predict(path: str) -> Expression:
        faces = detector.detect_emotions(cv2.imread(path))
        return largest((float(f["box"][2] * f["box"][3]), best(f["emotions"])) for f in faces)

    return Loaded(predict)


def load_facex() -> Loaded:
    """facex with a pool of one."""
    cv2 = importlib.import_module("cv2")
    pool = importlib.import_module("facex").PoolManager(pool_size=1)

    def predict(path: str) -> Expression:
        faces = pool.predict(cv2.imread(path))
        return largest((float(f["bbox"][2] * f["bbox"][3]), best(f["emot"])) for f in faces)

    return Loaded(predict)


def best(scores: dict[str, float]) -> str:
    """The name with the highest score."""
    return max(scores, key=scores.__getitem__)


PEERS = {
    "mftn": Peer(str(ROOT), "mftn", ("mftn", "onnxruntime"), load_mftn),
    "fer, Haar": Peer("fer", "fer", ("fer", "tensorflow"), lambda: load_fer(False)),
    "fer, MTCNN": Peer("fer", "fer", ("fer", "tensorflow", "torch"), lambda: load_fer(True)),
    "facex": Peer("facex", "facex", ("facex", "tensorflow"), load_facex),
}


def work(name: str, task: str) -> None:
    """Run in a peer's environment: the paths come on standard input, the findings leave as the last line printed."""
    import resource  # not on Windows, where the script still shows its help

    paths = json.load(sys.stdin)
    loaded = PEERS[name].load()
    if task == "cold":
        loaded.predict(paths[0])
        print(f"\n{json.dumps({'finished': time.time()})}")
        return
    for path in paths[:WARM_UP]:
        loaded.predict(path)
    seconds, predictions = [], []
    for path in paths:
        start = time.perf_counter()
        predictions.append(loaded.predict(path))
        seconds.append(time.perf_counter() - start)
    total = sum(seconds)
    if loaded.stream:
        start = time.perf_counter()
        predictions = list(loaded.stream(paths))
        total = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)
    versions = ", ".join(f"{item} {version(item)}" for item in PEERS[name].distributions)
    findings = {"seconds": seconds, "total": total, "predictions": predictions, "peak": peak, "versions": versions}
    print(f"\n{json.dumps(findings)}")


def run_worker(python: Path, name: str, task: str, paths: Sequence[str]) -> dict[str, Any]:
    """What a new process with a peer's interpreter found."""
    # -P: this folder's scripts must not pass for a package's modules
    command = [str(python), "-P", __file__, "--worker", name, task]
    quiet = {"CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(
        command, input=json.dumps(paths), capture_output=True, text=True, check=False, env={**os.environ, **quiet}
    )
    if done.returncode:
        raise RuntimeError(_last_line(done.stderr) or f"exit status {done.returncode}")
    findings: dict[str, Any] = json.loads(_last_line(done.stdout))
    return findings


def install(folder: Path, requirement: str) -> tuple[Path, float]:
    """The interpreter of an environment with a package, and the megabytes that the package and its needs add."""
    python = _make(folder)
    # A package already there costs nothing, and a source tree is always installed anew
    command = [str(python), "-m", "pip", "install", "--quiet", "--no-compile", requirement]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(_last_line(done.stderr) or f"pip: exit status {done.returncode}")
    _make(folder.with_name("empty"))
    return python, _megabytes(folder) - _megabytes(folder.with_name("empty"))


def _make(folder: Path) -> Path:
    python = folder / "bin" / "python"
    if not python.exists():
        venv.create(folder, with_pip=True, symlinks=True)
    return python


def _megabytes(folder: Path) -> float:
    """Without bytecode, which grows with use."""
    (site,) = folder.glob("lib/python*/site-packages")
    files = (path for path in site.rglob("*") if path.is_file() and path.suffix != ".pyc")
    return sum(path.stat().st_size for path in files) / 1e6


def _last_line(text: str) -> str:
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")


def measure(name: str, folder: Path, photos: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """A row's numbers for one peer, or its error."""
    peer, paths = PEERS[name], [path for path, _ in photos]
    row: dict[str, Any] = dict.fromkeys(NUMBERS, "") | {"versions": "", "error": ""}
    try:
        python, row["installed_mb"] = install(folder / peer.environment, peer.requirement)
        run_worker(python, name, "cold", paths)  # the first use compiles and fills the disk's cache
        cold = []
        for _ in range(COLD_RUNS):
            start = time.time()
            cold.append(run_worker(python, name, "cold", paths)["finished"] - start)
        row["cold_s"] = median(cold)
        warm = run_worker(python, name, "warm", paths)
    except (RuntimeError, OSError, ValueError, subprocess.SubprocessError) as error:
        return row | {"error": str(error)}
    predictions: list[Expression] = warm["predictions"]
    return row | {
        "median_ms": 1000 * median(warm["seconds"]),
        "photos_per_s": len(paths) / warm["total"],
        "faces_found": sum(found is not None for found in predictions) / len(paths),
        "accuracy": sum(found == label for found, (_, label) in zip(predictions, photos, strict=True)) / len(paths),
        "peak_mb": warm["peak"],
        "versions": warm["versions"],
    }


NUMBERS = {
    "installed_mb": "{:,.0f}",
    "cold_s": "{:.2f}",
    "median_ms": "{:.1f}",
    "photos_per_s": "{:.1f}",
    "faces_found": "{:.0%}",
    "accuracy": "{:.1%}",
    "peak_mb": "{:,.0f}",
}
"""The measured columns and how the table shows them; the CSV has four digits after the point."""


def choose(folder: Path, labels: Path, count: int) -> list[tuple[str, str]]:
    """Paths and labels of photographs, the same ones in every run."""
    with labels.open(newline="", encoding="utf-8") as file:
        photos = [(str((folder / row["image"]).resolve()), row["expression"]) for row in csv.DictReader(file)]
    return random.Random(0).sample(photos, min(count, len(photos)))


def processor() -> str:
    """The processor's name."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def show(rows: Sequence[dict[str, Any]]) -> None:
    """Print the table."""
    from rich.console import Console
    from rich.table import Column, Table

    table = Table(Column("package", no_wrap=True), *(name.replace("_", " ") for name in NUMBERS), "error")
    for row in rows:
        cells = (text.format(row[name]) if row[name] != "" else "" for name, text in NUMBERS.items())
        table.add_row(row["package"], *cells, row["error"])
    Console().print(table)


def main() -> None:
    """Measure one package after the other, print, and write the CSV."""
    from mftn.files import write_csv

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path, help="folder of the photographs")
    parser.add_argument("labels", type=Path, help="CSV with the columns image and expression")
    parser.add_argument("--count", type=int, default=100, help="how many photographs")
    parser.add_argument("--work", type=Path, required=True, help="folder for the environments")
    parser.add_argument("--csv", type=Path, required=True, help="where the results go")
    arguments = parser.parse_args()
    photos = choose(arguments.photos, arguments.labels, arguments.count)
    machine = {"photos": len(photos), "processor": processor(), "cores": os.cpu_count()}
    machine |= {"python": platform.python_version(), "date": date.today().isoformat()}
    rows = []
    for name in PEERS:
        print(f"{name} …", file=sys.stderr)
        rows.append({"package": name} | measure(name, arguments.work.resolve(), photos) | machine)
    show(rows)
    arguments.csv.parent.mkdir(parents=True, exist_ok=True)
    rounded = [{key: round(v, 4) if isinstance(v, float) else v for key, v in row.items()} for row in rows]
    write_csv(arguments.csv, rounded)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        work(*sys.argv[2:])
    else:
        main()
