"""Writes annotated copies: each frame at its own time, with the clip's sound."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mftn.errors import ImageError
from mftn.files import atomic_write
from mftn.sources import classify
from mftn.tags import PROGRAM
from mftn.video.clip import Clip
from mftn.video.device import load_av, open_container

if TYPE_CHECKING:
    from PIL import Image as PillowImage

TICKS_PER_S = 90000
"""Ticks per second of the copy's clock."""

MAX_SHOWN_S = 3600.0
"""Longest time in seconds that one frame is shown; longer gaps repeat it, as .mp4 and .mov cannot hold 6.6 hours."""

PRIMING_SAMPLES = 2112
"""Audio samples that encoders insert before the first frame; players skip them."""

SOUND_OVERLAP_S = 0.001
"""Seconds by which sound packets may overlap because of rounding."""

AAC_RATES = (48000, 96000, 88200, 64000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350)
"""Sample rates that AAC supports; the first is used for all others."""

SAVED_SUFFIXES = (".mp4", ".mov", ".mkv")
"""File extensions of copies."""


@contextmanager
def video_writer(path: Path, clip: Clip) -> Iterator[VideoWriter]:
    """Write a copy, which appears under its name when the block ends, even by Ctrl-C.

    Args:
        path: A file with one of `SAVED_SUFFIXES`.
        clip: The clip that provides its rate and sound.

    Raises:
        ImageError: The block wrote no frame.
        OutputError: The file cannot be written.
    """
    with atomic_write(path, keep=True, real_suffix=True) as partial:
        writer = VideoWriter(partial, clip)
        try:
            yield writer
        finally:
            writer.close()
        if writer.stream is None:
            raise ImageError(f"{clip.source}: no frame to write to {path}")


