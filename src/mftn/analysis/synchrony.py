"""Synchrony: whether people's expressions move together more than chance explains.

Two people in one recording: correlation in windows, with the lag at which it is highest; the chance level comes from
pairing the same windows at random. Viewers of one stimulus: inter-subject correlation of each person with the mean of
all others; the chance level comes from shifting each course in time by a random amount. Both preserve how smooth each
person's course is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from mftn.analysis.conditions import SIGNALS
from mftn.analysis.courses import Course, align, nan_mean
from mftn.analysis.settings import Settings
from mftn.analysis.table import Floats

MAX_DRAWS = 1000
"""Maximum number of random draws in a test of synchrony."""

ALL = "all"
"""Name of the mean over viewers."""

MIN_WINDOWS = 5
"""Minimum number of windows for estimating the chance level."""

MIN_SEEN_SHARE = 0.5
"""Smallest share of a window in which both must be seen."""

STILL = 1e-7
"""A course with less variance than this does not move, so nothing can correlate with it."""


@dataclass(frozen=True, slots=True)
class Synchrony:
    """One pair of people, or one person among viewers, and one signal.

    Attributes:
        kind: pair (windowed correlation) or viewers (inter-subject correlation).
        segment: The stretch.
        source: The recording of a pair; None for viewers.
        person: One person; "all" for the mean over viewers.
        other: The other person; "others" for viewers.
        signal: The expression, or valence_index.
        seconds: Seconds in which both people, or the viewer, are seen.
        r: Mean correlation without a lag, by Fisher's z: over windows for a pair; with the others' mean for a viewer.
        peak_r: For a pair, the mean over windows of the highest correlation within the lags.
        lag: For a pair, the median lag of these in seconds; positive where `other` follows `person`.
        chance: Mean of the tested value over random arrangements: `peak_r` of a pair, `r` of viewers.
        p: Share of random arrangements with at least this value, one-sided. NaN where the stretch is too short.
    """

    kind: str
    segment: str
    source: str | None
    person: str
    other: str
    signal: str
    seconds: float
    r: float
    peak_r: float
    lag: float
    chance: float
    p: float


def synchronise(courses: Sequence[Course], settings: Settings, notes: list[str]) -> list[Synchrony]:
    """Every pair in each recording, and every group of viewers of a segment in different recordings.

    Args:
        courses: Everybody's courses over whole segments.
        settings: Windows, lags and draws.
        notes: Receives the people whose repeated viewings are left out.
    """
    together: dict[tuple[str, str, float, float], list[Course]] = {}
    viewers: dict[str, dict[str, Course]] = {}
    for course in courses:
        key = (course.source, course.segment.name, course.segment.start, course.segment.end)
        together.setdefault(key, []).append(course)
        if course.known:
            first = viewers.setdefault(course.segment.name, {}).setdefault(course.person, course)
            if first is not course:
                notes.append(
                    f"{course.source}: {course.person} is seen in {course.segment.name} more than once; only the first "
                    "time counts for the synchrony of viewers"
                )
    found: list[Synchrony] = []
    for group in together.values():
        for one, other in combinations(group, 2):
            found += _pair(one, other, settings)
    for name, each in viewers.items():
        apart = len({course.source for course in each.values()}) == len(each)
        if len(each) > 2 and apart:
            found += _viewers(name, [each[person] for person in sorted(each)], settings)
        elif len(each) > 2:
            notes.append(f"{name}: some of its people share a recording, so they are not compared as viewers")
    if settings.synchrony and not found:
        notes.append(
            "synchrony: nothing to compare; it needs two people whose expressions change in one recording, or one "
            "segment seen by three or more people identified by the study (--people), each in their own recording"
        )
    return found


@dataclass(frozen=True, slots=True, eq=False)
class Windowed:
    """Correlations of two courses in W windows.

    Attributes:
        z: (W,) Fisher's z without a lag; NaN where too little is seen or nothing moves.
        lags: (W,) lag in bins of the highest correlation; positive where the second course is later.
        peaks: (W, W) the highest z within the lags, for each window of one course with each window of the other.
    """

    z: Floats
    lags: Floats
    peaks: Floats


def windowed(one: Floats, other: Floats, window: int, lags: int) -> Windowed:
    """Correlate two courses in consecutive windows.

    Args:
        one: (b,) NaN where not seen.
        other: (b,)
        window: Bins per window; the remainder at the end is left out.
        lags: Bins by which `other` may be later or earlier.
    """
    window = min(window, len(one))
    count = len(one) // window
    starts = window * np.arange(count)[:, None] + np.arange(window)  # (W, window)
    padded = np.concatenate([np.full(lags, np.nan), other, np.full(lags, np.nan)])
    peaks, best, at_once = np.full((count, count), -np.inf), np.full(count, np.nan), np.full(count, np.nan)
    for lag in sorted(range(-lags, lags + 1), key=abs):  # ties go to the smallest lag
        z = np.arctanh(_correlations(one[starts], padded[starts + lags + lag]).clip(-0.9999, 0.9999))
        own = z.diagonal()
        at_once = own.copy() if lag == 0 else at_once
        best = np.where(own > peaks.diagonal(), lag, best)
        peaks = np.fmax(peaks, z)
    return Windowed(at_once, best, np.where(np.isinf(peaks), np.nan, peaks))


def _correlations(one: Floats, other: Floats) -> Floats:
    """(W, V) Pearson's r of each row of one with each row of the other, over the bins in which both are known.

    Args:
        one: (W, w)
        other: (V, w)
    """
    known, known_other = (~np.isnan(values) for values in (one, other))
    x = np.where(known, one - nan_mean(one, axis=1)[:, None], 0.0)
    y = np.where(known_other, other - nan_mean(other, axis=1)[:, None], 0.0)
    here, there = known.astype(float), known_other.astype(float).T
    n = here @ there
    with np.errstate(invalid="ignore", divide="ignore"):
        vx = (x * x) @ there - (x @ there) ** 2 / n
        vy = here @ (y * y).T - (here @ y.T) ** 2 / n
        r = (x @ y.T - (x @ there) * (here @ y.T) / n) / np.sqrt(vx * vy)
    return np.where((n >= max(MIN_SEEN_SHARE * one.shape[1], 3)) & (vx > STILL * n) & (vy > STILL * n), r, np.nan)


def _pair(one: Course, other: Course, settings: Settings) -> Iterator[Synchrony]:
    a, b = one.full(), other.full()
    window, lags = round(settings.synchrony_window * one.rate), round(settings.synchrony_lag * one.rate)
    rng = np.random.default_rng(settings.seed)
    for index, signal in enumerate(SIGNALS):
        x, y = a[:, index], b[:, index]
        found = windowed(x, y, window, lags)
        own = found.peaks.diagonal()
        usable = np.flatnonzero(~np.isnan(own))
        if not len(usable):
            continue
        peaks = found.peaks[np.ix_(usable, usable)]
        draws = MAX_DRAWS if len(usable) >= MIN_WINDOWS else 0
        orders = rng.permuted(np.tile(np.arange(len(usable)), (min(settings.permutations, draws), 1)), axis=1)
        chances = nan_mean(peaks[np.arange(len(usable)), orders], axis=1)
        chance, p = _against(own[usable].mean(), chances)
        yield Synchrony(
            kind="pair",
            segment=one.segment.name,
            source=one.source,
            person=one.person,
            other=other.person,
            signal=signal,
            seconds=float((~(np.isnan(x) | np.isnan(y))).sum() / one.rate),
            r=float(np.tanh(nan_mean(found.z, axis=0))),
            peak_r=float(np.tanh(own[usable].mean())),
            lag=float(np.median(found.lags[usable])) / one.rate,
            chance=chance,
            p=p,
        )


def _viewers(name: str, courses: Sequence[Course], settings: Settings) -> Iterator[Synchrony]:
    rng = np.random.default_rng(settings.seed)
    values = align(courses)  # (C, bins, 9)
    count, bins, _ = values.shape
    draws = min(settings.permutations, MAX_DRAWS) if bins >= 8 else 0
    least = min(round(settings.synchrony_window * courses[0].rate), bins // 4)
    shifts = rng.integers(least, bins - least + 1, (draws, count))
    for index, signal in enumerate(SIGNALS):
        signals = values[:, :, index]
        z = inter_subject(signals)
        chances = np.array([inter_subject(_shifted(signals, row)) for row in shifts]).reshape(-1, count)
        seen = (~np.isnan(signals)).sum(axis=1) / courses[0].rate
        people = [*(course.person for course in courses), ALL]
        z, seen = np.append(z, nan_mean(z, axis=0)), np.append(seen, seen.mean())
        chances = np.column_stack([chances, nan_mean(chances, axis=1)])
        for person, seconds, own, by_chance in zip(people, seen, z, chances.T, strict=True):
            if not np.isnan(own):
                who = (name, None, person, "others", signal, float(seconds))
                r, against = float(np.tanh(own)), _against(own, by_chance)
                yield Synchrony("viewers", *who, r, float("nan"), float("nan"), *against)


def inter_subject(signals: Floats) -> Floats:
    """(C,) Fisher's z of each person with the mean of all others; NaN where nothing moves.

    Args:
        signals: (C, b) NaN where not seen.
    """
    known = ~np.isnan(signals)
    values = np.where(known, signals, 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        others = (values.sum(axis=0) - values) / (known.sum(axis=0) - known)
        both = known & ~np.isnan(others)
        n = both.sum(axis=1)
        x = np.where(both, values - (np.where(both, values, 0).sum(axis=1) / n)[:, None], 0)
        y = np.where(both, others - (np.where(both, others, 0).sum(axis=1) / n)[:, None], 0)
        vx, vy = (x * x).sum(axis=1), (y * y).sum(axis=1)
        r = (x * y).sum(axis=1) / np.sqrt(vx * vy)
    r = np.where((n >= 3) & (vx > STILL * n) & (vy > STILL * n), r, np.nan)
    return np.arctanh(r.clip(-0.9999, 0.9999))


def _shifted(signals: Floats, shifts: NDArray[np.int64]) -> Floats:
    indices = (np.arange(signals.shape[1]) - shifts[:, None]) % signals.shape[1]
    return np.take_along_axis(signals, indices, axis=1)


def _against(observed: float, chances: Floats) -> tuple[float, float]:
    """The mean r of the random draws, and the share of draws that are at least as high as observed."""
    chances = chances[~np.isnan(chances)]
    if not len(chances):
        return float("nan"), float("nan")
    return float(np.tanh(chances.mean())), float(((chances >= observed - 1e-12).sum() + 1) / (len(chances) + 1))
