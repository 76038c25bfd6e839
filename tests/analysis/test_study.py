from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import mftn
from mftn.errors import ConfigError, DataError
from mftn.types import Prediction

Faces = Callable[..., pd.DataFrame]
TIMES = np.arange(100) / 10


@pytest.fixture
def two(faces: Faces) -> pd.DataFrame:
    """Ten seconds: track 1 all along; track 2 for four seconds, lost for two, then back as track 3, happy."""
    second = ["neutral"] * 40 + [None] * 60
    third = [None] * 60 + ["happiness"] * 40
    parts = [faces("films/a.mp4", TIMES, ["neutral"] * 100, 1)]
    parts += [
        faces("films/a.mp4", TIMES, shown, track).dropna(subset="track") for track, shown in ((2, second), (3, third))
    ]
    return pd.concat(parts)


def test_tracks_of_one_person_are_joined_and_the_time_between_is_missing(two: pd.DataFrame) -> None:
    people = pd.DataFrame({"source": ["a.mp4"] * 3, "track": [1, 2, 3], "person": ["Ann", "Ben", "Ben"]})
    summary = mftn.summarize(two, people=people)
    persons = summary.persons.set_index("person")
    assert persons["seen"].to_dict() == pytest.approx({"Ann": 10, "Ben": 8})
    assert persons.loc["Ben", "missing"] == pytest.approx(2)
    assert persons.loc["Ben", "tracks"] == "#2 #3"
    happiness = summary.expressions[summary.expressions["expression"] == "happiness"].set_index("person")
    assert happiness["share"].to_dict() == pytest.approx({"Ann": 0, "Ben": 0.5})
    assert not summary.notes


def test_without_a_map_each_track_is_somebody(two: pd.DataFrame) -> None:
    assert set(mftn.summarize(two).persons["person"]) == {f"films/a.mp4#{track}" for track in (1, 2, 3)}


def test_one_person_per_recording_takes_the_largest_face(faces: Faces) -> None:
    rows = pd.concat(
        [faces("a.mp4", TIMES, ["happiness"] * 100, 1), faces("a.mp4", TIMES[:30], ["fear"] * 30, 2, side=40)]
    )
    summary = mftn.summarize(rows, people="one")
    assert summary.persons["person"].tolist() == ["a.mp4"]
    assert summary.persons[["face_size", "score"]].iloc[0].tolist() == pytest.approx([100, 0.9])
    assert summary.expressions.set_index("expression").loc["happiness", "share"] == 1
    assert any("seen twice at once in 30 faces" in note for note in summary.notes)


def test_every_unmatched_row_is_named_and_nobody_is_dropped(two: pd.DataFrame) -> None:
    people = pd.DataFrame(
        {"source": ["a.mp4", "a.mp4", "b.mp4"], "track": [1, 9, 1], "person": ["Ann", "Zoe", "Nobody"]}
    )
    groups = pd.DataFrame({"person": ["Ann", "Eve"], "group": ["x", "y"]})
    segments = pd.DataFrame({"source": ["a.mp4", "c.mp4"], "name": ["s", "s"], "start": [0, 0], "end": [5, 5]})
    summary = mftn.summarize(two, people=people, groups=groups, segments=segments)
    notes = "\n".join(summary.notes)
    for said in (
        "people: row 4: the table has no source b.mp4",
        "people: films/a.mp4 has no track 9 (Zoe)",
        "films/a.mp4: track 2 (40 faces, 0.0–3.9 s) has no person in people",
        "groups: row 3: no person Eve in the table",
        "segments: row 3: the table has no source c.mp4",
    ):
        assert said in notes
    persons = summary.persons.set_index("person")
    assert set(persons.index) == {"Ann", "Zoe", "films/a.mp4#2", "films/a.mp4#3"}
    assert persons.loc["Zoe", "seen"] == 0 and persons.loc["Zoe", "missing"] == pytest.approx(5)


