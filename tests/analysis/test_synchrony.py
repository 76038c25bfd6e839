from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

import mftn
from mftn import Settings
from mftn.analysis.synchrony import inter_subject, windowed

Faces = Callable[..., pd.DataFrame]


def moving(rng: np.random.Generator, n: int) -> np.ndarray:
    """Happiness that comes and goes, in steps of a fifth of a second."""
    course = np.convolve(rng.normal(0, 1, n + 40), np.hanning(21), "same")[20:-20]
    return 0.5 + 0.4 * np.tanh(course / course.std())


def shown(happiness: np.ndarray) -> np.ndarray:
    values = np.zeros((len(happiness), 8))
    values[:, 1], values[:, 0] = happiness, 1 - happiness
    return values


def pair(faces: Faces, one: np.ndarray, other: np.ndarray) -> pd.DataFrame:
    times = np.arange(len(one)) / 10
    return pd.concat([faces("talk.mp4", times, shown(one), 1), faces("talk.mp4", times, shown(other), 2)])


def synchrony(table: pd.DataFrame, **more: object) -> pd.DataFrame:
    summary = mftn.summarize(table, settings=Settings(synchrony=True), **more)  # type: ignore[arg-type]
    return summary.synchrony[summary.synchrony["signal"] == "happiness"]


def test_who_follows_whom_and_how_late_is_found(faces: Faces) -> None:
    rng = np.random.default_rng(0)
    leader = moving(rng, 1500)
    follower = np.roll(leader, 8) + rng.normal(0, 0.02, 1500)  # 0.8 s later
    found = synchrony(pair(faces, leader, follower.clip(0, 1))).iloc[0]
    assert found["lag"] == pytest.approx(0.8)
    assert found["peak_r"] > 0.9 > found["r"]
    assert 0 < found["p"] < 0.01 and found["chance"] < found["peak_r"]


def test_people_who_move_independently_are_not_in_synchrony_more_often_than_chance(faces: Faces) -> None:
    rng = np.random.default_rng(1)
    p = [synchrony(pair(faces, moving(rng, 1200), moving(rng, 1200))).iloc[0]["p"] for _ in range(20)]
    assert sum(value <= 0.05 for value in p) <= 4  # 99.7 % of such draws
    assert min(p) > 0.001 and np.mean(p) == pytest.approx(0.5, abs=0.22)


def test_windowed_correlations_are_pearsons() -> None:
    rng = np.random.default_rng(2)
    one, other = rng.random(100), rng.random(100)
    other[30:34] = np.nan
    found = windowed(one, other, 25, 0)
    for window in range(4):
        part = slice(25 * window, 25 * window + 25)
        known = ~np.isnan(other[part])
        expected = np.corrcoef(one[part][known], other[part][known])[0, 1]
        assert np.tanh(found.z[window]) == pytest.approx(expected)


def test_a_window_in_which_one_is_hardly_seen_does_not_count() -> None:
    one, other = np.random.default_rng(3).random((2, 50))
    other[25:45] = np.nan
    assert np.isnan(windowed(one, other, 25, 0).z).tolist() == [False, True]


def test_of_equal_correlations_the_one_with_the_smallest_lag_counts() -> None:
    periodic = np.sin(2 * np.pi * np.arange(200) / 10)
    assert (windowed(periodic, periodic, 50, 20).lags == 0).all()


def test_a_bin_in_which_a_person_is_seen_for_less_than_half_is_missing(faces: Faces) -> None:
    seen = [*["fear"] * 10, *["fear"] * 4, *[None] * 6, *["fear"] * 5, *[None] * 5, *["fear"] * 10]
    table = faces("a.mp4", np.arange(40) / 10, seen)
    (course,) = mftn.summarize(table, settings=Settings(synchrony_rate=1)).courses
    assert np.isnan(course.full()).all(axis=1).tolist() == [False, True, False, False]


def test_inter_subject_correlation_is_with_the_mean_of_the_others() -> None:
    signals = np.random.default_rng(4).random((5, 80))
    signals[2, 10:20] = np.nan
    found = np.tanh(inter_subject(signals))
    for number in range(5):
        others = np.nanmean(np.delete(signals, number, axis=0), axis=0)
        known = ~np.isnan(signals[number])
        assert found[number] == pytest.approx(np.corrcoef(signals[number][known], others[known])[0, 1])


