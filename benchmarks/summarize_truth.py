"""Test `mftn summarize` on videos with known ground truth: who smiles when and who is away, at five frame rates.

The videos are made from neutral and smiling portraits of consenting adults (Face Research Lab London Set, DeBruine &
Jones 2017, doi 10.6084/m9.figshare.5047666), which are not part of this project:

python benchmarks/summarize_truth.py london.tar
"""

import argparse
import io
import tarfile
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pandas as pd
from PIL import Image

import mftn
from mftn.cli import main as mftn_command

SIDE = 320
RATES = {"24": Fraction(24), "25": Fraction(25), "29.97": Fraction(30000, 1001), "60": Fraction(60), "variable": None}
LENGTH = 12.0


@dataclass(frozen=True)
class Part:
    """A stretch of time in which one person is visible; between parts they are away.

    Attributes:
        start: Start in seconds.
        end: End in seconds.
        pose: neutral or smile.
        column: Side of the frame, 0 or 1.
    """

    start: float
    end: float
    pose: str
    column: int


SCRIPT: Mapping[str, Sequence[Part]] = {
    "A": (
        Part(0, 2, "neutral", 0),
        Part(2, 4.5, "smile", 0),
        Part(4.5, 7, "neutral", 0),
        Part(8.5, 9, "neutral", 1),  # after a cut to an empty room, both have changed places
        Part(9, 10, "smile", 1),
        Part(10, LENGTH, "neutral", 1),
    ),
    "B": (
        Part(0, 1, "neutral", 1),
        Part(1, 3, "smile", 1),
        Part(3, 4, "neutral", 1),
        Part(5.5, 7, "neutral", 1),  # after being away for a second and a half
        Part(8.5, 10.5, "smile", 0),
        Part(10.5, LENGTH, "neutral", 0),
    ),
}
SEGMENTS = pd.DataFrame({"name": ["before the cut", "after the cut"], "start": [0.0, 7.0], "end": [7.0, LENGTH]})


def portraits(archive: Path, names: Sequence[str] | None = None) -> dict[tuple[str, str], Image.Image]:
    """(person, pose) → portrait."""
    with tarfile.open(archive) as tar:
        files = {Path(member.name).name: member for member in tar.getmembers() if member.isfile()}
        sheet = tar.extractfile(files["people.csv"])
        assert sheet is not None
        people = pd.read_csv(sheet, dtype=str)
        found = {}
        for row in people.itertuples():
            if names is None or row.person in names:
                file = tar.extractfile(files[row.image])
                assert file is not None
                found[row.person, row.pose] = Image.open(io.BytesIO(file.read())).convert("RGB")
        return found


def frame_times(rate: Fraction | None) -> Iterator[Fraction]:
    """The time of each frame in seconds; without a rate, at intervals from 15 to 120 ms."""
    rng = np.random.default_rng(5)
    time = Fraction(0)
    while time < LENGTH:
        yield time
        time += 1 / rate if rate else Fraction(int(rng.integers(15, 121)), 1000)


def make_film(path: Path, poses: Mapping[tuple[str, str], Image.Image], rate: Fraction | None) -> None:
    """Make a video of the script.

    Args:
        path: An .mp4 file.
        poses: (A or B, neutral or smile) → portrait.
        rate: Frames per second; None for a variable rate.
    """
    scaled = {key: image.resize((SIDE, SIDE)) for key, image in poses.items()}
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=rate or 25, options={"crf": "20", "g": "25", "bf": "0"})
        stream.width, stream.height, stream.pix_fmt = 2 * SIDE, SIDE, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 30000)
        for time in frame_times(rate):
            image = Image.new("RGB", (2 * SIDE, SIDE), (70, 80, 90))
            for person, parts in SCRIPT.items():
                for part in parts:
                    if part.start <= time < part.end:
                        image.paste(scaled[person, part.pose], (SIDE * part.column, 0))
            frame = av.VideoFrame.from_ndarray(np.asarray(image), format="rgb24")
            frame.time_base, frame.pts = Fraction(1, 30000), round(time * 30000)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))


def who_is_who(faces: pd.DataFrame) -> pd.DataFrame:
    """The person of each track, from its position and time, as someone who knows the video would record it."""
    rows = []
    for track, seen in faces.dropna(subset="track").groupby("track"):
        time, column = seen["time"].median(), int((seen["left"] + seen["right"]).median() / 2 > SIDE)
        person = "AB"[column if time < 7.5 else 1 - column]
        rows.append({"source": seen["source"].iloc[0], "track": int(track), "person": person})
    return pd.DataFrame(rows)


def smiles(person: str) -> list[tuple[float, float]]:
    """The start and end of each of a person's smiles."""
    return [(part.start, part.end) for part in SCRIPT[person] if part.pose == "smile"]


