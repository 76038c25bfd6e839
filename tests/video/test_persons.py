"""Summaries of persons: exact counts, bounded memory, gaps that stay gaps."""

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

from mftn.types import Face, Prediction
from mftn.video.persons import MAX_BINS, MAX_PERSONS, Persons
from mftn.video.timeline import draw_timeline, stacked


def prediction(time: float, tracks: dict[int, float]) -> Prediction:
    faces = tuple(
        Face((0, 0, 9, 9), 0.9, None, {"neutral": 1 - value, "happiness": value}, track)
        for track, value in tracks.items()
    )
    return Prediction("a.mp4", 64, 48, faces, None, round(25 * time), time)


def test_it_counts_frames_and_expressions() -> None:
    persons = Persons()
    for number in range(50):
        persons.add(prediction(number / 25, {1: 0.9 if number < 20 else 0.2} | ({2: 1.0} if number >= 40 else {})))
    first, second = persons.by_track[1], persons.by_track[2]
    assert (first.first, first.last, first.frames, first.wins.tolist()) == (0, pytest.approx(1.96), 50, [30, 20])
    assert (second.first, second.frames, second.wins.tolist()) == (1.6, 10, [0, 10])


def test_a_day_needs_no_more_bins_than_an_hour() -> None:
    persons = Persons()
    for second in range(0, 24 * 3600, 4):
        persons.add(prediction(second, {1: second / (24 * 3600)}))
    person = persons.by_track[1]
    assert MAX_BINS // 4 < len(person.bins) <= MAX_BINS and person.frames == 6 * 3600
    times, rows = stacked(person, persons.width)
    assert not np.isnan(rows).any() and rows.sum(axis=0) == pytest.approx(1)
    assert rows[1] == pytest.approx(times / (24 * 3600), abs=0.01)


def test_very_many_persons_are_counted_together() -> None:
    persons = Persons()
    for number in range(6000):
        persons.add(prediction(number, ({0: 0.5} if number < 3000 else {}) | {number + 1: 0.5}))
        assert len(persons.by_track) <= 1.25 * MAX_PERSONS + 1
    assert persons.others + len(persons.by_track) == 6001
    assert len(persons.by_track) >= MAX_PERSONS
    assert persons.by_track[0].frames == 3000  # gone, but seen in the most frames


@pytest.mark.parametrize("step", [0.04, 1.0, 5.0])
def test_gaps_are_gaps_at_any_rate(step: float) -> None:
    persons = Persons()
    for number in range(100):
        persons.add(prediction(number * step, {} if 20 <= number < 60 else {1: 0.5}))
    times, rows = stacked(persons.by_track[1], persons.width)
    empty = np.flatnonzero(np.isnan(rows[0]))
    assert len(empty) == 1
    assert times[empty[0] - 1] == pytest.approx(19 * step, abs=step + persons.width)
    assert times[empty[0] + 1] == pytest.approx(60 * step, abs=step + persons.width)


def test_a_timeline_is_a_figure_with_a_hole_for_a_gap(tmp_path: Path) -> None:
    persons = Persons()
    for number in range(300):
        persons.add(prediction(number / 25, {} if 100 <= number < 200 else {1: 1.0}))
    draw_timeline(persons, tmp_path / "new" / "time.png")
    image = np.asarray(PillowImage.open(tmp_path / "new" / "time.png").convert("RGB")).astype(int)
    row = image[image.shape[0] * 6 // 10]
    coloured = np.flatnonzero(np.ptp(row, axis=1) > 60)
    runs = np.split(coloured, np.flatnonzero(np.diff(coloured) > 50) + 1)
    assert len(runs) == 2 and all(len(run) > 100 for run in runs)
    draw_timeline(Persons(), tmp_path / "none.svg")
    assert (tmp_path / "none.svg").stat().st_size > 0


def test_memory_does_not_grow_with_the_number_of_frames() -> None:
    def size(persons: Persons) -> int:
        return sum(sys.getsizeof(each.bins) + 100 * len(each.bins) for each in persons.by_track.values())

    persons = Persons()
    sizes = []
    for number in range(40_000):
        persons.add(prediction(number / 25, {1: 0.4, 2: 0.6}))
        if number % 10_000 == 9999:
            sizes.append(size(persons))
    for person in persons.by_track.values():
        assert sum(total[-1] for total in person.bins.values()) == person.frames == 40_000
    assert max(sizes) < 2 * 2 * (100 * MAX_BINS + sys.getsizeof(dict.fromkeys(range(MAX_BINS))))
