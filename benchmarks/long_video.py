"""Memory and speed with long videos: a day of simulated predictions, smoothed and summarised, and a synthetic video.

python benchmarks/long_video.py --hours 24 --rate 25
python benchmarks/long_video.py --hours 2 --film
"""

import argparse
import io
import re
import subprocess
import sys
import tempfile
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image

from mftn.journal import journal_path
from mftn.labels import EXPRESSIONS
from mftn.output import CsvWriter
from mftn.types import Face, Prediction
from mftn.video.clock import Clock
from mftn.video.persons import Persons
from mftn.video.smooth import CentredSmoother
from mftn.video.timeline import draw_timeline

PHOTO = Path(__file__).parents[1] / "examples" / "photos" / "astronaut.jpg"


class Nowhere(io.StringIO):
    """Discards what is written."""

    def write(self, text: str) -> int:
        """Discard a text."""
        return len(text)


def megabytes(process: int | str = "self") -> float:
    """Current memory of a process."""
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * 4096 / 1e6


def simulate(hours: int, rate: int) -> None:
    """Simulate two persons at a time, replaced every minute, without images; the clock restarts every hour."""
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


def film(hours: float, rate: int) -> None:
    """Run `mftn predict` with every output on a synthetic video, and monitor its memory and frames per second.

    The video repeats every two minutes: one person, two, one again, none.
    """
    with tempfile.TemporaryDirectory() as folder:
        part, whole, rows = Path(folder) / "part.ts", Path(folder) / "whole.ts", Path(folder) / "rows.csv"
        journal = journal_path(rows)
        photo = Image.open(PHOTO).convert("RGB").resize((240, 240))
        with av.open(str(part), "w") as out:
            stream = out.add_stream("libx264", rate=Fraction(rate))
            stream.width, stream.height, stream.pix_fmt = 640, 360, "yuv420p"
            for number in range(120 * rate):
                image = Image.new("RGB", (640, 360), (60, 70, 80))
                for person in range((1, 2, 1, 0)[number // (30 * rate)]):
                    image.paste(photo, (320 * person + number % 80, 60))
                out.mux(stream.encode(av.VideoFrame.from_ndarray(np.asarray(image), format="rgb24")))
            out.mux(stream.encode(None))
        whole.write_bytes(part.read_bytes() * round(hours * 30))
        outputs = ["--output", str(rows), "--save-video", f"{folder}/copy.mkv", "--save-timeline", f"{folder}/line.png"]
        begin = time.perf_counter()
        process = subprocess.Popen([sys.executable, "-m", "mftn", "predict", str(whole), *outputs])
        frames, parts, shown = hours * 3600 * rate, 8, 0
        while process.poll() is None:
            time.sleep(1)
            done, seconds = frames_in(journal), time.perf_counter() - begin
            if done >= (shown + 1) * frames / parts - rate * 30:  # the last rows come before the last frames
                shown += 1
                print(
                    f"{done:,} frames: {megabytes(process.pid):.0f} MB, {done / seconds:.1f} frames/s so far",
                    flush=True,
                )
        seconds = time.perf_counter() - begin
        print(f"exit status {process.returncode}, {frames:,.0f} frames in {seconds:.0f} s")


def frames_in(journal: Path) -> int:
    """The last frame in the journal of an unfinished run."""
    if not journal.exists():
        return 0
    with journal.open("rb") as file:
        file.seek(max(0, journal.stat().st_size - 10_000))
        numbers = re.findall(rb'"frame": (\d+)', file.read())
    return int(numbers[-1]) if numbers else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, default=24)
    parser.add_argument("--rate", type=int, default=25, help="frames per second")
    parser.add_argument("--film", action="store_true", help="decode and predict a synthetic video of that length")
    chosen = parser.parse_args()
    if chosen.film:
        film(chosen.hours, chosen.rate)
    else:
        simulate(round(chosen.hours), chosen.rate)
