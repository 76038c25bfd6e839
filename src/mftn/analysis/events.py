"""Expression events: stretches in which an expression appears, peaks and fades."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mftn.analysis.clock import ROUNDING
from mftn.analysis.settings import Settings
from mftn.analysis.table import Floats
from mftn.labels import EXPRESSIONS

_EQUAL = 1e-7
"""Probabilities that differ by less count as equal: tables store them in single precision, and smoothing rounds too."""


@dataclass(frozen=True, slots=True)
class Event:
    """One event of one person.

    Attributes:
        expression: Which expression.
        onset: Seconds; when its probability reaches the lower threshold.
        apex: Seconds; when its smoothed probability is highest, for the first time if there are ties.
        offset: Seconds; when it falls below the lower threshold.
        duration: Seconds from onset to offset.
        peak: The highest smoothed probability.
        cut_start: Whether it was already under way when the person came into view, so the true onset was not seen.
        cut_end: Whether it was still under way when the person went out of view.
    """

    expression: str
    onset: float
    apex: float
    offset: float
    duration: float
    peak: float
    cut_start: bool
    cut_end: bool


def find_events(times: Floats, durations: Floats, values: Floats, settings: Settings) -> list[Event]:
    """The events of one person, in order of onset.

    Two thresholds keep events from flickering: an event is a stretch at or above `settings.offset` that reaches
    `settings.onset` at some point.

    Args:
        times: (n,) seconds.
        durations: (n,) seconds.
        values: (n, 8) smoothed probabilities.
        settings: Thresholds.
    """
    fresh = new_spans(times, durations, settings.bridge)
    found = []
    for number, name in enumerate(EXPRESSIONS):
        found += _events_of(name, times, times + durations, values[:, number], fresh, settings)
    return sorted(found, key=lambda event: event.onset)


def new_spans(times: Floats, durations: Floats, bridge: float) -> NDArray[np.bool_]:
    """(n,) whether a sample is the first one after the person was out of view for longer than `bridge` seconds."""
    fresh = np.ones(len(times), bool)
    fresh[1:] = times[1:] - (times + durations)[:-1] > bridge + ROUNDING
    return fresh


def _events_of(
    name: str, starts: Floats, ends: Floats, values: Floats, fresh: NDArray[np.bool_], settings: Settings
) -> list[Event]:
    inside = values >= settings.offset - _EQUAL
    if not inside.any():
        return []
    before = np.concatenate([[False], inside[:-1]])
    after = np.concatenate([inside[1:], [False]])
    closing = np.concatenate([fresh[1:], [True]])  # the last sample of a span
    first = np.flatnonzero(inside & (~before | fresh))
    last = np.flatnonzero(inside & (~after | closing))
    found = []
    for begin, end in zip(first.tolist(), last.tolist(), strict=True):
        part = values[begin : end + 1]
        peak = float(part.max())
        apex = begin + int((part >= peak - _EQUAL).argmax())
        duration = float(ends[end] - starts[begin])
        if peak >= settings.onset - _EQUAL and duration >= settings.shortest - ROUNDING:
            times = (float(starts[begin]), float(starts[apex]), float(ends[end]))
            found.append(Event(name, *times, duration, peak, bool(fresh[begin]), bool(closing[end])))
    return found
