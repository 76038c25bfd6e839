from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from statsmodels.stats.weightstats import DescrStatsW

import mftn
from mftn.analysis.clock import Integral, make_clock, overlaps, smooth
from mftn.analysis.measures import measure, top_shares
from mftn.analysis.valence import valence_index
from mftn.labels import EXPRESSIONS

Faces = Callable[..., pd.DataFrame]


def row(frame: pd.DataFrame, **where: object) -> pd.Series:
    for name, value in where.items():
        frame = frame[frame[name] == value]
    assert len(frame) == 1
    return frame.iloc[0]


@settings(max_examples=50)
@given(st.integers(2, 60), st.integers(0, 2**32 - 1))
def test_weighted_measures_agree_with_statsmodels_and_numpy(n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    values, weights = rng.random((n, 3)), rng.uniform(0.01, 2, n)
    begins = np.cumsum(rng.uniform(2, 3, n))
    found = measure(values, weights, begins)
    oracle = DescrStatsW(values, weights)
    np.testing.assert_allclose(found.mean, oracle.mean)
    np.testing.assert_allclose(found.sd, oracle.std)
    if np.lib.NumpyVersion(np.__version__) >= "2.0.0":
        for share, ours in ((0.05, found.p05), (0.5, found.p50), (0.95, found.p95)):
            expected = [np.quantile(column, share, weights=weights, method="inverted_cdf") for column in values.T]
            np.testing.assert_allclose(ours, expected)
    centres = begins + weights / 2
    for column, slope in zip(values.T, found.slope, strict=True):
        line = sm.WLS(column, sm.add_constant(centres), weights).fit()
        assert slope == pytest.approx(60 * line.params[1], rel=1e-6, abs=1e-9)
    np.testing.assert_array_equal(found.peak_time, begins[values.argmax(axis=0)])


@settings(max_examples=50)
@given(hnp.arrays(float, st.tuples(st.integers(1, 30), st.just(8)), elements=st.floats(0, 1)))
def test_shares_add_up_to_one(values: np.ndarray) -> None:
    assert top_shares(values, np.full(len(values), 0.04)).sum() == pytest.approx(1)


def test_each_frame_lasts_until_the_next() -> None:
    clock = make_clock(np.array([0, 0.1, 0.2, 0.7, 0.8]))
    np.testing.assert_allclose(clock.durations, [0.1, 0.1, 0.5, 0.1, 0.1])
    assert clock.gaps == 0 and clock.end == pytest.approx(0.9)


def test_frames_too_far_apart_have_a_gap_between_them() -> None:
    clock = make_clock(np.array([0, 0.1, 0.2, 5.2, 5.3]))
    np.testing.assert_allclose(clock.durations, [0.1, 0.1, 0.1, 0.1, 0.1])
    assert clock.gaps == pytest.approx(4.9)
    assert make_clock(np.arange(5) * 2.0).gaps == 0  # every other second is this recording's usual interval
    assert make_clock(np.array([0, 0.1, 0.2, 0.7, 0.8]), max_gap=0.3).gaps == pytest.approx(0.4)


def test_an_interval_as_long_as_the_longest_is_no_gap() -> None:
    clock = make_clock(np.arange(50) / 10, max_gap=0.1)
    np.testing.assert_array_equal(clock.durations[:-1], np.diff(np.arange(50) / 10))


@settings(max_examples=50)
@given(st.integers(2, 40), st.floats(0, 20), st.floats(0.01, 10), st.integers(0, 2**32 - 1))
def test_overlaps_add_up_to_the_part_of_the_recording(n: int, start: float, length: float, seed: int) -> None:
    times = np.cumsum(np.random.default_rng(seed).uniform(0.02, 0.9, n))
    clock = make_clock(times)
    part, begins, seconds = overlaps(clock.times, clock.durations, start, start + length)
    inside = max(min(start + length, clock.end) - max(start, clock.start), 0)
    assert seconds.sum() == pytest.approx(inside, abs=1e-9)
    assert ((begins >= start - 1e-12) & (begins >= clock.times[part])).all()


def test_means_over_stretches_are_those_of_a_fine_grid() -> None:
    rng = np.random.default_rng(0)
    times = np.cumsum(rng.uniform(0.02, 0.3, 60))
    durations = np.minimum(np.append(np.diff(times), 0.1), 0.2)  # with unseen time between
    values = rng.random((60, 2))
    fine = np.arange(0, 12, 0.0005) + 0.00025
    owner = np.searchsorted(times, fine, side="right") - 1
    seen = (owner >= 0) & (fine < times[owner] + durations[owner])
    starts, ends = np.array([0.0, 1.0, 2.5, 11.0]), np.array([1.0, 2.2, 6.0, 12.0])
    means, seconds = Integral(times, durations, values).means(starts, ends)
    for place, (start, end) in enumerate(zip(starts, ends, strict=True)):
        chosen = seen & (fine >= start) & (fine < end)
        assert seconds[place] == pytest.approx(chosen.sum() * 0.0005, abs=0.01)
        if chosen.any():
            np.testing.assert_allclose(means[place], values[owner[chosen]].mean(axis=0), atol=0.01)
        else:
            assert np.isnan(means[place]).all()


def test_smoothing_delays_nothing() -> None:
    times = np.arange(200) / 20
    step = (times >= 5).astype(float)[:, None]
    smoothed = smooth(times, np.full(200, 0.05), step, 0.6)[:, 0]
    assert times[np.argmax(smoothed >= 0.5)] == pytest.approx(5, abs=0.051)
    np.testing.assert_allclose(smoothed + smoothed[::-1], 1, atol=1e-9)


def test_a_recording_of_unequal_intervals_is_weighted_by_time(faces: Faces) -> None:
    times = np.concatenate(
        [np.arange(0, 4, 0.5), np.arange(4, 6, 0.04)]
    )  # 4 s neutral in 8 frames, 2 s happiness in 50
    shown = ["neutral" if time < 4 else "happiness" for time in times]
    found = row(mftn.summarize(faces("a.mp4", times, shown)).expressions, expression="happiness")
    assert found["share"] == pytest.approx(2 / 6, abs=1e-6)
    assert found["mean"] == pytest.approx((4 * 0.01 + 2 * 0.93) / 6, abs=1e-6)
    assert found["seen"] == pytest.approx(6)


def test_unseen_time_inside_a_segment_is_missing(faces: Faces) -> None:
    shown = ["happiness"] * 20 + [None] * 15 + ["neutral"] * 15
    summary = mftn.summarize(
        faces("a.mp4", np.arange(50) / 10, shown), segments=pd.DataFrame({"name": ["x"], "start": [1], "end": [8]})
    )
    person = summary.persons.iloc[0]
    assert person["duration"] == 7
    assert person["seen"] == pytest.approx(2.5)
    assert person["missing"] == pytest.approx(4.5)
    assert person["unrecorded"] == pytest.approx(3)
    assert (person["frames"], person["frames_missing"]) == (25, 15)
    assert row(summary.expressions, expression="happiness")["share"] == pytest.approx(1 / 2.5)
    assert any("segment x ends at 8 s, the recording at 5.00 s" in note for note in summary.notes)


def test_windows_cut_segments_and_their_means_add_up(faces: Faces) -> None:
    values = np.random.default_rng(1).dirichlet(np.ones(8), 173)
    rows = faces("a.mp4", np.arange(173) / 25, values)
    summary = mftn.summarize(rows, window="2s")
    windows = summary.windows[summary.windows["expression"] == "sadness"]
    assert windows["start"].tolist() == [0, 2, 4, 6]
    assert windows["end"].iloc[-1] == pytest.approx(173 / 25)
    whole = row(summary.expressions, expression="sadness")
    assert np.average(windows["mean"], weights=windows["seen"]) == pytest.approx(whole["mean"])
    assert windows["peak"].max() == whole["peak"]


def test_rounding_lets_no_neighbour_into_a_stretch(faces: Faces) -> None:
    values = np.random.default_rng(2).dirichlet(np.ones(8), 100)
    summary = mftn.summarize(faces("a.mp4", np.arange(100) / 10, values), window=0.1)
    windows = summary.windows[summary.windows["expression"] == "fear"]
    np.testing.assert_allclose(windows["peak"], values[:, EXPRESSIONS.index("fear")], rtol=1e-6)
    segments = pd.DataFrame({"name": [f"{k}" for k in range(9)], "start": 0.3 + np.arange(9) / 10, "end": 5})
    persons = mftn.summarize(faces("a.mp4", np.arange(100) / 10, values), segments=segments).persons
    assert persons["frames"].tolist() == [47, 46, 45, 44, 43, 42, 41, 40, 39]


def test_the_valence_index_is_the_published_formula() -> None:
    order = ["neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt"]
    assert list(EXPRESSIONS) == order
    values = np.array(
        [[0.0, 0.8, 0, 0.2, 0.0, 0.2, 0.3, 0.0], [0, 0.0, 0.9, 0, 0, 0, 0, 1.0], [0, 0.1, 0, 0, 0, 0.7, 0, 0]]
    )
    np.testing.assert_allclose(valence_index(values), [0.5, 0.0, -0.6])


def test_images_of_a_person_are_measured_together(faces: Faces) -> None:
    names = ["1_neutral.jpg", "1_smile.jpg", "2_neutral.jpg", "2_smile.jpg", "3_smile.jpg"]
    shown = ["neutral", "happiness", "neutral", "happiness", None]
    parts = [
        faces(name, [0], [what]).assign(time=None, frame=None, track=None)
        for name, what in zip(names, shown, strict=True)
    ]
    people = pd.DataFrame({"source": names, "person": ["A", "A", "B", "B", "C"]})
    poses = pd.DataFrame({"source": names, "name": ["neutral", "smile", "neutral", "smile", "smile"]})
    summary = mftn.summarize(pd.concat(parts), people=people, segments=poses, baseline="neutral")
    found = summary.expressions[summary.expressions["expression"] == "happiness"].set_index(["person", "segment"])
    assert found.loc[("A", "smile"), "difference"] == pytest.approx(0.92)
    assert found.loc[("B", "neutral"), "difference"] == pytest.approx(0)
    assert found["peak_time"].isna().all() and found["seen"].isna().all()
    persons = summary.persons.set_index("person")
    assert (persons.loc["C", "frames"], persons.loc["C", "frames_missing"]) == (0, 1)
    assert any(note.startswith("C: is never seen in the baseline") for note in summary.notes)
