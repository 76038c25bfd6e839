"""Smoothing is a centred average within one track: no lag, no leak, bounded waiting."""

import tracemalloc
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mftn.types import Face
from mftn.video.smooth import CentredSmoother

LABELS = ("neutral", "happiness")
MOMENTS = st.lists(st.floats(0.001, 2.0), min_size=1, max_size=40)


def face(happiness: float, track: int = 1) -> Face:
    return Face((0, 0, 9, 9), 0.9, None, dict(zip(LABELS, (1 - happiness, happiness), strict=True)), track)


def smoothed(smoother: CentredSmoother[int], frames: list[tuple[float, list[Face]]]) -> list[tuple[Face, ...]]:
    out = [ready for n, (time, faces) in enumerate(frames) for ready in smoother.push(time, faces, n)]
    out += smoother.flush()
    assert [carried for _, carried in out] == list(range(len(frames)))
    return [faces for faces, _ in out]


@given(MOMENTS, st.data(), st.floats(0, 5), st.integers(0, 5))
def test_probabilities_stay_between_those_around(
    steps: list[float], data: st.DataObject, seconds: float, most: int
) -> None:
    times = np.cumsum(steps).tolist()
    values = [data.draw(st.floats(0, 1)) for _ in times]
    frames = [(time, [face(value)]) for time, value in zip(times, values, strict=True)]
    for (time, _), (shown,) in zip(frames, smoothed(CentredSmoother(seconds, most), frames), strict=True):
        near = [value for timestamp, value in zip(times, values, strict=True) if abs(timestamp - time) <= seconds]
        assert min(near) - 1e-9 <= shown.probabilities["happiness"] <= max(near) + 1e-9
        assert sum(shown.probabilities.values()) == pytest.approx(1)


def test_nothing_lags() -> None:
    frames = [(0.04 * n, [face(n / 100)]) for n in range(100)]
    shown = smoothed(CentredSmoother(0.3), frames)
    assert [faces[0].probabilities["happiness"] for faces in shown[10:90]] == pytest.approx(
        [n / 100 for n in range(10, 90)]
    )


def test_noise_is_calmed() -> None:
    noise = np.random.default_rng(0).uniform(0, 1, 300)
    shown = smoothed(CentredSmoother(0.3), [(0.04 * n, [face(value)]) for n, value in enumerate(noise)])
    assert np.std([faces[0].probabilities["happiness"] for faces in shown]) < 0.5 * noise.std()


def test_the_last_frames_are_averaged_too() -> None:
    shown = smoothed(CentredSmoother(0.3), [(0.04 * n, [face(n % 2)]) for n in range(40)])
    assert all(0.3 < faces[0].probabilities["happiness"] < 0.7 for faces in shown[8:])


def test_one_track_does_not_leak_into_another() -> None:
    frames = [(0.04 * n, [face(1.0, track=1) if n < 20 else face(0.0, track=2)]) for n in range(40)]
    shown = smoothed(CentredSmoother(0.5), frames)
    assert [faces[0].probabilities["happiness"] for faces in shown] == pytest.approx([1.0] * 20 + [0.0] * 20)


def test_off_changes_nothing_and_waits_for_nothing() -> None:
    smoother: CentredSmoother[int] = CentredSmoother(0.0)
    for number in range(5):
        given_face = face(number / 5)
        assert list(smoother.push(number / 25, [given_face], number)) == [((given_face,), number)]


def test_memory_does_not_grow_with_the_number_of_frames_or_tracks() -> None:
    smoother: CentredSmoother[int] = CentredSmoother(0.3)
    sizes = []
    tracemalloc.start()
    for number in range(3000):
        list(smoother.push(number / 25, [face(0.5), face(0.5, track=2 + number)], number))
        if number % 1000 == 999:
            sizes.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    assert sizes[-1] < sizes[0] + 100_000


def test_waiting_is_bounded_and_stays_centred() -> None:
    smoother: CentredSmoother[int] = CentredSmoother(10.0, max_pending=8)
    out = []
    for number in range(100):
        out += smoother.push(number / 25, [face(number / 100)], number)
        assert number + 1 - len(out) <= 8
    values = [faces[0].probabilities["happiness"] for faces, _ in out[8:]]
    assert values == pytest.approx([n / 100 for n in range(8, len(out))])
    assert all(a < b for a, b in pairwise(values))