def test_a_recording_without_a_segment_is_named(faces: Faces) -> None:
    rows = pd.concat([faces(name, TIMES, ["neutral"] * 100) for name in ("a.mp4", "b.mp4")])
    summary = mftn.summarize(rows, segments=pd.DataFrame({"source": ["a"], "name": ["s"], "start": [0], "end": [5]}))
    assert any(note.startswith("b.mp4: has no segment in segments") for note in summary.notes)
    assert set(summary.persons["source"]) == {"a.mp4"}


def test_a_segment_before_the_first_frame_is_named(faces: Faces) -> None:
    segments = pd.DataFrame({"name": ["x", "y", "z"], "start": [0, 95, 100], "end": [50, 105, 105]})
    notes = mftn.summarize(faces("a.mp4", 100 + TIMES, ["neutral"] * 100), segments=segments).notes
    assert "a.mp4: segment x begins at 0 s, the recording at 100.00 s: the time before is missing time" in notes
    assert any("segment y begins at 95 s" in note for note in notes)
    assert not any("segment z" in note and "begins" in note for note in notes)


def test_overlapping_segments_are_named_and_each_is_measured(faces: Faces) -> None:
    segments = pd.DataFrame({"name": ["s", "t"], "start": [0, 4], "end": [6, 10]})
    summary = mftn.summarize(faces("a.mp4", TIMES, ["neutral"] * 100), segments=segments)
    assert "a.mp4: segments s and t overlap for 2.00 s, which counts in both" in summary.notes
    assert summary.persons["seen"].tolist() == pytest.approx([6, 6])


def test_conditions_that_change_over_time_split_a_segment(faces: Faces) -> None:
    rows = faces("a.mp4", TIMES, ["neutral"] * 50 + ["happiness"] * 50)
    groups = pd.DataFrame({"source": ["a", "a"], "start": ["0", "0:05"], "end": ["5s", ""], "light": ["dim", "bright"]})
    summary = mftn.summarize(rows, groups=groups)
    happiness = summary.expressions[summary.expressions["expression"] == "happiness"].set_index("light")
    assert happiness["share"].to_dict() == {"dim": 0, "bright": 1}
    assert happiness["end"].to_dict() == pytest.approx({"dim": 5, "bright": 10})


def test_rows_that_contradict_each_other_are_refused(faces: Faces) -> None:
    rows = faces("a.mp4", TIMES, ["neutral"] * 100)
    with pytest.raises(DataError, match=r"row 3: group is y, but x in groups: row 2"):
        mftn.summarize(rows, groups=pd.DataFrame({"source": ["a.mp4"] * 2, "group": ["x", "y"]}))
    with pytest.raises(DataError, match="row 3"):
        people = pd.DataFrame({"source": ["a.mp4"] * 2, "track": [1, 1], "person": ["Ann", "Ben"]})
        mftn.summarize(rows, people=people)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"people": {"source": ["a"]}}, "people: lacks the column person"),
        ({"people": {"source": ["a", ""], "person": ["Ann", "Ben"]}}, "people: row 3: has no source"),
        ({"segments": {"start": [1]}}, "segments: lacks the column name"),
        ({"segments": {"name": ["x"], "start": [3], "end": [2]}}, "row 2: x ends at 2 s, not after its start"),
        ({"segments": {"name": ["x"], "start": ["soon"], "end": [2]}}, "row 2: start 'soon' is not a time"),
        ({"groups": {"group": ["x"]}}, "needs a column source or person"),
        ({"groups": {"source": ["a"]}}, "no column of conditions"),
        ({"groups": {"source": ["a"], "mean": ["x"]}}, "rename the column mean"),
        ({"groups": {"source": ["a"], "valence_mean": ["x"]}}, "rename the column valence_mean"),
        ({"groups": {"source": ["a"], "g": ["x"], "start": [3], "end": [2]}}, "row 2: ends at 2 s, not after its"),
        ({"baseline": {"source": ["a"], "start": [3], "end": [2]}}, "row 2: ends at 2 s, not after its start"),
        ({"people": {"source": ["a"], "track": ["first"], "person": ["Ann"]}}, "track 'first' is not a number"),
        ({"people": {"source": ["a"], "track": ["²"], "person": ["Ann"]}}, "track '²' is not a number"),
    ],
)
def test_unusable_tables_of_the_study_are_refused(faces: Faces, arguments: dict[str, dict], message: str) -> None:
    rows = faces("a.mp4", TIMES, ["neutral"] * 100)
    with pytest.raises(DataError, match=message):
        mftn.summarize(rows, **{name: pd.DataFrame(columns) for name, columns in arguments.items()})