def test_viewers_of_one_stimulus_are_compared_from_its_start(faces: Faces) -> None:
    rng = np.random.default_rng(5)
    stimulus = moving(rng, 600)
    parts, rows = [], []
    for number in range(6):
        before = 10 * number  # each recording starts earlier by another time
        own = np.concatenate([moving(rng, 50)[:before], 0.7 * stimulus + 0.3 * moving(rng, 600)])
        parts.append(faces(f"v{number}.mp4", np.arange(len(own)) / 10, shown(own.clip(0, 1))))
        rows.append((f"v{number}.mp4", "film", number, number + 60))
    segments = pd.DataFrame(rows, columns=["source", "name", "start", "end"])
    found = synchrony(pd.concat(parts), people="one", segments=segments).set_index("person")
    assert len(found) == 7
    assert found.loc["all", "r"] > 0.6 and found.loc["all", "p"] < 0.01
    unrelated = segments.assign(start=segments["start"] * 0, end=59)
    assert synchrony(pd.concat(parts), people="one", segments=unrelated).set_index("person").loc["all", "r"] < 0.5


def test_conditions_do_not_cut_what_is_compared(faces: Faces) -> None:
    rng = np.random.default_rng(8)
    one = moving(rng, 600)
    talk = pair(faces, one, (0.8 * one + 0.2 * moving(rng, 600)).clip(0, 1))
    people = pd.DataFrame({"source": ["talk"] * 2, "track": [1, 2], "person": ["Ann", "Ben"]})
    roles = pd.DataFrame(
        {
            "person": ["Ann", "Ann", "Ben"],
            "role": ["speaks", "listens", "listens"],
            "start": [0, 30, 0],
            "end": [30, 60, 60],
        }
    )
    whole = synchrony(talk, people=people)
    pd.testing.assert_frame_equal(synchrony(talk, people=people, groups=roles), whole)
    assert whole["seconds"].tolist() == [60]


def test_a_second_viewing_is_noted(faces: Faces) -> None:
    rng = np.random.default_rng(9)
    parts = [faces(f"v{n}.mp4", np.arange(200) / 10, shown(moving(rng, 200))) for n in range(4)]
    people = pd.DataFrame({"source": [f"v{n}" for n in range(4)], "person": ["Ann", "Ben", "Cem", "Ann"]})
    summary = mftn.summarize(pd.concat(parts), people=people, settings=Settings(synchrony=True))
    assert set(summary.synchrony["person"]) == {"Ann", "Ben", "Cem", "all"}
    assert any("v3.mp4: Ann is seen in all more than once" in note for note in summary.notes)


def test_short_stretches_have_no_p(faces: Faces) -> None:
    rng = np.random.default_rng(6)
    assert np.isnan(synchrony(pair(faces, moving(rng, 200), moving(rng, 200))).iloc[0]["p"])


def test_nothing_to_compare_is_noted(faces: Faces) -> None:
    rng = np.random.default_rng(8)
    films = [faces(f"{name}.mp4", np.arange(100) / 10, shown(moving(rng, 100))) for name in "ab"]
    summary = mftn.summarize(pd.concat(films), people="one", settings=mftn.Settings(synchrony=True))
    assert any(note.startswith("synchrony: nothing to compare") for note in summary.notes)


def test_the_order_of_recordings_changes_no_p_of_viewers(faces: Faces) -> None:
    rng = np.random.default_rng(9)
    films = [faces(f"{name}.mp4", np.arange(300) / 10, shown(moving(rng, 300))) for name in "abc"]
    tables = [
        mftn.summarize(pd.concat(order), people="one", settings=mftn.Settings(synchrony=True)).synchrony
        for order in (films, films[::-1])
    ]
    pd.testing.assert_frame_equal(*tables)


def test_viewers_who_share_a_recording_are_noted(faces: Faces) -> None:
    rng = np.random.default_rng(9)
    parts = [faces(f"v{n}.mp4", np.arange(200) / 10, shown(moving(rng, 200))) for n in range(3)]
    parts.append(faces("v0.mp4", np.arange(200) / 10, shown(moving(rng, 200)), 2))
    people = pd.DataFrame({"source": ["v0", "v0", "v1", "v2"], "track": [1, 2, 1, 1], "person": list("ABCD")})
    summary = mftn.summarize(pd.concat(parts), people=people, settings=Settings(synchrony=True))
    assert set(summary.synchrony["kind"]) == {"pair"}
    assert "all: some of its people share a recording, so they are not compared as viewers" in summary.notes