class VideoWriter:
    """Writes frames and the clip's sound to a file; see `video_writer`.

    Args:
        path: The file to write.
        clip: The clip that provides the rate and the sound; the caller reads its frames meanwhile.
    """

    def __init__(self, path: Path, clip: Clip) -> None:
        self.output = load_av().open(str(path.absolute()), "w")  # to FFmpeg, a relative 12:30.mp4 is a protocol
        self.output.metadata["comment"] = PROGRAM
        self.path, self.clip, self.sound = path, clip, clip.keep_sound()
        self.stream: Any = None
        self.soundtrack: _Soundtrack | None = None
        self.begin, self.last = 0.0, -1
        self.latest: tuple[Any, float] | None = None  # the latest frame and its time in seconds
        self.broken = False  # a write failed; libavformat crashes on further ones

    def write(self, image: PillowImage.Image, time: float) -> None:
        """Add a frame.

        Args:
            image: An image of any size; all are fitted to the size of the first.
            time: Its timestamp in seconds, on the clip's clock.
        """
        av = load_av()
        if self.stream is None:
            self._start(image.size, time)
        size = (self.stream.width, self.stream.height)
        frame = av.VideoFrame.from_image(_fitted(image, size))
        frame.time_base = Fraction(1, TICKS_PER_S)
        while self.latest and time - self.latest[1] > MAX_SHOWN_S:
            self._encode(self.latest[0], self.latest[1] + MAX_SHOWN_S)
        self._encode(frame, time)

    def close(self) -> None:
        """Finish the file."""
        if self.stream is not None and not self.broken:
            for packet in self.stream.encode(None):
                if packet.pts == self.last:  # the last frame lasts as long as the others
                    packet.duration = round(self.clip.frame_interval_s * TICKS_PER_S)
                self.mux(packet)
            self._mux_sound(float("inf"))
            if self.soundtrack:
                self.soundtrack.close()
        self.output.close()
        if self.stream is None:
            self.path.unlink(missing_ok=True)  # without a frame it is not a valid file

    def mux(self, packets: Any) -> None:
        """Write PyAV packets to the file.

        Raises:
            av.FFmpegError: The file cannot be written.
        """
        try:
            self.output.mux(packets)
        except load_av().FFmpegError:
            self.broken = True
            raise

    def _encode(self, frame: Any, time: float) -> None:
        frame.pts = self.last = max(round((time - self.begin) * TICKS_PER_S), self.last + 1)
        self.mux(self.stream.encode(frame))
        self._mux_sound(time)
        self.latest = frame, time

    def _start(self, size: tuple[int, int], time: float) -> None:
        self.stream = self.output.add_stream("libx264", rate=self.clip.rate)
        self.stream.width, self.stream.height = (max(side // 2 * 2, 2) for side in size)
        self.stream.pix_fmt = "yuv420p"
        self.stream.options = {"crf": "20", "preset": "veryfast"}
        self.stream.codec_context.time_base = Fraction(1, TICKS_PER_S)
        self.begin = time
        if self.sound:
            if self.sound.ready and self.sound.ready[0][1] < time - PRIMING_SAMPLES / self.sound.stream.rate:
                self.begin = self.sound.ready[0][1]
            self.soundtrack = _Soundtrack(self, self.sound.stream)

    def _mux_sound(self, until: float) -> None:
        while self.soundtrack and self.sound and self.sound.ready and self.sound.ready[0][1] <= until:
            self.soundtrack.write(*self.sound.ready.popleft())


class _Soundtrack:
    """The sound of a copy: the original packets if the container can hold them, otherwise AAC.

    Args:
        writer: The writer of the copy.
        source: The clip's audio stream.
    """

    def __init__(self, writer: VideoWriter, source: Any) -> None:
        self.writer, output = writer, writer.output
        self.next = float("-inf")  # end of the sound so far, in seconds
        self.copies = _can_hold(output.format.name, writer.clip.path)
        if self.copies:
            self.stream = output.add_stream_from_template(source)
        else:
            self.stream = output.add_stream("aac", rate=source.rate if source.rate in AAC_RATES else AAC_RATES[0])
            self.stream.codec_context.layout = "mono" if source.channels == 1 else "stereo"

    def write(self, packet: Any, time: float) -> None:
        """Add a packet at a time in seconds on the clip's clock; it is omitted if it overlaps the preceding sound."""
        shift = time - self.writer.begin - float(packet.dts * packet.time_base)
        if self.copies:
            ticks = round(shift / packet.time_base)
            packet.pts, packet.dts = (packet.dts if packet.pts is None else packet.pts) + ticks, packet.dts + ticks
            if self._follows(packet.dts, packet):
                packet.stream = self.stream
                self.writer.mux(packet)
            return
        try:
            frames = packet.decode()
        except load_av().FFmpegError:
            return  # damaged sound becomes silence
        for frame in frames:
            frame.pts = frame.pts and frame.pts + round(shift / frame.time_base)
            if frame.pts is None or self._follows(frame.pts, frame):
                self.writer.mux(self.stream.encode(frame))

    def _follows(self, ticks: int, piece: Any) -> bool:
        start = float(ticks * piece.time_base)
        if start < self.next - SOUND_OVERLAP_S:
            return False
        self.next = start + float((piece.duration or 1) * piece.time_base)
        return True

    def close(self) -> None:
        """Flush the encoder."""
        if not self.copies:
            self.writer.mux(self.stream.encode(None))


def _can_hold(container: str, path: str) -> bool:
    """Whether a container can hold a clip's sound unchanged, tested in memory with its first packets."""
    av = load_av()
    try:
        with open_container(classify(path)) as clip, av.open(io.BytesIO(), "w", format=container) as trial:
            source = clip.streams.audio[0]
            stream = trial.add_stream_from_template(source)
            packets = (packet for packet in islice(clip.demux(), 2000) if packet.stream is source)
            for packet in islice((packet for packet in packets if packet.dts is not None), 10):
                packet.stream = stream
                trial.mux(packet)
    except (av.FFmpegError, ImageError, ValueError):
        return False
    return True


def _fitted(image: PillowImage.Image, size: tuple[int, int]) -> PillowImage.Image:
    """Fit an image to the copy's size: crop an odd pixel or, if the clip's size has changed, scale and pad."""
    from PIL import ImageOps

    if all(0 <= own - wanted <= 1 for own, wanted in zip(image.size, size, strict=True)):
        return image.crop((0, 0, *size))
    return ImageOps.pad(image, size)
