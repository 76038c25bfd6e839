"""Small clips, made with PyAV: moving stripes, photographs, sound, odd containers."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image as PillowImage

FRAGMENTED = {"movflags": "frag_keyframe+empty_moov"}
SAMPLES = 8000


def stripes(count: int, size: tuple[int, int] = (160, 120)) -> list[PillowImage.Image]:
    """A bright stripe that moves over noise."""
    rng = np.random.default_rng(0)
    ground = rng.integers(40, 120, (size[1], size[0], 3), np.uint8)
    images = []
    for number in range(count):
        image = ground.copy()
        image[:, (2 * number) % (size[0] - 20) :][:, :20] = 220
        images.append(PillowImage.fromarray(image))
    return images


def make_clip(
    path: Path,
    images: Sequence[PillowImage.Image],
    milliseconds: Sequence[int] | None = None,
    *,
    sound: str | None = None,
    sound_from: int = 0,
    samples: int = SAMPLES,
    codec: str = "libx264",
    shape: Fraction | None = None,
    options: dict[str, str] | None = None,
    encoder: dict[str, str] | None = None,
) -> Path:
    """A clip of images at their times (25 per second if not given).

    Args:
        sound: Codec of a tone as long as the images; None for no sound.
        sound_from: Milliseconds at which the tone begins.
        samples: Of the tone, per second.
        shape: Width of a pixel divided by its height.
        options: Of the container.
        encoder: Options of the encoder.
    """
    milliseconds = milliseconds or range(0, 40 * len(images), 40)
    with av.open(str(path), "w", options=options or {}) as out:
        stream = _add_video(out, codec, images[0].size, shape, encoder or {})
        voice = out.add_stream(sound, rate=samples) if sound else None
        if voice:
            voice.codec_context.layout = "mono"
        for image, timestamp in zip(images, milliseconds, strict=True):
            frame = av.VideoFrame.from_image(image)
            frame.time_base, frame.pts = Fraction(1, 1000), timestamp
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
        if voice:
            count = samples * (milliseconds[-1] - milliseconds[0] + 40) // 1000
            out.mux(voice.encode(_tone(count, samples, sound_from)))
            out.mux(voice.encode(None))
    return path


def _add_video(
    out: av.container.OutputContainer,
    codec: str,
    size: tuple[int, int],
    shape: Fraction | None,
    encoder: dict[str, str],
) -> av.VideoStream:
    stream = out.add_stream(codec, rate=25)
    stream.width, stream.height = size
    stream.pix_fmt = "yuv420p"
    if codec == "libx264":
        stream.codec_context.time_base = Fraction(1, 1000)
        stream.options = {"g": "10", "preset": "veryfast"} | encoder
    else:
        stream.options = encoder
    if shape:
        stream.codec_context.sample_aspect_ratio = shape
    return stream


def _tone(count: int, samples: int, begin: int) -> av.AudioFrame:
    wave = (np.sin(np.arange(count) * 2 * np.pi * 440 / samples) * 8000).astype(np.int16)[None]
    frame = av.AudioFrame.from_ndarray(wave, format="s16", layout="mono")
    frame.sample_rate, frame.time_base, frame.pts = samples, Fraction(1, samples), begin * samples // 1000
    return frame


def joined(path: Path, *parts: Path) -> Path:
    """Files one behind the other, as `cat` joins recordings."""
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    return path


def truncated(path: Path, share: float = 0.5) -> Path:
    """The first part of a file."""
    content = path.read_bytes()
    short = path.with_name(f"short_{path.name}")
    short.write_bytes(content[: int(share * len(content))])
    return short


def repacked(path: Path, content: Callable[[av.Packet], bytes | None]) -> Path:
    """A copy of a clip whose packets hold what `content` gives for them, without those for which it gives None."""
    copy = path.with_name(f"repacked_{path.name}")
    with av.open(str(path)) as source, av.open(str(copy), "w") as out:
        stream = out.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size and (given := content(packet)) is not None:
                new = av.Packet(given)
                new.pts, new.dts, new.duration = packet.pts, packet.dts, packet.duration
                new.time_base, new.is_keyframe, new.stream = packet.time_base, packet.is_keyframe, stream
                out.mux(new)
    return copy


def without_decoder(path: Path) -> Path:
    """An MP4 file of H.264 that names a codec which no decoder knows."""
    content = path.read_bytes()
    assert b"avc1" in content
    unknown = path.with_name(f"unknown_{path.name}")
    unknown.write_bytes(content.replace(b"avc1", b"zzzz"))
    return unknown


def spans(path: Path) -> dict[str, tuple[float, float]]:
    """First and last second of each kind of stream, by its packets."""
    found: dict[str, tuple[float, float]] = {}
    with av.open(str(path)) as container:
        for packet in container.demux():
            if packet.pts is None:
                continue
            start = float(packet.pts * packet.time_base)
            end = start + float((packet.duration or 0) * packet.time_base)
            first, last = found.get(packet.stream.type, (start, end))
            found[packet.stream.type] = (min(first, start), max(last, end))
    return found


def tone_begins(path: Path) -> float:
    """The second at which the tone is heard first."""
    with av.open(str(path)) as container:
        for frame in container.decode(audio=0):
            wave = np.abs(frame.to_ndarray().astype(float)).max(axis=0)
            wave /= 1.0 if frame.format.name.startswith("flt") else 32768.0
            heard = np.flatnonzero(wave > 0.05)
            if len(heard):
                return float(frame.time) + float(heard[0]) / frame.sample_rate
    raise AssertionError("silence")
