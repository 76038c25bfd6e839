"""Reads clips and webcams: upright frames with square pixels, timed by one clock."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from typing import IO, Any

import numpy as np

from mftn.errors import ImageError, TooManyPixelsError
from mftn.sources import Kind, Source, classify
from mftn.types import Image
from mftn.video.clock import Clock
from mftn.video.device import READ_TIMEOUT_S, load_av, open_container
from mftn.video.sample import ROUNDING_S, nearest
from mftn.video.skip import CONTAINERS, MP4, skip
from mftn.video.sound import Sound

BROKEN_CLOCK_GAP_S, MAX_GAP_S = 10.0, 86400.0
"""Longest plausible gap in seconds: for formats and cameras whose timestamps may jump, and for all others."""

MAX_LOSS_S, FIRST_WAIT_S, MAX_WAIT_S = 600.0, 1.0, 30.0
"""Seconds until a lost stream is abandoned; the first wait between attempts, which doubles; and the longest wait."""

PLAYLISTS = ("hls", "dash")
"""Formats whose files have a size in bytes but refer to streams that may be endless."""


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One frame of a clip.

    Attributes:
        number: Position in the clip from 0, also counting frames before the start.
        time: Timestamp in seconds from the clip's first frame; later than the previous frame's.
        image: Upright, H×W×3, with square pixels.
    """

    number: int
    time: float
    image: Image


