"""What `mftn predict` does with a video."""

from __future__ import annotations

import sys
from collections import defaultdict
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from mftn.cli import INTERRUPTED
from mftn.errors import ConfigError
from mftn.labels import COLOURS
from mftn.types import Prediction

if TYPE_CHECKING:
    from mftn.cli.predict import Arguments
    from mftn.recognize import Recognizer


def run_video(arguments: Arguments, kind: str, recognizer: Recognizer) -> int:
    """Recognise in every frame, write, and return the exit status."""
    from mftn.cli.sink import sink
    from mftn.output import annotate
    from mftn.track import FaceTracker
    from mftn.video import Clip, video_writer

    _check(arguments)
    source = arguments.sources[0]
    clip = Clip(source, arguments.start, arguments.end, arguments.every)
    tracker = FaceTracker(recognizer, arguments.detect_every, arguments.smooth)
    persons = Persons()
    console = Console(stderr=True)
    columns = (TextColumn("frames"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    done = 0
    status = 0
    try:
        with ExitStack() as stack:
            write = stack.enter_context(sink(arguments.output, kind, persons))
            video = stack.enter_context(video_writer(arguments.save_video, clip)) if arguments.save_video else None
            hidden = not console.is_terminal
            progress = stack.enter_context(Progress(*columns, console=console, transient=True, disable=hidden))
            task = progress.add_task("frames", total=clip.frames or None)
            for frame in clip:
                faces = tracker.update(frame.image, frame.time)
                height, width = frame.image.shape[:2]
                prediction = Prediction(source, width, height, faces, None, frame.number, frame.time)
                if kind != "table":  # whose sink is persons itself
                    persons.add(prediction)
                write(prediction)
                if video:
                    video.write(annotate(frame.image, faces, arguments.top), frame.time)
                done += 1
                progress.advance(task)
    except KeyboardInterrupt:
        print(f"mftn: interrupted; {done} frames are done and kept", file=sys.stderr)
        status = INTERRUPTED
    finally:
        clip.close()
    if clip.damaged:
        print(f"mftn: {source}: {clip.damaged} damaged packets skipped; {done} frames are whole", file=sys.stderr)
    if not done and not status:
        print(f"mftn: {source}: not one frame could be read", file=sys.stderr)
        return 1
    if arguments.save_timeline and done:
        persons.draw(arguments.save_timeline)
    return status


def _check(arguments: Arguments) -> None:
    if arguments.save_images or arguments.save_crops:
        raise ConfigError("--save-images and --save-crops are for photographs; a video has --save-video")
    for name in ("every", "detect_every"):
        if getattr(arguments, name) < 1:
            raise ConfigError(f"--{name.replace('_', '-')} is {getattr(arguments, name)}; it must be 1 or more")
    if arguments.smooth < 0 or arguments.start < 0:
        raise ConfigError("--smooth and --start must be 0 or more")
    if arguments.save_video and arguments.save_video.suffix.lower() not in (".mp4", ".mov", ".mkv"):
        raise ConfigError(f"{arguments.save_video}: unknown ending; use .mp4, .mov or .mkv")


class Persons:
    """What a video shows of each person, for people to read."""

    def __init__(self) -> None:
        self.times: dict[int, list[float]] = defaultdict(list)
        self.probabilities: dict[int, list[list[float]]] = defaultdict(list)
        self.labels: tuple[str, ...] = ()

    def add(self, prediction: Prediction) -> None:
        """Take in a frame."""
        for face in prediction.faces:
            assert face.track is not None and prediction.time is not None
            self.labels = tuple(face.probabilities)
            self.times[face.track].append(prediction.time)
            self.probabilities[face.track].append(list(face.probabilities.values()))

    def table(self) -> Table:
        """A row a person: when seen, and how often each expression was the most probable."""
        table = Table(box=None, header_style="bold", pad_edge=False)
        for name in ("person", "from", "to", "frames"):
            table.add_column(name, justify="right")
        table.add_column("expressions")
        for track, times in self.times.items():
            top = np.array(self.probabilities[track]).argmax(axis=1)
            shares = np.bincount(top, minlength=len(self.labels)) / len(top)
            ranked = [k for k in np.argsort(-shares, kind="stable") if shares[k] > 0][:4]
            shown = ", ".join(f"{self.labels[k]} {shares[k]:.0%}" for k in ranked)
            table.add_row(str(track), f"{times[0]:.1f} s", f"{times[-1]:.1f} s", str(len(times)), shown)
        return table

    def draw(self, path: Path) -> None:
        """The timeline: a band a person, each expression's probability stacked over time."""
        from mftn.errors import MissingExtraError

        try:
            from matplotlib.backends.backend_agg import FigureCanvasAgg
            from matplotlib.figure import Figure
        except ModuleNotFoundError as error:
            raise MissingExtraError("--save-timeline", "video") from error
        longest = sorted(self.times, key=lambda track: -len(self.times[track]))[:6]
        figure = Figure(figsize=(9, 1.0 + 1.3 * max(len(longest), 1)), dpi=130, layout="constrained")
        FigureCanvasAgg(figure)
        bands = figure.subplots(max(len(longest), 1), 1, sharex=True, squeeze=False)[:, 0]
        for band, track in zip(bands, sorted(longest), strict=False):
            values = np.array(self.probabilities[track]).T  # (K, frames)
            colours = [COLOURS.get(name, "#000000") for name in self.labels]
            band.stackplot(self.times[track], values, colors=colours, labels=self.labels)
            band.set(ylim=(0, 1), ylabel=f"person {track}")
        bands[-1].set_xlabel("seconds")
        if longest:
            handles, names = bands[0].get_legend_handles_labels()
            figure.legend(handles, names, loc="outside upper center", ncols=len(names), fontsize="x-small")
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path)
