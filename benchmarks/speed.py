"""Compare this source tree with an earlier one: a photograph, a folder, the classifier, the cold command line.

    git worktree add /tmp/before COMMIT
    python benchmarks/speed.py /tmp/before/src PHOTOS --csv benchmarks/results/speed.csv

Every task runs in new processes of both trees in turn, so that other load on the machine affects both equally. PHOTOS
is a folder of photographs with one face each; the single photograph is examples/photos/astronaut.jpg, 512×512. The
command line runs with the interpreter given by --light, whose environment should contain only a light installation.
"""

import argparse
import csv
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import date
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).parents[1]
PHOTO = ROOT / "examples" / "photos" / "astronaut.jpg"
SUFFIXES = (".jpg", ".jpeg", ".png")
WARM_UP, PHOTO_RUNS, BATCH_RUNS, BATCH = 20, 60, 15, 32
COLD = "command line, cold"


def milliseconds(work: Callable[[], object], runs: int) -> float:
    """Median duration in milliseconds."""
    took = []
    for _ in range(runs):
        start = time.perf_counter()
        work()
        took.append(time.perf_counter() - start)
    return 1000 * median(took)


def photograph(options: dict[str, Any], _photos: list[str]) -> float:
    """Milliseconds for one photograph, warm."""
    import mftn

    recognizer = mftn.load(**options)
    for _ in range(WARM_UP):
        recognizer.predict(PHOTO)
    return milliseconds(lambda: recognizer.predict(PHOTO), PHOTO_RUNS)


def folder(options: dict[str, Any], photos: list[str]) -> float:
    """Photographs per second."""
    import mftn

    recognizer = mftn.load(**options)
    for _ in recognizer.stream(photos[:WARM_UP]):
        pass
    start = time.perf_counter()
    for prediction in recognizer.stream(photos):
        assert not prediction.error
    return len(photos) / (time.perf_counter() - start)


def classifier(options: dict[str, Any], _photos: list[str]) -> float:
    """Faces per second, in batches of 32 without flips."""
    import numpy as np

    import mftn

    engine = mftn.load(flip=False, **options).engine
    crops = np.random.default_rng(0).integers(0, 256, (BATCH, *engine.spec.size, 3), dtype=np.uint8)
    engine.probabilities(crops)
    return 1000 * BATCH / milliseconds(lambda: engine.probabilities(crops), BATCH_RUNS)


TASKS: dict[str, tuple[Callable[[dict[str, Any], list[str]], float], dict[str, Any]]] = {
    "photograph, ms": (photograph, {}),
    "folder, images/s": (folder, {}),
    "folder without flips, images/s": (folder, {"flip": False}),
    "classifier, faces/s": (classifier, {}),
}


def run_task(name: str, tree: Path, options: dict[str, Any], photos: list[str]) -> float:
    """Run a task in a new process with a source tree and return its measurement."""
    task = json.dumps({"name": name, "options": TASKS[name][1] | options, "photos": photos})
    environment = {**os.environ, "PYTHONPATH": str(tree)}
    command = [sys.executable, "-P", __file__, "--worker"]
    done = subprocess.run(command, input=task, capture_output=True, text=True, check=True, env=environment)
    return float(done.stdout.splitlines()[-1])


def run_command(interpreter: Path, tree: Path) -> float:
    """Seconds of a cold `mftn predict`."""
    environment = {**os.environ, "PYTHONPATH": str(tree)}
    start = time.perf_counter()
    command = [str(interpreter), "-m", "mftn", "predict", str(PHOTO)]
    subprocess.run(command, check=True, capture_output=True, env=environment)
    return time.perf_counter() - start


def measure(before: Path, photos: list[str], rounds: int, light: Path) -> list[dict[str, Any]]:
    """One row per task and engine: the medians before, after and, where available, after in fast precision."""
    from mftn.engines import installed_engines

    trees = {"before": (before, {}), "after": (ROOT / "src", {}), "fast": (ROOT / "src", {"precision": "fast"})}
    rows = []
    for name, engine in product(TASKS, installed_engines()):
        took: dict[str, list[float]] = {tree: [] for tree in trees if tree != "fast" or engine == "openvino"}
        for _, tree in product(range(rounds), took):
            path, options = trees[tree]
            took[tree].append(run_task(name, path, {"engine": engine, **options}, photos))
        rows.append({"what": name, "engine": engine} | {tree: median(values) for tree, values in took.items()})
        print(rows[-1], flush=True)
    starts: dict[str, list[float]] = {"before": [], "after": []}
    for _, tree in product(range(3 * rounds), starts):
        starts[tree].append(run_command(light, trees[tree][0]))
    rows.append({"what": f"{COLD}, s", "engine": "onnxruntime"} | {tree: median(v) for tree, v in starts.items()})
    print(rows[-1])
    return rows


def processor() -> str:
    """The CPU's name."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def main() -> None:
    """Measure, print, and write the CSV."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", type=Path, help="src of the earlier tree")
    parser.add_argument("photos", type=Path, help="folder of photographs")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--light", type=Path, default=Path(sys.executable), help="interpreter of a light installation")
    parser.add_argument("--csv", type=Path)
    arguments = parser.parse_args()
    photos = sorted(str(path.resolve()) for path in arguments.photos.iterdir() if path.suffix.lower() in SUFFIXES)
    rows = measure(arguments.before.resolve(), photos, arguments.rounds, arguments.light.absolute())
    if arguments.csv:
        machine = {"photos": len(photos), "rounds": arguments.rounds, "processor": processor()}
        machine |= {"cores": os.cpu_count(), "date": date.today().isoformat()}
        with arguments.csv.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, ["what", "engine", "before", "after", "fast", *machine])
            writer.writeheader()
            writer.writerows(
                {k: round(v, 3) if isinstance(v, float) else v for k, v in (r | machine).items()} for r in rows
            )


if __name__ == "__main__":
    if sys.argv[1:] == ["--worker"]:
        given = json.load(sys.stdin)
        print(TASKS[given["name"]][0](given["options"], given["photos"]))
    else:
        main()
