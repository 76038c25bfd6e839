"""Many clips in one command compared with one command per clip: wall time, CPU time, and whether the rows are equal.

python benchmarks/many_videos.py --clips 40 --seconds 60
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image

PHOTO = Path(__file__).parents[1] / "examples" / "photos" / "astronaut.jpg"


def make_clip(path: Path, seconds: int, shift: int) -> None:
    """Write a clip of one person who moves over a grey background, 640×360 at 25 frames per second."""
    photo = Image.open(PHOTO).convert("RGB").resize((300, 300))
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=Fraction(25))
        stream.width, stream.height, stream.pix_fmt = 640, 360, "yuv420p"
        stream.options = {"preset": "ultrafast"}
        for number in range(25 * seconds):
            image = Image.new("RGB", (640, 360), (60, 70, 80))
            image.paste(photo, ((number + shift) % 300, 30))
            out.mux(stream.encode(av.VideoFrame.from_ndarray(np.asarray(image), format="rgb24")))
        out.mux(stream.encode(None))


def run(sources: list[Path], output: Path) -> tuple[float, float]:
    """Wall and CPU seconds of one command."""
    command = [sys.executable, "-m", "mftn", "predict", *map(str, sources), "--output", str(output)]
    wall, before = time.perf_counter(), os.times()
    subprocess.run(command, check=True)
    after = os.times()
    spent = after.children_user + after.children_system - before.children_user - before.children_system
    return time.perf_counter() - wall, spent


def main() -> None:
    """Make the clips, run both ways, and print the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=40)
    parser.add_argument("--seconds", type=int, default=60)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        clips = [Path(folder) / f"clip{number:03d}.mp4" for number in range(chosen.clips)]
        for number, clip in enumerate(clips):
            make_clip(clip, chosen.seconds, 7 * number)
        together = run(clips, Path(folder) / "all.csv")
        singles = [run([clip], clip.with_suffix(".csv")) for clip in clips]
        alone = [sum(column) for column in zip(*singles, strict=True)]
        _header, *rows = (Path(folder) / "all.csv").read_text().splitlines()
        expected = [row for clip in clips for row in clip.with_suffix(".csv").read_text().splitlines()[1:]]
        print(f"{chosen.clips} clips of {chosen.seconds} s, {len(rows):,} rows, equal: {rows == expected}")
        for name, (wall, spent) in (("one command", together), ("one by one", alone)):
            print(f"{name}: {wall:.1f} s, {spent:.1f} s of CPU time")


if __name__ == "__main__":
    main()
