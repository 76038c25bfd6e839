"""Clips and webcams: frames in with their own times, annotated clips out with the sound kept; needs `mftn[video]`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mftn.errors import ImageError, MissingExtraError
from mftn.types import Image

if TYPE_CHECKING:
    from PIL import Image as PillowImage

SUFFIXES = frozenset({".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".wmv", ".ts", ".mts", ".3gp"})


def is_video(source: str) -> bool:
    """Whether a source is a clip, by its name, or a webcam's number."""
    return source.isdigit() or Path(source).suffix.lower() in SUFFIXES


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One picture of a clip.

    Attributes:
        number: From 0, counting every decoded frame.
        time: Its moment in seconds from the clip's start.
        image: Upright, H×W×3.
    """

    number: int
    time: float
    image: Image


class Clip:
    """A clip or a webcam, read frame by frame.

    Args:
        source: A file, or a webcam's number.
        start: Seconds from where frames are given.
        end: Seconds after which none are.
        every: Give every so-manieth frame.

    Attributes:
        frames: How many the file says it has; 0 where it does not say.
        damaged: Packets that could not be decoded so far.

    Raises:
        ImageError: It cannot be opened, or holds no pictures.
        MissingExtraError: PyAV is not installed.
    """

    def __init__(self, source: str, start: float = 0.0, end: float | None = None, every: int = 1) -> None:
        av = _av()
        self.source, self.start, self.end, self.every, self.damaged = source, start, end, every, 0
        if not source.isdigit() and not Path(source).is_file():
            raise ImageError(f"{source}: no such file; check the path")
        try:
            if source.isdigit():
                self.container = av.open(f"/dev/video{source}", format="v4l2")
            else:
                self.container = av.open(source)
        except (av.FFmpegError, OSError) as error:
            raise ImageError(f"{source}: cannot be opened as a video ({error}); check that it plays") from error
        if not self.container.streams.video:
            raise ImageError(f"{source}: holds no pictures; is it sound alone?")
        self.stream = self.container.streams.video[0]
        self.stream.thread_type = "AUTO"
        self.frames: int = 0 if start or end is not None else -(-self.stream.frames // every)
        self.rate = Fraction(self.stream.average_rate or 25)

    def __iter__(self) -> Iterator[Frame]:
        """Frames in order; what cannot be decoded is skipped and counted."""
        first: float | None = None
        number = -1
        for raw in self._decoded():
            number += 1
            moment = float(raw.time) if raw.time is not None else number / float(self.rate)
            first = moment if first is None else first
            if self.end is not None and moment - first > self.end:
                return
            if moment - first < self.start or number % self.every:
                continue
            pixels = raw.to_ndarray(format="rgb24")
            turns = round(raw.rotation / 90) % 4
            yield Frame(number, moment - first, np.ascontiguousarray(np.rot90(pixels, turns)) if turns else pixels)

    def _decoded(self) -> Iterator[Any]:
        av = _av()
        packets = self.container.demux(self.stream)
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except av.FFmpegError:  # the file ends in the middle
                self.damaged += 1
                return
            try:
                yield from packet.decode()
            except av.FFmpegError:
                self.damaged += 1

    def close(self) -> None:
        """Let go of the file or the camera."""
        self.container.close()


@contextmanager
def video_writer(path: Path, clip: Clip) -> Iterator[VideoWriter]:
    """Writes a clip that takes its name when the block ends, also when it ends by Ctrl-C.

    Args:
        path: An .mp4, .mov or .mkv file.
        clip: Whose rate and sound it gets.
    """
    partial = path.with_name(f"{path.stem}.partial{path.suffix}")
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = VideoWriter(partial, clip)
    try:
        yield writer
    except BaseException as error:
        writer.close()
        if isinstance(error, KeyboardInterrupt) and writer.stream is not None:
            partial.replace(path)
        raise
    writer.close()
    if writer.stream is not None:
        partial.replace(path)


class VideoWriter:
    """Pictures and the clip's sound into a file, each picture at its own time; see `video_writer`."""

    def __init__(self, path: Path, clip: Clip) -> None:
        self.output = _av().open(str(path), "w")
        self.clip, self.last = clip, -1
        self.stream: Any = None
        self.sound: list[Any] = []

    def write(self, picture: PillowImage.Image, time: float) -> None:
        """Add a picture at its moment in seconds."""
        av = _av()
        if self.stream is None:
            self.stream = self.output.add_stream("libx264", rate=self.clip.rate)
            self.stream.width, self.stream.height = (side // 2 * 2 for side in picture.size)
            self.stream.pix_fmt = "yuv420p"
            self.stream.options = {"crf": "20", "preset": "veryfast"}
            self.stream.codec_context.time_base = Fraction(1, 90000)
            self._add_sound()
        frame = av.VideoFrame.from_image(picture.crop((0, 0, self.stream.width, self.stream.height)))
        frame.time_base = Fraction(1, 90000)
        frame.pts = self.last = max(round(time * 90000), self.last + 1)
        self.output.mux(self.stream.encode(frame))
        self._mux_sound(time)

    def _mux_sound(self, until: float) -> None:
        while self.sound and float(self.sound[0].dts * self.sound[0].time_base) <= until:
            self.output.mux(self.sound.pop(0))

    def _add_sound(self) -> None:
        """The clip's own sound, copied without encoding it again; only for files from their start."""
        if self.clip.source.isdigit() or self.clip.start:
            return
        av = _av()
        with av.open(self.clip.source) as container:
            if not container.streams.audio:
                return
            source = container.streams.audio[0]
            stream = self.output.add_stream_from_template(source)
            try:
                for packet in container.demux(source):
                    if packet.dts is None or float(packet.dts * packet.time_base) > (self.clip.end or float("inf")):
                        continue
                    packet.stream = stream
                    self.sound.append(packet)
            except av.FFmpegError:
                pass  # sound as far as it goes

    def close(self) -> None:
        """Finish the file."""
        if self.stream is not None:
            self.output.mux(self.stream.encode(None))
            self._mux_sound(float("inf"))
        self.output.close()


def _av() -> Any:
    try:
        import av
    except ModuleNotFoundError as error:
        raise MissingExtraError("video", "video") from error
    return av