def seconds(person: str, start: float, end: float, pose: str | None = None) -> float:
    """How long a person is visible within an interval, or shows a pose in it."""
    parts = [part for part in SCRIPT[person] if pose in (None, part.pose)]
    return sum(max(min(part.end, end) - max(part.start, start), 0.0) for part in parts)


@dataclass(frozen=True)
class Errors:
    """The errors of a summary.

    Attributes:
        found: Number of happiness events found.
        scripted: Number of happiness events in the script.
        onset: Largest error of an onset in seconds.
        offset: Largest error of an offset in seconds.
        share: Largest error of the share of time with happiness, in percentage points.
        missing: Largest error of missing time in seconds.
    """

    found: int
    scripted: int
    onset: float
    offset: float
    share: float
    missing: float


def judge(summary: mftn.Summary) -> Errors:
    """Compare a summary with the script."""
    events = summary.events[summary.events["expression"] == "happiness"]
    onsets, offsets, shares, missing = [], [], [], []
    for person in SCRIPT:
        found = events[events["person"] == person].sort_values("onset")
        if len(found) == len(smiles(person)):
            for event, (start, end) in zip(found.itertuples(), smiles(person), strict=True):
                onsets.append(abs(event.onset - start))
                offsets.append(abs(event.offset - end))
        rows = summary.persons[summary.persons["person"] == person].itertuples()
        missing += [abs(row.missing - (row.end - row.start - seconds(person, row.start, row.end))) for row in rows]
        happy = summary.expressions[
            (summary.expressions["person"] == person) & (summary.expressions["expression"] == "happiness")
        ]
        for row in happy.itertuples():
            true = seconds(person, row.start, row.end, "smile") / seconds(person, row.start, row.end)
            shares.append(100 * abs(row.share - true))
    scripted = sum(len(smiles(person)) for person in SCRIPT)
    return Errors(len(events), scripted, max(onsets, default=9), max(offsets, default=9), max(shares), max(missing))


def measure(poses: Mapping[tuple[str, str], Image.Image], rate: Fraction | None, *how: str) -> Errors:
    """Make a video, predict with these options, summarise, and compare with the script."""
    with tempfile.TemporaryDirectory() as folder:
        film, faces = Path(folder) / "film.mp4", Path(folder) / "faces.parquet"
        make_film(film, poses, rate)
        assert mftn_command(["predict", str(film), *how, "--output", str(faces)]) == 0
        people = who_is_who(pd.read_parquet(faces))
        return judge(mftn.summarize(faces, people=people, segments=SEGMENTS))


def own_baseline(archive: Path) -> tuple[int, int, int]:
    """Over all portraits: people, those whose happiness rises above their own neutral, and those labelled happy."""
    found = portraits(archive)
    recognizer = mftn.load()
    rows = []
    for (person, pose), image in found.items():
        prediction = recognizer.predict(np.asarray(image))
        rows += [row | {"source": f"{person}_{pose}.jpg"} for row in prediction.to_rows()]
    sources = [f"{person}_{pose}.jpg" for person, pose in found]
    people = pd.DataFrame({"source": sources, "person": [person for person, _ in found]})
    segments = pd.DataFrame({"source": sources, "name": [pose for _, pose in found]})
    summary = mftn.summarize(pd.DataFrame(rows), people=people, segments=segments, baseline="neutral")
    smile = summary.expressions[
        (summary.expressions["segment"] == "smile") & (summary.expressions["expression"] == "happiness")
    ]
    return len(smile), int((smile["difference"] > 0).sum()), int((smile["share"] == 1).sum())


def main() -> None:
    """Print the table of errors and the results with people's own baselines."""
    parser = argparse.ArgumentParser()
    parser.add_argument("archive", type=Path)
    parser.add_argument("--people", nargs=2, default=["001", "010"], help="two whose smiles are labelled happiness")
    options = parser.parse_args()
    print(f"{'predict':<30} {'rate':<9} {'events':<7} {'onset':<8} {'offset':<8} {'share':<11} missing")
    found = portraits(options.archive, options.people)
    poses = {("AB"[person == options.people[1]], pose): image for (person, pose), image in found.items()}
    for how in (("--smooth", "0", "--detect-every", "1"), ("--smooth", "0"), ()):
        for name, rate in RATES.items():
            e = measure(poses, rate, *how)
            print(
                f"{' '.join(how) or 'as it is':<30} {name:<9} {e.found} of {e.scripted}  {e.onset:.3f} s  "
                f"{e.offset:.3f} s  "
                f"{e.share:.2f} points {e.missing:.3f} s",
                flush=True,
            )
    people, rises, labelled = own_baseline(options.archive)
    print(f"own baseline: happiness rises in {rises} of {people} people; the label says happiness in {labelled}")


if __name__ == "__main__":
    main()
