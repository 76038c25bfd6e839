"""Memory of a long video: a day of made predictions through smoothing and summaries, and a real clip for some minutes.

python benchmarks/long_video.py --hours 24 --rate 25
python benchmarks/long_video.py --soak 5
"""

import argparse
import io
import signal
import subprocess
import sys
import tempfile
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image

from mftn.labels import EXPRESSIONS
from mftn.output import CsvWriter
from mftn.types import Face, Prediction
from mftn.video.clock import Clock
from mftn.video.persons import Persons
from mftn.video.smooth import CentredSmoother
from mftn.video.timeline import draw_timeline

PHOTO = Path(__file__).parents[1] / "examples" / "photos" / "astronaut.jpg"


class Nowhere(io.StringIO):
    """Forgets what is written."""

    def write(self, text: str) -> int:
        """Drop a text."""
        return len(text)


def megabytes(process: int | str = "self") -> float:
    """Memory that a process holds now."""
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * 4096 / 1e6


def simulate(hours: int, rate: int) -> None:
    """Two persons at a time who change every minute, without images, and the clock restarting every hour."""
    clock, smoother, persons = Clock(1 / rate, 10.0), CentredSmoother[Prediction](0.3), Persons()
    table = CsvWriter(Nowhere())
    drawn = np.random.default_rng(0).dirichlet(np.ones(len(EXPRESSIONS)), 1000).tolist()
    rows = [dict(zip(EXPRESSIONS, row, strict=True)) for row in drawn]
    for hour in range(hours):
        begin = time.perf_counter()
        for number in range(3600 * rate):
            timestamp = clock.tick(number / rate)
            minute = hour * 60 + number // (60 * rate)
            faces = tuple(
                Face((0, 0, 9, 9), 0.9, None, rows[(number + track) % 1000], track)
                for track in (2 * minute + 1, 2 * minute + 2)
            )
            for smoothed, held in smoother.push(timestamp, faces, Prediction("a", 9, 9, (), None, number, timestamp)):
                prediction = Prediction("a", 9, 9, smoothed, None, held.frame, held.time)
                persons.add(prediction)
                if number % 25 == 0:
                    table.write(prediction)
        if hour in (0, 1, 2, 5, 11, 17, 23) or hour == hours - 1:
            print(
                f"after {hour + 1:2d} h ({(hour + 1) * 3600 * rate:,} frames, clock at {clock.time or 0:.0f} s): "
                f"{megabytes():.0f} MB, {time.perf_counter() - begin:.0f} s for the last hour"
            )
    with tempfile.TemporaryDirectory() as folder:
        draw_timeline(persons, Path(folder) / "timeline.png")
        print(f"with the timeline drawn: {megabytes():.0f} MB")


def soak(minutes: float) -> None:
    """`mftn predict` with every output on a clip that is far longer, watched from outside, ended by Ctrl-C."""
    with tempfile.TemporaryDirectory() as folder:
        part, whole = Path(folder) / "part.ts", Path(folder) / "whole.ts"
        photo = Image.open(PHOTO).convert("RGB").resize((240, 240))
        with av.open(str(part), "w") as out:
            stream = out.add_stream("libx264", rate=Fraction(25))
            stream.width, stream.height, stream.pix_fmt = 426, 240, "yuv420p"
            for number in range(250):
                image = Image.new("RGB", (426, 240), (60, 70, 80))
                image.paste(photo, (number % 125, 0))
                out.mux(stream.encode(av.VideoFrame.from_ndarray(np.asarray(image), format="rgb24")))
            out.mux(stream.encode(None))
        whole.write_bytes(part.read_bytes() * max(int(minutes * 60), 1))  # ten seconds of film for each second
        outputs = ["--output", f"{folder}/rows.csv", "--save-video", f"{folder}/copy.mkv"]
        outputs += ["--save-timeline", f"{folder}/timeline.png"]
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
        process = subprocess.Popen([sys.executable, "-m", "mftn", "predict", str(whole), *outputs])
        for quarter in range(1, 9):
            time.sleep(minutes * 60 / 8)
            if process.poll() is not None:
                break
            print(f"after {quarter / 8 * minutes:.1f} minutes: {megabytes(process.pid):.0f} MB")
        process.send_signal(signal.SIGINT)
        process.wait()
        lines = sum(1 for _ in (Path(folder) / "rows.csv").open())
        print(f"exit status {process.returncode}, {lines - 1:,} rows")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hours", type=int, default=24)
    parser.add_argument("--rate", type=int, default=25)
    parser.add_argument("--soak", type=float, help="minutes")
    chosen = parser.parse_args()
    if chosen.soak:
        soak(chosen.soak)
    else:
        simulate(chosen.hours, chosen.rate)
