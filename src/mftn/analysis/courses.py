"""Courses: what a person shows over a stretch, at a fixed rate, for curves and synchrony."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mftn.analysis.clock import Integral
from mftn.analysis.people import Person
from mftn.analysis.segments import Segment
from mftn.analysis.table import Floats


@dataclass(frozen=True, slots=True, eq=False)
class Course:
    """One person over one stretch.

    Attributes:
        person: Name.
        known: Whether the study identifies the person.
        source: The recording.
        segment: The stretch.
        rate: Values per second.
        first: Index of the first kept bin, counted from the stretch's start; nothing was seen before the kept bins or
            after them.
        values: (b, 9) means over each bin; NaN where the person was seen for less than half of it.
    """

    person: str
    known: bool
    source: str
    segment: Segment
    rate: float
    first: int
    values: NDArray[np.float32]

    @property
    def bins(self) -> int:
        """Bins of the whole stretch."""
        return max(int(np.ceil((self.segment.end - self.segment.start) * self.rate - 1e-9)), 1)

    def full(self) -> Floats:
        """(bins, 9), NaN where nothing was seen."""
        values = np.full((self.bins, self.values.shape[1]), np.nan)
        values[self.first : self.first + len(self.values)] = self.values
        return values


def make_course(person: Person, integral: Integral, segment: Segment, rate: float) -> Course | None:
    """A person's course, or None where they are never seen in the segment."""
    count = max(int(np.ceil((segment.end - segment.start) * rate - 1e-9)), 1)
    first = int(np.clip((person.times[0] - segment.start) * rate, 0, count))
    last = int(np.clip(np.ceil((person.times[-1] + person.durations[-1] - segment.start) * rate), 0, count))
    starts = segment.start + np.arange(first, last) / rate
    ends = np.minimum(starts + 1 / rate, segment.end)
    values, seen = integral.means(starts, ends)
    values[seen < (ends - starts) / 2 - 1e-9] = np.nan
    if np.isnan(values).all():
        return None
    return Course(person.name, person.known, person.source, segment, rate, first, values.astype(np.float32))


def coarser(values: Floats, factor: int) -> Floats:
    """Means of `factor` neighbouring bins, NaN where all are NaN.

    Args:
        values: (b, M)
        factor: How many bins become one.
    """
    if factor <= 1:
        return values
    padded = np.full((-(-len(values) // factor) * factor, values.shape[1]), np.nan)
    padded[: len(values)] = values
    return nan_mean(padded.reshape(-1, factor, values.shape[1]), axis=1)


def nan_mean(values: Floats, axis: int) -> Floats:
    """The mean of the values that are not NaN, without a warning where all are."""
    known = ~np.isnan(values)
    count = known.sum(axis=axis)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(count > 0, np.where(known, values, 0).sum(axis=axis) / count, np.nan)


def align(courses: Sequence[Course], factor: int = 1) -> Floats:
    """(C, bins, 9) courses over the same stimulus, aligned at its start; NaN beyond each course's end.

    Args:
        courses: Courses of one segment.
        factor: How many bins become one.
    """
    count = -(-max(course.bins for course in courses) // factor)
    values = np.full((len(courses), count, courses[0].values.shape[1]), np.nan)
    for number, course in enumerate(courses):
        own = coarser(course.full(), factor)
        values[number, : len(own)] = own
    return values
