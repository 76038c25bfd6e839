"""`mftn predict` for a video."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

from rich.table import Table

from mftn.cli import INTERRUPTED, say
from mftn.cli.progress import progress_bar
from mftn.cli.sink import sink
from mftn.errors import ConfigError
from mftn.limits import check_range
from mftn.types import Face, Image, Prediction
from mftn.video.persons import Persons

if TYPE_CHECKING:
    from mftn.cli.predict import Arguments
    from mftn.recognize import Recognizer
    from mftn.video import Clip

MAX_HELD_BYTES = 256_000_000
"""Most bytes of images that wait for the end of their smoothing window."""

LONGEST_SMOOTHING_S = 60.0
"""Seconds."""


def run_video(arguments: Arguments, kind: str, recognizer: Recognizer) -> int:
    """Recognise in every frame, write, and return the exit status."""
    from mftn.video import Clip
    from mftn.video.timeline import draw_timeline

    _check(arguments)
    source = arguments.sources[0]
    clip = Clip(source, arguments.start, arguments.end, arguments.every)
    persons = PersonsTable()
    try:
        done, interrupted = _recognise(clip, arguments, kind, recognizer, persons)
    finally:
        clip.close()
    if clip.damaged:
        say(f"{source}: {clip.damaged} damaged packets skipped; {done} frames were read")
    if arguments.save_timeline and done:
        draw_timeline(persons, arguments.save_timeline)
    if interrupted:
        say(f"interrupted; {done} frames are done and kept")
        return INTERRUPTED
    if cut_off := clip.cut_off():
        say(f"{source}: {cut_off}; the {done} frames up to there are kept")
        return 1
    return 0


def _recognise(
    clip: Clip, arguments: Arguments, kind: str, recognizer: Recognizer, persons: PersonsTable
) -> tuple[int, bool]:
    """Process the clip; the number of frames written, and whether Ctrl-C ended it."""
    from mftn.tracker import FaceTracker
    from mftn.video.smooth import CentredSmoother

    centred = 0.0 if clip.live else arguments.smooth  # a camera's frames do not wait for those after them
    tracker = FaceTracker(recognizer, arguments.detect_every, arguments.smooth if clip.live else 0.0)
    smoother: CentredSmoother[tuple[Prediction, Image | None]] | None = None
    done, interrupted = 0, False
    with ExitStack() as stack:
        write = _outputs(stack, clip, arguments, kind, persons)
        try:
            for frame in clip:
                height, width = frame.image.shape[:2]
                smoother = smoother or CentredSmoother(
                    centred, MAX_HELD_BYTES // frame.image.nbytes if arguments.save_video else 0
                )
                prediction = Prediction(clip.source, width, height, (), None, frame.number, frame.time)
                faces = tracker.update(frame.image, frame.time)
                held = frame.image if arguments.save_video else None
                for ready in smoother.push(frame.time, faces, (prediction, held)):
                    write(*ready)
                    done += 1
        except KeyboardInterrupt:
            interrupted = True
        for ready in smoother.flush() if smoother else ():
            write(*ready)
            done += 1
    return done, interrupted


def _outputs(
    stack: ExitStack, clip: Clip, arguments: Arguments, kind: str, persons: PersonsTable
) -> Callable[[tuple[Face, ...], tuple[Prediction, Image | None]], None]:
    """A function that sends a frame's faces to every output."""
    from mftn.drawing import annotate
    from mftn.video import video_writer

    row = stack.enter_context(sink(arguments.output, kind, persons))
    video = stack.enter_context(video_writer(arguments.save_video, clip)) if arguments.save_video else None
    advance = stack.enter_context(progress_bar("frames", clip.frames or None))

    def write(faces: tuple[Face, ...], held: tuple[Prediction, Image | None]) -> None:
        prediction, image = held
        prediction = replace(prediction, faces=faces)
        row(prediction)
        if kind != "table":
            persons.add(prediction)
        if video and image is not None:
            assert prediction.time is not None
            video.write(annotate(image, faces, arguments.top), prediction.time)
        advance(1)

    return write


def _check(arguments: Arguments) -> None:
    from mftn.video import SAVED_SUFFIXES

    check_range("--every", arguments.every, 1)
    check_range("--detect-every", arguments.detect_every, 1)
    check_range("--smooth", arguments.smooth, 0, LONGEST_SMOOTHING_S)
    check_range("--start", arguments.start, 0)
    if arguments.end is not None:
        check_range("--end", arguments.end, arguments.start)
    if arguments.save_video and arguments.save_video.suffix.lower() not in SAVED_SUFFIXES:
        raise ConfigError(f"--save-video {arguments.save_video}: unknown suffix; use {', '.join(SAVED_SUFFIXES)}")


class PersonsTable(Persons):
    """The persons of a video as a table."""

    def table(self) -> Table:
        """One row per person: when it was seen, and how often each expression was the most probable."""
        table = Table(box=None, header_style="bold", pad_edge=False)
        for name in ("person", "from", "to", "frames"):
            table.add_column(name, justify="right")
        table.add_column("expressions")
        for track, person in self.by_track.items():
            ranked = [k for k in (-person.wins).argsort(kind="stable") if person.wins[k]][:4]
            shown = ", ".join(f"{self.labels[k]} {person.wins[k] / person.frames:.0%}" for k in ranked)
            table.add_row(str(track), f"{person.first:.1f} s", f"{person.last:.1f} s", str(person.frames), shown)
        if self.others:
            table.add_row(f"{self.others} more", "", "", "", "seen in fewer frames")
        return table
