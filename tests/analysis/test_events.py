from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

import mftn
from mftn import Settings
from mftn.analysis.events import find_events
from mftn.analysis.transitions import find_transitions
from mftn.errors import ConfigError
from mftn.labels import EXPRESSIONS

Faces = Callable[..., pd.DataFrame]
HAPPY = EXPRESSIONS.index("happiness")
RAW = Settings(smooth=0)


def course(happiness: np.ndarray) -> np.ndarray:
    values = np.zeros((len(happiness), 8))
    values[:, HAPPY], values[:, 0] = happiness, 1 - happiness
    return values


def happy(
    happiness: list[float], settings: Settings = RAW, times: np.ndarray | None = None
) -> list[tuple[float, float]]:
    times = np.arange(len(happiness)) / 10 if times is None else times
    found = find_events(times, np.full(len(happiness), 0.1), course(np.array(happiness)), settings)
    return [(round(e.onset, 6), round(e.offset, 6)) for e in found if e.expression == "happiness"]


def test_an_event_lasts_while_it_stays_above_the_lower_threshold() -> None:
    assert happy([0, 0.3, 0.45, 0.7, 0.9, 0.55, 0.41, 0.39, 0, 0]) == [(0.2, 0.7)]


def test_what_never_reaches_the_upper_threshold_is_no_event() -> None:
    assert happy([0, 0.45, 0.55, 0.59, 0.5, 0]) == []


def test_flickering_between_the_thresholds_is_one_event() -> None:
    assert happy([0, 0.7, 0.45, 0.7, 0.45, 0.7, 0]) == [(0.1, 0.6)]


def test_short_events_do_not_count() -> None:
    assert happy([0, 0.9, 0.9, 0, 0, 0.9, 0.9, 0.9, 0]) == [(0.5, 0.8)]
    assert len(happy([0, 0.9, 0.9, 0, 0, 0.9, 0.9, 0.9, 0], Settings(smooth=0, shortest=0.2))) == 2


def test_a_person_out_of_view_ends_an_event_unless_it_is_short() -> None:
    times = np.concatenate([np.arange(5) / 10, 0.7 + np.arange(5) / 10, 3 + np.arange(5) / 10])
    found = find_events(times, np.full(15, 0.1), course(np.full(15, 0.9)), RAW)
    assert [(e.onset, round(e.offset, 6)) for e in found] == [(0.0, 1.2), (3.0, 3.5)]
    assert all(event.cut_start and event.cut_end for event in found)
    (whole,) = find_events(np.arange(9) / 10, np.full(9, 0.1), course(np.array([0, 0, 0, 1, 1, 1, 0, 0, 0.0])), RAW)[
        1:2
    ]
    assert not whole.cut_start and not whole.cut_end


@pytest.mark.parametrize("first", range(3, 15))
def test_a_person_unseen_for_as_long_as_is_bridged_stays_in_the_event(first: int) -> None:
    times = np.delete(np.arange(20) / 10, [first, first + 1, first + 2])  # 0.3 s, whatever rounding makes of it
    assert len(happy([0.9] * 17, times=times)) == 1


def test_rounding_moves_neither_thresholds_nor_the_apex(faces: Faces) -> None:
    shown = np.zeros((400, 8))
    shown[:, 0], shown[:, HAPPY] = 0.3, 0.7  # in single precision less than 0.7
    for smooth in (0, 0.2):
        rows = faces("a.mp4", np.arange(400) / 25, shown)
        (event,) = mftn.summarize(rows, settings=Settings(onset=0.7, offset=0.7, smooth=smooth)).events.itertuples()
        assert (event.onset, event.apex, event.offset) == (0, 0, 16)


@pytest.mark.parametrize("start", [0.6, 1.4, 3.32])
def test_an_event_that_begins_with_a_segment_is_that_segments(faces: Faces, start: float) -> None:
    first = round(start / 0.04)
    rows = faces("a.mp4", np.arange(100) * 0.04, ["neutral"] * first + ["happiness"] * (100 - first))
    rows["time"] = np.nextafter(rows["time"], 0)  # as arithmetic leaves times
    segments = pd.DataFrame({"name": ["x", "y"], "start": [0, start], "end": [start, 4]})
    summary = mftn.summarize(rows, segments=segments, settings=RAW)
    happiness = summary.expressions[summary.expressions["expression"] == "happiness"]
    assert happiness["events"].tolist() == [0, 1]
    assert summary.events["segment"].tolist() == ["x", "y"]
    assert summary.transitions["segment"].tolist() == ["y"]


def test_apex_and_peak_are_of_the_highest_value() -> None:
    values = course(np.array([0, 0.5, 0.7, 0.95, 0.7, 0.5, 0]))
    event = next(e for e in find_events(np.arange(7) / 10, np.full(7, 0.1), values, RAW) if e.expression == "happiness")
    assert (event.apex, event.peak) == (0.3, 0.95)
    assert event.duration == pytest.approx(0.5)


def test_events_count_in_the_segment_in_which_they_begin(faces: Faces) -> None:
    shown = ["neutral"] * 20 + ["happiness"] * 20 + ["neutral"] * 30 + ["happiness"] * 10 + ["neutral"] * 20
    segments = pd.DataFrame({"name": ["a", "b"], "start": [0, 3], "end": [3, 10]})
    summary = mftn.summarize(faces("a.mp4", np.arange(100) / 10, shown), segments=segments)
    happiness = summary.expressions[summary.expressions["expression"] == "happiness"].set_index("segment")
    assert happiness["events"].to_dict() == {"a": 1, "b": 1}
    assert happiness["events_per_minute"].to_dict() == pytest.approx({"a": 20, "b": 60 / 7})
    events = summary.events[summary.events["expression"] == "happiness"]
    np.testing.assert_allclose(events[["onset", "offset"]], [[2, 4], [7, 8]], atol=0.1)
    assert events["segment"].tolist() == ["a", "b"]


def test_transitions_skip_flicker_and_gaps() -> None:
    order = [0] * 5 + [1] * 1 + [0] * 4 + [1] * 5 + [3] * 5 + [0] * 5
    values = np.eye(8)[order]
    times = np.arange(len(order)) / 10
    times[20:] += 5  # the last change happens out of view
    found = find_transitions(times, np.full(len(order), 0.1), values, RAW)
    assert [(c.before, c.after, round(c.time, 6)) for c in found] == [
        ("neutral", "happiness", 1.0),
        ("happiness", "sadness", 1.5),
    ]


def test_transition_shares_are_of_what_follows_the_same_expression(faces: Faces) -> None:
    shown = (
        ["neutral"] * 10 + ["happiness"] * 10 + ["neutral"] * 10 + ["happiness"] * 10 + ["neutral"] * 10 + ["fear"] * 10
    )
    found = mftn.summarize(faces("a.mp4", np.arange(60) / 10, shown)).transitions.set_index(["before", "after"])
    assert found["count"].to_dict() == {
        ("neutral", "happiness"): 2,
        ("happiness", "neutral"): 2,
        ("neutral", "fear"): 1,
    }
    assert found.loc[("neutral", "fear"), "share"] == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    "wrong",
    [
        {"onset": 0.3},
        {"onset": 1.2},
        {"offset": 0},
        {"shortest": -1},
        {"max_gap": 0},
        {"permutations": 9},
        {"confidence": 1},
    ],
)
def test_settings_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        Settings(**wrong)  # type: ignore[arg-type]