class Clip:
    """A clip or a webcam, read frame by frame.

    Args:
        source: A file, a webcam's number, or an address; with `file`, only its name.
        start: Earliest time in seconds of the frames to read.
        end: Latest time in seconds of the frames to read; None for no limit.
        every: Read every Nth frame.
        fps: Instead, read the frames nearest to this many evenly spaced times per second.
        file: Untrusted content, open for reading in binary mode and seekable.
        max_pixels: Largest number of pixels in a decoded frame; None for no limit.
        before_packet: Called before each packet, also before the start; an exception from it ends the clip.
        tell: Called with a message when a live stream is lost.

    Attributes:
        path: The file, webcam or address.
        source: The same, as shown in tables and messages.
        live: Whether it is a webcam or a live stream.
        frames: Number of frames according to the file; 0 if unknown.
        rate: Average frames per second.
        damaged: Number of packets so far that could not be decoded.
        clock: The clock of all decoded frames.
        sound: The first audio stream, once `keep_sound` has been called.

    Raises:
        ImageError: It cannot be opened, contains no video, or its codec has no decoder.
        MissingExtraError: PyAV is not installed.
    """

    def __init__(
        self,
        source: str,
        start: float = 0.0,
        end: float | None = None,
        every: int = 1,
        *,
        fps: float | None = None,
        file: IO[bytes] | None = None,
        max_pixels: int | None = None,
        before_packet: Callable[[], None] = lambda: None,
        tell: Callable[[str], None] = warnings.warn,
    ) -> None:
        found = Source(source, Kind.VIDEO) if file else classify(source)
        self.path, self.source = source, found.name
        self.start, self.end, self.every, self.fps, self.damaged = start, end, every, fps, 0
        if found.error or found.kind in (Kind.FOLDER, Kind.GLOB):
            reason = "is a folder; give a video in it" if found.kind is Kind.FOLDER else "no such file; check the path"
            raise ImageError(found.error or f"{source}: {reason}")
        self._found, self._tell, self._file, self._max_pixels = found, tell, file, max_pixels
        self._before_packet = before_packet
        self.container = open_container(found, file)
        self.live = found.live and not _is_file(self.container)
        self.stream = self._images()
        known = self.stream.frames if not (start or end is not None or fps) else 0
        self.frames: int = -(-known // every)
        self.rate = _sensible_rate(self.stream)
        self.jumps = self.live or bool(self.container.format.flags & load_av().format.Flags.ts_discont.value)
        self.clock = Clock(1 / float(self.rate), BROKEN_CLOCK_GAP_S if self.jumps else MAX_GAP_S)
        self.sound: Sound | None = None
        self._declared = _declared_end(self.container, self.stream)
        self._first_shape = self.stream.codec_context.sample_aspect_ratio
        self._number = -1  # of the latest frame
        self._ended_by_choice = False
        self._reached = 0.0  # the latest raw timestamp in any stream, seconds
        self._stalled: float | None = None  # when the last read that timed out began
        self._broken_last: dict[int, bool] = {}  # stream → whether its latest packet is incomplete

    @property
    def frame_interval_s(self) -> float:
        """Usual time in seconds from one frame read to the next."""
        return 1 / self.fps if self.fps else self.clock.step * self.every

    def _images(self) -> Any:
        """The container's first video stream."""
        stream = self.container.streams.video[0]
        stream.thread_type = "AUTO"
        if self._max_pixels:
            stream.codec_context.options = {"max_pixels": str(self._max_pixels)}
        return stream

    def keep_sound(self) -> Sound | None:
        """Read the sound along with the frames; None if there is none. Call it before reading the first frame."""
        if self.sound is None and not self.live and self.container.streams.audio:
            self.sound = Sound(self.container.streams.audio[0], self.clock, self.start, self.end)
        return self.sound

    def __iter__(self) -> Iterator[Frame]:
        """Frames in order; those that cannot be decoded are skipped and counted.

        Raises:
            ImageError: At the end, if there was no frame.
            TooManyPixelsError: A frame has more than `max_pixels` with square pixels.
        """
        given, chosen = 0, self._timed()
        if self.fps:
            chosen = nearest(chosen, self.fps, self.start, self.clock)
        for number, seconds, raw in chosen:
            if self.fps or number % self.every == 0:
                given += 1
                yield Frame(number, seconds, self._image(raw))
        if self._ended_by_choice and self.sound:
            self._read_sound_to_the_end()
        if not given:
            raise ImageError(f"{self.source}: {self._why_empty()}")

    def _timed(self) -> Iterator[tuple[int, float, Any]]:
        """The frames from start to end, with numbers and times."""
        for raw in self._decoded():
            self._number += 1
            now = self.clock.tick(raw.time)
            if self.sound:
                self.sound.settle()
            if self.end is not None and now > self.end + ROUNDING_S:
                self._ended_by_choice = True
                return
            if now >= self.start - ROUNDING_S:
                yield self._number, now, raw

    def _why_empty(self) -> str:
        if self._number < 0:
            return "no frame could be read"
        length = (self.clock.time or 0.0) + self.clock.step
        if self.start >= length and not self._ended_by_choice:
            return f"the start at {self.start:g} s is beyond the end of the clip at {length:.1f} s"
        return "no frame between start and end"

    def cut_off(self) -> str | None:
        """After the last frame: how the file was truncated, or None if it is complete."""
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
        """PyAV's decoded frames."""
        if self.live:
            yield from self._decoded_live()
        packets, first = self._image_packets(), None
        if self.start and not self._file and self.container.format.name in CONTAINERS and not self._may_hold_fields():
            skipped = skip(packets, self.clock, self.start)
            self._number, first, packets = skipped.frames - 1, skipped.first, chain(skipped.packets, packets)
        for raw in self._decode(packets):
            if first is None or raw.time is None or raw.time >= first:
                first = None
                yield raw

    def _decoded_live(self) -> Iterator[Any]:
        """Frames of a live source, which is reopened when it is lost.

        Raises:
            ImageError: It did not come back, or delivers no more frames.
        """
        lost: float | None = None  # when the source was lost
        while True:
            for raw in self._decode(self._image_packets()):
                if lost is not None:
                    self.clock.resume(time.monotonic() - lost)
                    lost = None
                yield raw
            if lost is None:
                lost, wait, self._stalled = self._stalled or time.monotonic(), FIRST_WAIT_S, None
                self._tell(f"{self.source}: the connection was lost; trying to reconnect for {MAX_LOSS_S:.0f} s")
            elif time.monotonic() - lost > MAX_LOSS_S:
                raise ImageError(f"{self.source}: can be opened, but has delivered no frame for {MAX_LOSS_S:.0f} s")
            wait = self._reconnect(lost, wait)

    def _reconnect(self, lost: float, wait: float) -> float:
        """Reopen a live source, with increasing waits between attempts; the next wait in seconds."""
        self.container.close()
        while True:
            time.sleep(wait)
            wait = min(2 * wait, MAX_WAIT_S)
            try:
                self.container = open_container(self._found)
            except ImageError:
                if time.monotonic() - lost > MAX_LOSS_S:
                    raise
            else:
                self.stream = self._images()
                return wait

    def _may_hold_fields(self) -> bool:
        """Whether a packet may hold half a frame, so that packets do not count frames."""
        with open_container(self._found) as container:
            try:
                return bool(next(container.decode(video=0)).interlaced_frame)
            except (load_av().FFmpegError, StopIteration):
                return True

    def _decode(self, packets: Iterable[Any]) -> Iterator[Any]:
        av = load_av()
        for packet in packets:
            try:
                yield from packet.decode()
            except av.FFmpegError:
                self.damaged += 1

    def _image_packets(self) -> Iterator[Any]:
        for packet in self._packets():
            incomplete = packet.is_corrupt and not self.jumps  # threads would lose whole frames along with it
            if packet.stream is self.stream and not incomplete:
                yield packet

    def _packets(self) -> Iterator[Any]:
        """Packets of all streams until the file ends; sound packets are also collected."""
        av = load_av()
        packets = self.container.demux()
        while True:
            self._before_packet()
            asked = time.monotonic()
            try:
                packet = next(packets)
            except StopIteration:
                return
            except av.FFmpegError:  # the file ends in the middle
                self.damaged += not self.live
                self._broken_last[-1] = True
                packet = av.Packet()  # empty, as at every end: it flushes the frames that the decoder still holds
                packet.stream, packet.time_base = self.stream, self.stream.time_base
            if time.monotonic() - asked >= READ_TIMEOUT_S:
                self._stalled = asked
            if packet.size:
                self._broken_last[packet.stream.index] = packet.is_corrupt
            if packet.pts is not None:
                self._reached = max(self._reached, float((packet.pts + (packet.duration or 0)) * packet.time_base))
            if self.sound and packet.stream is self.sound.stream and packet.dts is not None:
                self.sound.add(packet)
            yield packet

    def _read_sound_to_the_end(self) -> None:
        """Keep reading: sound may be stored later in the file than the frames it belongs to."""
        assert self.sound is not None and self.end is not None
        limit = self._reached + BROKEN_CLOCK_GAP_S
        for _ in self._packets():
            if self.sound.complete or self._reached > limit:
                return

    def _pixel_shape(self) -> float:
        """Width of a pixel divided by its height; broadcasts change it from programme to programme.

        Frames do not carry it. The decoder does, a frame or two early; until it changes, the container's value counts.
        """
        now = self.stream.codec_context.sample_aspect_ratio
        return float((now if now != self._first_shape else self.stream.sample_aspect_ratio) or 1)

    def _image(self, raw: Any) -> Image:
        """The frame's pixels, upright and square."""
        shape = self._pixel_shape()
        width, height = raw.width, raw.height
        if 0.25 <= shape <= 4 and shape != 1:  # other values are mistakes
            width, height = (round(width * shape), height) if shape > 1 else (width, round(height / shape))
        if self._max_pixels and width * height > self._max_pixels:  # FFmpeg's own limit applies to stored pixels
            size = f"{width}×{height} pixels once they are square"
            raise TooManyPixelsError(f"{self.source}: its frames have {size}, and the limit is {self._max_pixels}")
        return _upright(raw.to_ndarray(width=width, height=height, format="rgb24"), raw)


def _upright(pixels: Image, raw: Any) -> Image:
    """The pixels of a frame, rotated and flipped as its file specifies."""
    matrix = raw.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return pixels
    # Fixed-point numbers [[a, b, u], [c, d, v], [x, y, w]] that move (x, y) to (ax + cy, bx + dy), as in ISO 14496-12.
    (a, b), (c, d) = np.frombuffer(matrix, np.int32).reshape(3, 3)[:2, :2].astype(float)
    turns = round(np.arctan2(-b, a) / (np.pi / 2)) % 4
    return np.ascontiguousarray(np.rot90(pixels[::-1] if a * d < b * c else pixels, turns))


def _is_file(container: Any) -> bool:
    """Whether the content at an address is finite: it has a duration or, over HTTP, a size; or it is one image."""
    name = container.format.name
    return bool(container.duration) or name.endswith("_pipe") or (container.size > 0 and name not in PLAYLISTS)


def _declared_end(container: Any, stream: Any) -> float:
    """The last timestamp in seconds according to the file's header; 0 if it has none."""
    if container.format.name == "avi" and stream.average_rate:  # the duration is only estimated from the file's size
        return float(stream.frames / stream.average_rate)
    begin = container.start_time or 0 if container.format.name == MP4 else 0  # other formats' durations include it
    return (begin + (container.duration or 0)) / 1e6


def _sensible_rate(stream: Any) -> Fraction:
    """Frames per second; 25 if the file's own value is missing or implausible."""
    rate = Fraction(stream.average_rate or stream.guessed_rate or 25)
    return rate if Fraction(1, 3600) <= rate <= 1000 else Fraction(25)