@pytest.mark.parametrize(
    ("sheet", "text", "others"),
    [
        ("segments", "name;Beginn;Ende\nrest;0;5\n", "beginn, ende"),
        ("people", "source;person;tracks\na;Ann;1\n", "tracks"),
        ("baseline", "source;begin;end\na;0;5\n", "begin"),
    ],
)
def test_columns_that_are_not_used_are_noted(faces: Faces, tmp_path: Path, sheet: str, text: str, others: str) -> None:
    path = tmp_path / "sheet.csv"
    path.write_text(text)
    summary = mftn.summarize(faces("a.mp4", TIMES, ["neutral"] * 100), **{sheet: str(path)})
    assert any(note.startswith(f"{path}: not used: {others} (") for note in summary.notes)


def test_a_quotation_mark_left_open_swallows_no_rows(faces: Faces, tmp_path: Path) -> None:
    path = tmp_path / "segments.csv"
    path.write_text('name,start,end\n"rest,0,5\nquestion,5,10\n')
    with pytest.raises(DataError, match=r"segments\.csv: not a readable CSV table .*close every quotation mark"):
        mftn.summarize(faces("a.mp4", TIMES, ["neutral"] * 100), segments=path)


def test_names_that_fit_two_sources_are_refused(faces: Faces) -> None:
    rows = pd.concat([faces(name, TIMES, ["neutral"] * 100) for name in ("x/a.mp4", "y/a.mp4")])
    with pytest.raises(DataError, match=r"a\.mp4 may be x/a\.mp4 or y/a\.mp4"):
        mftn.summarize(rows, people=pd.DataFrame({"source": ["a.mp4"], "person": ["Ann"]}))


@pytest.mark.parametrize(
    ("word", "found"),
    [("x/a.mp4", True), ("/films/x/a.mp4", True), ("a", True), ("x/a", True), ("y/a.mp4", False), ("/y/x/b/a", False)],
)
def test_a_row_for_another_folder_is_not_taken_for_this_one(faces: Faces, word: str, found: bool) -> None:
    own = "films/x/a.mp4"
    segments = pd.DataFrame({"source": [own, word], "name": ["rest", "s"], "start": [0, 5], "end": [5, 9]})
    summary = mftn.summarize(faces(own, TIMES, ["neutral"] * 100), segments=segments)
    assert ("s" in set(summary.persons["segment"])) == found
    assert any(f"no source {word}" in note for note in summary.notes) != found


@pytest.mark.parametrize("word", ["P01", "P01.mp4", r"films\P01.mp4", "films/P01"])
def test_paths_of_windows_are_read_on_every_system(faces: Faces, word: str) -> None:
    segments = pd.DataFrame({"source": [word], "name": ["x"], "start": [0], "end": [5]})
    assert not mftn.summarize(faces(r"D:\study\films\P01.mp4", TIMES, ["neutral"] * 100), segments=segments).notes


