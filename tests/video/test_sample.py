"""Sampling in seconds: frames nearest to k/fps, at constant and at uneven rates."""

import sys
from pathlib import Path
from time import perf_counter

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
from clips import make_clip, stripes

from mftn.video import Clip
from mftn.video.clock import Clock
from mftn.video.sample import nearest


def sampled(times: list[float], rate: float, start: float = 0.0) -> list[int]:
    clock = Clock(0.04, 100.0)
    for time in times:
        clock.tick(time)
    return [number for number, _, _ in nearest([(k, t, None) for k, t in enumerate(times)], rate, start, clock)]


def test_frames_nearest_to_even_times() -> None:
    times = [0.04 * k for k in range(50)]
    assert sampled(times, 2) == [0, 12, 25, 37]
    assert sampled(times, 25) == list(range(50))
    assert sampled(times, 100) == list(range(50))
    assert sampled([0.0, 0.4, 0.55, 9.0, 9.1], 2) == [0, 2, 3]
    assert sampled([time for time in times if time >= 1], 2, start=1.0) == [0, 12]
    assert sampled([0.04 * k for k in range(7, 20)], 25, start=0.28) == list(range(13))  # 0.28 * 25 > 7
    assert sampled(times, 1 / 1.98) == [0, 49]  # the last frame is shown until 2.0


@pytest.mark.parametrize("seed", range(5))
def test_uneven_frames(seed: int) -> None:
    rng = np.random.default_rng(seed)
    times = np.cumsum([0, *rng.uniform(0.005, 0.4, 80)])
    for rate in (0.5, 2.0, 7.0):
        chosen = sampled(times.tolist(), rate)
        wanted = np.arange(int(times[-1] * rate) + 1) / rate
        best = {int(np.abs(times - each).argmin()) for each in wanted}
        assert chosen == sorted(set(chosen)) and best <= set(chosen) and len(set(chosen) - best) <= 1


def test_a_gap_of_a_day_takes_no_time() -> None:
    started = perf_counter()
    assert sampled([0.0, 0.04, 86_400.0, 86_400.04], 1000) == [0, 1, 2, 3]
    assert perf_counter() - started < 5


def test_a_clip_in_seconds(tmp_path: Path) -> None:
    path = str(make_clip(tmp_path / "a.mp4", stripes(48), [40 * k + (k % 3) for k in range(48)]))
    assert [round(frame.time, 1) for frame in Clip(path, fps=2)] == [0.0, 0.5, 1.0, 1.5]
    assert [round(frame.time, 1) for frame in Clip(path, start=0.5, end=1.02, fps=2)] == [0.5, 1.0]
