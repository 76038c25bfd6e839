"""The clock never falls, keeps what makes sense, and goes on where nothing does."""

import math
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mftn.video.clock import Clock

ANYTHING = st.lists(st.none() | st.floats(-1e9, 1e9) | st.sampled_from([math.nan, math.inf, -math.inf, 1e300]))


@given(ANYTHING, st.floats(1e-3, 10), st.floats(0.1, 1e5))
def test_it_rises_from_0_whatever_the_timestamps_are(raw: list[float | None], step: float, max_gap: float) -> None:
    clock = Clock(step, max_gap)
    times = [clock.tick(timestamp) for timestamp in raw]
    assert times[:1] in ([], [0.0])
    for before, after in pairwise(times):
        assert before < after <= before + max_gap * (1 + 1e-9)


@given(st.floats(-1e6, 1e6), st.lists(st.floats(1e-3, 100), min_size=1, max_size=50))
def test_rising_timestamps_are_kept_with_their_gaps(first: float, steps: list[float]) -> None:
    raw = [first]
    for step in steps:
        raw.append(raw[-1] + step)
    clock = Clock(0.04, 100.1)
    assert [clock.tick(timestamp) for timestamp in raw] == pytest.approx(
        [timestamp - first for timestamp in raw], abs=1e-6
    )


@example([(-1.5, 38), (0.0, 6)], 25)
@given(st.lists(st.tuples(st.floats(-1e4, 1e5), st.integers(6, 60)), min_size=1, max_size=6), st.sampled_from([25, 30]))
def test_recordings_behind_one_another_last_as_long_as_together(parts: list[tuple[float, int]], rate: int) -> None:
    clock = Clock(1 / rate, 10.0)
    times = [clock.tick(start + number / rate) for start, count in parts for number in range(count)]
    total = sum(count for _, count in parts)
    length = (total - 1) / rate
    joints = sum(-0.2 < b - a <= 12.5 for (a, _), (b, _) in pairwise(parts))  # may pass for a gap, or a late frame
    assert length - 0.25 * joints - 1e-6 <= times[-1] <= length + 10.2 * joints + 1e-6


@pytest.mark.parametrize("missing", [None, 7.0, math.nan])
def test_without_usable_timestamps_it_counts_frames(missing: float | None) -> None:
    clock = Clock(0.04, 10.0)
    assert [clock.tick(missing) for _ in range(200)] == pytest.approx([0.04 * k for k in range(200)])


def test_a_timestamp_given_twice_or_late_does_not_shift_those_after_it() -> None:
    clock = Clock(0.04, 10.0)
    times = [clock.tick(timestamp) for timestamp in (0.0, 0.04, 0.04, 0.09, 0.14, 0.12, 0.30, 0.34)]
    assert times[-2:] == pytest.approx([0.30, 0.34])
    clock = Clock(1.0, 10.0)
    assert [clock.tick(timestamp) for timestamp in (0.0, 1.0, 2.0, 2.0, 2.5)][-1] == 2.5


def test_after_a_loss_it_goes_on_by_the_time_that_has_passed() -> None:
    clock = Clock(0.04, 10.0)
    clock.resume(5.0)  # before the first frame
    assert [clock.tick(7.0), clock.tick(7.04)] == pytest.approx([0.0, 0.04])
    clock.resume(5.0)
    assert clock.tick(-3.0) == pytest.approx(5.04)
    clock.resume(0.0)
    assert clock.tick(100.0) == pytest.approx(5.08)


def test_it_learns_the_usual_step_for_what_has_no_timestamp() -> None:
    clock = Clock(0.04, 1000.0)
    for number in range(10):
        clock.tick(5.0 * number)
    assert clock.step == 5.0 and clock.tick(None) == 50.0
    assert clock.tick(0.0) == 55.0 and clock.tick(5.0) == 60.0  # a restart