def test_an_empty_result_says_why(faces: Faces) -> None:
    segments = pd.DataFrame({"source": ["b"], "name": ["x"], "start": [0], "end": [5]})
    with pytest.raises(DataError, match=r"nobody is in the results: .*segments: row 2: the table has no source b"):
        mftn.summarize(faces("a.mp4", TIMES, ["neutral"] * 100), segments=segments)


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_tables_from_any_spreadsheet_are_read(faces: Faces, tmp_path: Path, separator: str) -> None:
    path = tmp_path / "segments.csv"
    lines = [["Name", "Source", "Start", "End"], ["Frage 1 – ä", "a.mp4", "1,5" if separator == ";" else "1.5", "0:04"]]
    path.write_text("\r\n".join(separator.join(line) for line in lines) + "\r\n", encoding="utf-8-sig")
    person = mftn.summarize(faces("a.mp4", TIMES, ["neutral"] * 100), segments=path).persons.iloc[0]
    assert (person["segment"], person["start"], person["end"]) == ("Frage 1 – ä", 1.5, 4)


def test_the_baseline_is_each_persons_own(faces: Faces) -> None:
    parts = []
    for name, rest in (("a.mp4", 0.1), ("b.mp4", 0.4)):
        values = np.zeros((100, 8))
        values[:, 1] = np.where(TIMES < 4, rest, rest + 0.3)
        values[:, 0] = 1 - values[:, 1]
        parts.append(faces(name, TIMES, values))
    segments = pd.DataFrame({"name": ["rest", "film"], "start": [0, 4], "end": [4, 10]})
    file = pd.DataFrame({"source": ["a", "b"], "start": [0, 0], "end": [4, 4]})
    for baseline in ("0:4", "rest", file):
        summary = mftn.summarize(pd.concat(parts), segments=segments, baseline=baseline)
        found = summary.expressions[summary.expressions["expression"] == "happiness"].set_index(["source", "segment"])
        assert found.loc[("a.mp4", "film"), "baseline"] == pytest.approx(0.1)
        assert found.loc[("b.mp4", "film"), "baseline"] == pytest.approx(0.4)
        assert found["difference"].to_list() == pytest.approx([0, 0.3, 0, 0.3])
        valence = summary.persons.set_index(["source", "segment"])["valence_difference"]
        assert valence[("b.mp4", "film")] == pytest.approx(0.3)


def test_a_person_without_a_baseline_in_a_recording_has_that_of_their_others(faces: Faces) -> None:
    rows = pd.concat([faces("a.mp4", TIMES, ["neutral"] * 100), faces("b.mp4", TIMES, ["happiness"] * 100)])
    people = pd.DataFrame({"source": ["a", "b"], "person": ["Ann", "Ann"]})
    summary = mftn.summarize(rows, people=people, baseline=pd.DataFrame({"source": ["a"]}))
    found = summary.expressions[summary.expressions["expression"] == "happiness"].set_index("source")
    assert found.loc["b.mp4", "difference"] == pytest.approx(0.92)


def test_no_moment_of_a_baseline_counts_twice(faces: Faces) -> None:
    rows = faces("a.mp4", TIMES, ["neutral"] * 40 + ["happiness"] * 60)
    twice = pd.DataFrame({"source": ["a", "", "a"], "person": ["", "a.mp4", ""], "start": [0, 2, 0], "end": [6, 8, 1]})
    once = pd.DataFrame({"source": ["a"], "start": [0], "end": [8]})
    one, other = (mftn.summarize(rows, people="one", baseline=spec).expressions for spec in (once, twice))
    np.testing.assert_allclose(one["baseline"], other["baseline"], atol=1e-9)


def test_a_baseline_image_that_two_rows_name_counts_once(faces: Faces) -> None:
    rows = pd.concat(
        [faces(f"{name}.jpg", [np.nan], [shown]) for name, shown in (("a", "neutral"), ("b", "fear"), ("c", "anger"))]
    ).assign(track=np.nan)
    people = pd.DataFrame({"source": ["a", "b", "c"], "person": ["Ann"] * 3})
    baseline = pd.DataFrame({"source": ["a", "a", "b"], "person": ["Ann", "", ""]})
    found = mftn.summarize(rows, people=people, baseline=baseline).expressions.set_index("expression")
    assert found.loc["neutral", "baseline"] == pytest.approx((0.93 + 0.01) / 2, abs=1e-6)


