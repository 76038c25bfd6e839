"""Skipping to a start time: packets before it are counted and timed, but not decoded."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from mftn.video.clock import Clock

MP4 = "mov,mp4,m4a,3gp,3g2,mj2"
"""FFmpeg's name for the family of .mp4 and .mov formats."""

CONTAINERS = (MP4, "matroska,webm", "mpegts")
"""Containers whose packets hold one frame each, with its timestamp; some of these frames are never shown."""

MAX_HELD_BYTES = 64_000_000
"""Largest total size of held packets in bytes; if keyframes are further apart, decoding begins early."""

VP8_SHOWN = 0x10
"""The bit of the first byte of a VP8 frame that says whether it is shown (RFC 6386, 9.1)."""


@dataclass
class _Group:
    """A keyframe's packet and those up to the next keyframe.

    Attributes:
        number: Number of its first frame.
        clock: State of the clock before it.
        packets: In file order.
        size: Total size of the packets in bytes.
    """

    number: int
    clock: Clock
    packets: list[Any] = field(default_factory=list)
    size: int = 0

    def times(self) -> list[float]:
        """The timestamps of its frames in seconds, in display order."""
        return sorted(float(packet.pts * packet.time_base) for packet in self.packets if _is_shown(packet))


@dataclass(frozen=True)
class Skipped:
    """The result of `skip`.

    Attributes:
        packets: Packets that were read but still need decoding.
        frames: Number of frames skipped.
        first: Timestamp in seconds of the first frame not skipped; a decoder may output earlier ones.
    """

    packets: list[Any]
    frames: int
    first: float | None


def skip(packets: Iterator[Any], clock: Clock, start: float) -> Skipped:
    """Read packets up to a start time; the frames from there on are the same as if all had been decoded.

    The group of frames that contains the start is kept, and also the one before it, which is needed by frames that are
    shown before a keyframe but stored after it.

    Args:
        packets: Packets of the video stream, in file order.
        clock: Set to the last skipped frame.
        start: Start time in seconds.
    """
    before: _Group | None = None
    current: _Group | None = None
    for packet in packets:
        countable = packet.pts is not None and packet.size and not packet.is_corrupt
        if not countable or (current is None and not packet.is_keyframe):
            return _skipped(before, current, [packet], clock)
        if current and not before and packet.pts < current.packets[0].pts:  # frames it needs may be missing
            return _skipped(before, current, [packet], clock)
        if current is None:
            current = _Group(0, deepcopy(clock))
        elif packet.is_keyframe:
            after = deepcopy(current.clock)
            times = current.times()
            for time in times:
                after.tick(time)
            if (after.time or 0.0) >= start:
                return _skipped(before, current, [packet], clock)
            before, current = current, _Group(current.number + len(times), after)
        current.packets.append(packet)
        current.size += packet.size
        if current.size > MAX_HELD_BYTES:
            break
    return _skipped(before, current, [], clock)


def _is_shown(packet: Any) -> bool:
    """Whether a packet holds a frame that is shown: in VP8, some hold only reference data for other frames."""
    hidden = packet.stream.codec_context.name == "vp8" and not memoryview(packet)[0] & VP8_SHOWN
    return not (packet.is_discard or hidden)


def _skipped(before: _Group | None, current: _Group | None, rest: list[Any], clock: Clock) -> Skipped:
    groups = [group for group in (before, current) if group]
    kept = [packet for group in groups for packet in group.packets] + rest
    if not groups or not groups[0].number:
        return Skipped(kept, 0, None)
    key = groups[0].packets[0]
    first = float(key.pts * key.time_base)
    earlier = [time for time in groups[0].times() if time < first]  # they need packets that were dropped
    clock.set(groups[0].clock)
    for time in earlier:
        clock.tick(time)
    return Skipped(kept, groups[0].number + len(earlier), first)
