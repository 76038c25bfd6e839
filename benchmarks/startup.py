"""Startup times: the help text, the import, and the first prediction of a cold process.

    python benchmarks/startup.py [--runs 11]

Prints medians over new processes. Run it with the interpreter of a light installation.
"""

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

PHOTO = Path(__file__).parents[1] / "examples" / "photos" / "astronaut.jpg"
CASES = {
    "python, nothing else": ["-c", "pass"],
    "import mftn": ["-c", "import mftn"],
    "mftn --help": ["-m", "mftn", "--help"],
    "mftn predict, one 512×512 photograph, cold": ["-m", "mftn", "predict", str(PHOTO)],
}


def main() -> None:
    """Time the cases in turn, round by round, so that noise affects all equally."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=11)
    runs = parser.parse_args().runs
    seconds: dict[str, list[float]] = {name: [] for name in CASES}
    for _ in range(runs):
        for name, arguments in CASES.items():
            start = time.perf_counter()
            subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
            seconds[name].append(time.perf_counter() - start)
    for name, times in seconds.items():
        print(f"{statistics.median(times):6.3f} s  {name}")


if __name__ == "__main__":
    main()