def test_baselines_that_are_nowhere_are_refused(faces: Faces) -> None:
    rows = faces("a.mp4", TIMES, ["neutral"] * 100)
    for name in ("rest", "rest.cvs", "0:1:30", "0,5:2"):
        with pytest.raises(ConfigError, match="no segment has this name"):
            mftn.summarize(rows, baseline=name)
    with pytest.raises(DataError, match="nobody is seen in it"):
        mftn.summarize(rows, baseline="50:60")
    with pytest.raises(ConfigError, match="must end after"):
        mftn.summarize(rows, baseline="10:5")


def rising(faces: Faces, source: str, before: float, after: float, seconds: float, change: float) -> pd.DataFrame:
    """Happiness of one level, then of another."""
    times = np.arange(int(10 * seconds)) / 10
    values = np.zeros((len(times), 8))
    values[:, 1] = np.where(times < change, before, after)
    values[:, 0] = 1 - values[:, 1]
    return faces(source, times, values)


@pytest.mark.parametrize("table", [False, True])
def test_without_segments_the_baseline_is_no_part_of_what_is_measured(faces: Faces, table: bool) -> None:
    baseline = pd.DataFrame({"source": ["a"], "start": [0], "end": [10]}) if table else "0:10"
    summary = mftn.summarize(rising(faces, "a.mp4", 0, 0.8, 20, 10), baseline=baseline, window=5)
    happiness = summary.expressions[summary.expressions["expression"] == "happiness"].iloc[0]
    assert (happiness["start"], happiness["mean"], happiness["difference"]) == pytest.approx((10, 0.8, 0.8))
    assert set(summary.windows["start"]) == {10, 15}
    middle = mftn.summarize(rising(faces, "a.mp4", 0, 0.8, 20, 10), baseline="5:10").persons
    assert middle[["start", "end"]].to_numpy().ravel().tolist() == pytest.approx([0, 5, 10, 20])


def test_a_person_without_a_baseline_here_has_that_of_all_their_others_by_seen_time(faces: Faces) -> None:
    films = [("a.mp4", 0.1, 2), ("b.mp4", 0.5, 6), ("c.mp4", 0.9, 5)]
    rows = pd.concat([rising(faces, name, before, 0.9, 10, change) for name, before, change in films])
    people = pd.DataFrame({"source": list("abc"), "person": ["Ann"] * 3})
    baseline = pd.DataFrame({"source": ["a", "b"], "start": [0, 0], "end": [2, 6]})
    found = mftn.summarize(rows, people=people, baseline=baseline).expressions
    found = found[found["expression"] == "happiness"].set_index("source")["baseline"]
    assert found.to_dict() == pytest.approx({"a.mp4": 0.1, "b.mp4": 0.5, "c.mp4": (2 * 0.1 + 6 * 0.5) / 8})


def test_a_short_baseline_is_noted(faces: Faces) -> None:
    rows = faces("a.mp4", TIMES, ["neutral"] * 100)
    said = "a.mp4: the baseline of a.mp4#1 is only 0.50 s long"
    assert [said in mftn.summarize(rows, baseline=spec).notes for spec in ("0:0.5", "0:1")] == [True, False]


def test_a_baseline_inside_a_segment_is_noted(faces: Faces) -> None:
    segments = pd.DataFrame({"name": ["film"], "start": [5], "end": [20]})
    summary = mftn.summarize(rising(faces, "a.mp4", 0, 0.8, 20, 10), baseline="0:10", segments=segments)
    assert "a.mp4: the baseline and segment film overlap for 5.00 s, which counts in both" in summary.notes


