"""Reading of clips and webcams: upright frames with square pixels, timed by one clock."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import IO, Any

import numpy as np

from mftn.errors import ImageError, MissingExtraError
from mftn.sources import Kind, classify
from mftn.types import Image
from mftn.video.clock import Clock
from mftn.video.sound import Sound

BROKEN_CLOCK_GAP_S, LONGEST_GAP_S = 10.0, 86400.0
"""Longest plausible gap in seconds: for formats and cameras whose timestamps may jump, and for all others."""


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One frame of a clip.

    Attributes:
        number: From 0, counting every decoded frame.
        time: Its timestamp in seconds from the clip's first frame; later than that of the frame before.
        image: Upright, H×W×3, with square pixels.
    """

    number: int
    time: float
    image: Image


CLIENT_OPTIONS = {
    "format_whitelist": "mov,matroska,avi,mpeg,mpegts,asf",
    "protocol_whitelist": "none",
}
"""FFmpeg's options for a stranger's clip: no playlists, which would open the files and addresses that they name."""


class Clip:
    """A clip or a webcam, read frame by frame.

    Args:
        source: A file, or a webcam's number; with `file` its name alone.
        start: Time in seconds of the first frame to give.
        end: Time in seconds of the last frame to give; None for all.
        every: Give every Nth frame.
        file: The content from a stranger, open for reading in binary mode and seekable.

    Attributes:
        path: The file, webcam or address.
        source: The same as tables and messages show it.
        live: Whether it is a webcam or a live stream.
        frames: Number of frames according to the file; 0 if unknown.
        rate: Frames per second on average.
        damaged: Packets that could not be decoded so far.
        clock: The clock of all decoded frames.
        sound: The first audio stream, once `keep_sound` was called.

    Raises:
        ImageError: It cannot be opened, or holds no images.
        MissingExtraError: PyAV is not installed.
    """

    def __init__(
        self, source: str, start: float = 0.0, end: float | None = None, every: int = 1, file: IO[bytes] | None = None
    ) -> None:
        av = load_av()
        self.path, self.start, self.end, self.every, self.damaged = source, start, end, every, 0
        found = None if file else classify(source)
        self.source, self.live = (found.name, found.live) if found else (source, False)
        if not file and "://" not in source and not self.live and not Path(source).is_file():
            raise ImageError(f"{source}: no such file; check the path")
        try:
            if file:
                self.container = av.open(file, options=CLIENT_OPTIONS)
            elif found and found.kind is Kind.CAMERA:
                self.container = av.open(f"/dev/video{source}" if source.isdigit() else source, format="v4l2")
            else:
                self.container = av.open(source)
        except (av.FFmpegError, OSError) as error:
            reason = error.strerror or error  # its text would hold an address's password
            raise ImageError(f"{self.source}: cannot be opened as a video ({reason}); check that it plays") from error
        if not self.container.streams.video:
            raise ImageError(f"{self.source}: holds no images; is it sound alone?")
        self.stream = self.container.streams.video[0]
        self.stream.thread_type = "AUTO"
        self.frames: int = 0 if start or end is not None else -(-self.stream.frames // every)
        self.rate = _sensible_rate(self.stream)
        self.jumps = self.live or bool(self.container.format.flags & av.format.Flags.ts_discont.value)
        self.clock = Clock(1 / float(self.rate), BROKEN_CLOCK_GAP_S if self.jumps else LONGEST_GAP_S)
        self.sound: Sound | None = None
        self._declared = _declared_end(self.container, self.stream)
        self._ended_by_choice = False
        self._reached = 0.0  # the latest raw timestamp in any stream, seconds
        self._broken_last: dict[int, bool] = {}  # stream → whether its latest packet is incomplete

    def keep_sound(self) -> Sound | None:
        """Read the sound along with the frames; None where there is none. Call it before the first frame."""
        if self.sound is None and not self.live and self.container.streams.audio:
            self.sound = Sound(self.container.streams.audio[0], self.clock, self.start, self.end)
        return self.sound

    def __iter__(self) -> Iterator[Frame]:
        """Frames in order; those that cannot be decoded are skipped and counted.

        Raises:
            ImageError: At the end, if there was no frame to give.
        """
        number, given = -1, 0
        for raw in self._decoded():
            number += 1
            time = self.clock.tick(raw.time)
            if self.sound:
                self.sound.settle()
            if self.end is not None and time > self.end:
                self._ended_by_choice = True
                break
            if time >= self.start and number % self.every == 0:
                given += 1
                yield Frame(number, time, self._image(raw))
        if self._ended_by_choice and self.sound:
            self._read_sound_to_the_end()
        if not given:
            raise ImageError(f"{self.source}: {self._why_empty(number + 1)}")

    def _why_empty(self, decoded: int) -> str:
        if not decoded:
            return "no frame could be read"
        length = (self.clock.time or 0.0) + self.clock.step
        if self.start >= length and not self._ended_by_choice:
            return f"the start at {self.start:g} s is beyond the end of the clip at {length:.1f} s"
        return "no frame lies between start and end"

    def cut_off(self) -> str | None:
        """After the last frame: how the file was cut off, or None if it is complete."""
        if self.jumps or self._ended_by_choice or self.clock.time is None:
            return None
        missing = self._declared - self._reached
        ended = self.clock.time + self.clock.step
        if missing > max(0.5, 0.005 * self._declared, 3 * self.clock.step):
            return f"the file is cut off: it ends at {ended:.1f} s of {ended + missing:.1f} s"
        if any(self._broken_last.values()):
            return f"the file is cut off: it ends at {ended:.1f} s, in the middle of a frame"
        return None

    def close(self) -> None:
        """Close the file or the camera."""
        self.container.close()

    def _decoded(self) -> Iterator[Any]:
        av = load_av()
        for packet in self._packets():
            incomplete = packet.is_corrupt and not self.jumps  # threads would lose whole frames along with it
            if packet.stream is not self.stream or incomplete:
                continue
            try:
                yield from packet.decode()
            except av.FFmpegError:
                self.damaged += 1

    def _packets(self) -> Iterator[Any]:
        """Packets of all streams until the file ends; those of sound are collected on the way."""
        av = load_av()
        packets = self.container.demux()
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except av.FFmpegError:  # the file ends in the middle
                self.damaged += 1
                self._broken_last[-1] = True
                return
            if packet.size:
                self._broken_last[packet.stream.index] = packet.is_corrupt
            if packet.pts is not None:
                self._reached = max(self._reached, float((packet.pts + (packet.duration or 0)) * packet.time_base))
            if self.sound and packet.stream is self.sound.stream and packet.dts is not None:
                self.sound.add(packet)
            yield packet

    def _read_sound_to_the_end(self) -> None:
        """Read on: sound may be stored later in the file than the frames it belongs to."""
        assert self.sound is not None and self.end is not None
        limit = self._reached + BROKEN_CLOCK_GAP_S
        for _ in self._packets():
            if self.sound.complete or self._reached > limit:
                return

    def _image(self, raw: Any) -> Image:
        """The frame's pixels, upright and square."""
        shape = float(self.stream.sample_aspect_ratio or 1)
        width, height = raw.width, raw.height
        if 0.25 <= shape <= 4 and shape != 1:  # others are mistakes
            width, height = (round(width * shape), height) if shape > 1 else (width, round(height / shape))
        pixels = raw.to_ndarray(width=width, height=height, format="rgb24")
        turns = round(raw.rotation / 90) % 4
        return np.ascontiguousarray(np.rot90(pixels, turns)) if turns else pixels


def _declared_end(container: Any, stream: Any) -> float:
    """The last timestamp in seconds according to the file's header; 0 if it has none."""
    if container.format.name == "avi" and stream.average_rate:  # the duration is guessed from the file's size
        return float(stream.frames / stream.average_rate)
    return (container.duration or 0) / 1e6


def _sensible_rate(stream: Any) -> Fraction:
    """Frames per second; 25 if the file's own figure is missing or implausible."""
    rate = Fraction(stream.average_rate or stream.guessed_rate or 25)
    return rate if Fraction(1, 3600) <= rate <= 1000 else Fraction(25)


def load_av() -> Any:
    """PyAV.

    Raises:
        MissingExtraError: It is not installed.
    """
    try:
        import av
    except ModuleNotFoundError as error:
        raise MissingExtraError("video", "video") from error
    return av