def test_people_who_are_never_seen_in_a_segment_are_named(faces: Faces) -> None:
    rows = pd.concat(
        [faces(f"{n}.mp4", TIMES, ["neutral"] * 50 + [None if n < 2 else "neutral"] * 50) for n in range(8)]
    )
    segments = pd.DataFrame({"name": ["rest", "q"], "start": [0, 5], "end": [5, 10]})
    summary = mftn.summarize(rows, people="one", segments=segments)
    assert "q: never seen, so not compared: 0.mp4, 1.mp4" in summary.notes
    assert not any("rest: never seen" in note for note in summary.notes)


def test_passers_by_are_no_people_of_the_study(faces: Faces, tmp_path: Path) -> None:
    parts = [rising(faces, "a.mp4", 0.3, 0.3, 10, 5)]
    parts += [faces("a.mp4", TIMES[:10], ["happiness"] * 10, track).dropna(subset="track") for track in range(2, 7)]
    people = pd.DataFrame({"source": ["a"], "track": [1], "person": ["Ada"]})
    summary = mftn.summarize(pd.concat(parts), people=people)
    assert (summary.study.people, summary.study.unnamed) == (1, 5)
    assert summary.persons.set_index("person")["known"].to_dict()["Ada"] and summary.persons["known"].sum() == 1
    page = summary.write(tmp_path).read_text(encoding="utf-8")
    assert "<tr><td>all</td><td>1</td>\n<td>0.700</td><td>0.300</td>" in page
    assert "(1 people and 5 tracks or images of others" in (tmp_path / "methods.txt").read_text()


def test_the_page_weights_a_persons_recordings_as_the_tests_do(faces: Faces, tmp_path: Path) -> None:
    rows = pd.concat([rising(faces, "a.mp4", 0.9, 0.9, 10, 5), rising(faces, "b.mp4", 0.1, 0.1, 30, 5)])
    people = pd.DataFrame({"source": ["a", "b"], "person": ["Ann", "Ann"]})
    page = mftn.summarize(rows, people=people).write(tmp_path).read_text(encoding="utf-8")
    assert "<tr><td>all</td><td>1</td>\n<td>0.700</td><td>0.300</td>" in page


@pytest.mark.parametrize(
    "text",
    [
        "source,group\nJ\u00f6rg,x,\n,\n\nb,y,\n",  # commas after the rows only, an empty and a blank line
        "source,group,,\nJ\u00f6rg,x,,\nb,y,,\n",
        ",source,group\n0,J\u00f6rg,x\n1,b,y\n",  # the row numbers of pandas
    ],
)
def test_what_spreadsheets_leave_behind_is_no_condition(faces: Faces, tmp_path: Path, text: str) -> None:
    rows = pd.concat([faces(name, TIMES, ["neutral"] * 100) for name in ("Jo\u0308rg.mp4", "b.mp4")])  # as macOS has it
    path = tmp_path / "groups.csv"
    path.write_text(text, encoding="utf-8")
    summary = mftn.summarize(rows, people="one", groups=path)
    assert summary.study.factors == ("group",)
    assert summary.persons.set_index("source")["group"].to_dict() == {"Jo\u0308rg.mp4": "x", "b.mp4": "y"}


@pytest.mark.parametrize("name", ["NA", "None"])
def test_a_name_that_csv_cannot_hold_is_noted(faces: Faces, tmp_path: Path, name: str) -> None:
    people = pd.DataFrame({"source": ["a"], "person": [name]})
    summary = mftn.summarize(faces("a.mp4", TIMES, ["neutral"] * 100), people=people)
    assert summary.persons["person"].tolist() == [name]
    assert any(f"is called {name}" in note and "use the .parquet tables" in note for note in summary.notes)
    summary.write(tmp_path)
    assert pd.read_csv(tmp_path / "persons.csv")["person"].isna().all()


def test_rows_are_counted_as_the_spreadsheet_counts_them(faces: Faces, tmp_path: Path) -> None:
    path = tmp_path / "groups.csv"
    path.write_text("source,group\n\na,x\n,\nzzz,y\n")
    summary = mftn.summarize(faces("a.mp4", TIMES, ["neutral"] * 100), people="one", groups=path)
    assert any("row 5: the table has no source zzz" in note for note in summary.notes)
    path.write_text("source,group\na,x\nDoe, Jane,y\n")
    with pytest.raises(DataError, match="row 3 has 3 cells, the header 2; put text that contains ',' in double quotes"):
        mftn.summarize(faces("a.mp4", TIMES, ["neutral"] * 100), people="one", groups=path)


def test_whole_numbers_are_names_whatever_pandas_makes_of_them(faces: Faces) -> None:
    rows = pd.concat([faces(f"{n}.mp4", TIMES, ["neutral"] * 100) for n in (1, 2)])
    people = pd.DataFrame({"source": [1, 2], "person": [7, 8]})
    groups = pd.DataFrame({"person": [7, np.nan], "source": [np.nan, 2], "group": [1, 2]})  # held as 7.0 and 2.0
    summary = mftn.summarize(rows, people=people, groups=groups)
    assert summary.persons.set_index("person")["group"].to_dict() == {"7": "1", "8": "2"}
    assert not any("no person" in note or "no source" in note for note in summary.notes)


def test_a_segment_that_is_given_twice_counts_once(faces: Faces) -> None:
    segments = pd.DataFrame({"name": ["s", "s", "t"], "source": ["", "a", ""], "start": [0, 0, 5], "end": [5, 5, 9]})
    summary = mftn.summarize(
        rising(faces, "a.mp4", 0.1, 0.8, 10, 5), segments=segments, settings=mftn.Settings(synchrony=True)
    )
    assert summary.persons["segment"].tolist() == ["s", "t"]
    assert summary.notes[0] == "a.mp4: segment s is given twice, but counts once"
    still = faces("a.jpg", [0], ["happiness"]).assign(time=None, frame=None, track=None)
    again = pd.DataFrame({"name": ["s", "s"], "start": [0, 8], "end": [2, 9]})
    assert mftn.summarize(still, people="one", segments=again).persons["frames"].tolist() == [1]


def test_a_source_that_could_not_be_read_is_no_image(faces: Faces) -> None:
    broken = pd.DataFrame(Prediction("b.mp4", 0, 0, (), error="broken").to_rows())
    summary = mftn.summarize(pd.concat([faces("a.mp4", TIMES, ["neutral"] * 100), broken]), people="one")
    assert (summary.study.recordings, summary.study.images) == (1, 0)


@pytest.mark.parametrize("factor", ["weight", "weighted"])
def test_any_name_of_a_factor_is_one_on_the_page(faces: Faces, tmp_path: Path, factor: str) -> None:
    rows = pd.concat([rising(faces, f"{n}.mp4", n, n, 10, 5) for n in (0, 1)])
    groups = pd.DataFrame({"source": [0, 1], factor: ["low", "high"]})
    page = mftn.summarize(rows, people="one", groups=groups).write(tmp_path).read_text(encoding="utf-8")
    assert "<tr><td>all · low</td><td>1</td>\n<td>1.000</td><td>0.000</td>" in page
    assert "<tr><td>all · high</td><td>1</td>\n<td>0.000</td><td>1.000</td>" in page


def test_minutes_on_the_page_never_have_sixty_seconds(faces: Faces, tmp_path: Path) -> None:
    segments = pd.DataFrame({"name": ["s"], "start": [0], "end": [239.999]})
    summary = mftn.summarize(faces("a.mp4", np.arange(240), ["neutral"] * 240), segments=segments)
    page = summary.write(tmp_path).read_text(encoding="utf-8")
    assert "<td>4:00.00 min</td>" in page and ":60" not in page
