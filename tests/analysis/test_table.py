import errno
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import mftn
from mftn.analysis.table import Recording, Tables
from mftn.errors import ConfigError, DataError
from mftn.labels import EXPRESSIONS
from mftn.output import open_writer
from mftn.types import Face, Prediction

Faces = Callable[..., pd.DataFrame]


def face(number: int, track: int | None = 1) -> Face:
    values = np.full(8, 0.02)
    values[number % 8] = 0.86
    probabilities = dict(zip(EXPRESSIONS, values.tolist(), strict=True))
    return Face((1.0, 2.0, 101.0, 66.0), 0.75, np.full((5, 2), 3, np.float32), probabilities, track)


def recordings(table: object) -> list[Recording]:
    with Tables(table) as tables:
        return list(tables.recordings())


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet"])
def test_what_predict_writes_is_read_alike_from_every_format(tmp_path: Path, kind: str) -> None:
    predictions = [
        Prediction("clip, one.mp4", 640, 480, (face(0), face(1, 2)), frame=0, time=0.0),
        Prediction("clip, one.mp4", 640, 480, (), frame=1, time=0.04),
        Prediction("clip, one.mp4", 640, 480, (face(3, 2),), frame=2, time=0.08),
        Prediction("Foto “ä”.jpg", 64, 48, (face(5, None),)),
        Prediction("empty.jpg", 64, 48, ()),
        Prediction("gone.jpg", 0, 0, (), error="gone.jpg: no such file"),
    ]
    path = tmp_path / f"faces.{kind}"
    with open_writer(path, kind) as writer:
        for prediction in predictions:
            writer.write(prediction)
    for found in (recordings(path), recordings(predictions)):
        clip, photo, empty, gone = found
        assert (clip.source, photo.source) == ("clip, one.mp4", "Foto “ä”.jpg")
        np.testing.assert_allclose(clip.times, [0, 0.04, 0.08])
        np.testing.assert_allclose(clip.face_times, [0, 0, 0.08])
        assert clip.tracks.tolist() == [1, 2, 2]
        assert clip.probabilities.argmax(axis=1).tolist() == [0, 1, 3]
        np.testing.assert_allclose(clip.probabilities.sum(axis=1), 1, atol=1e-5)
        np.testing.assert_allclose(clip.sizes, 80)  # √(100 · 64)
        np.testing.assert_allclose(clip.scores, 0.75)
        assert photo.is_image and len(photo.tracks) == 1 and not photo.errors
        assert empty.is_image and not len(empty.tracks) and not empty.errors
        assert gone.errors == 1


@pytest.mark.parametrize(("separator", "decimal"), [(",", "."), (";", ","), (";", "."), ("\t", ",")])
def test_tables_that_pandas_or_a_spreadsheet_wrote_again_are_read(
    faces: Faces, tmp_path: Path, separator: str, decimal: str
) -> None:
    shown = ["neutral"] * 5 + [None] * 5 + ["happiness"] * 10
    table = faces("a.mp4", np.arange(20) / 10, shown)
    assert table["track"].dtype == float, "as pandas has numbers of which some are missing"
    table.to_csv(tmp_path / "faces.csv", index=False, sep=separator, decimal=decimal)
    found = mftn.summarize(tmp_path / "faces.csv", people="one")
    pd.testing.assert_frame_equal(found.expressions, mftn.summarize(table, people="one").expressions)


def test_recordings_whose_rows_lie_apart_come_whole(faces: Faces, tmp_path: Path) -> None:
    one, other = (faces(name, np.arange(40) / 10, ["neutral"] * 40) for name in ("a.mp4", "b.mp4"))
    mixed = pd.concat([one[:10], other[:30], one[10:], other[30:]])
    mixed.to_parquet(tmp_path / "mixed.parquet")
    found = recordings(tmp_path / "mixed.parquet")
    assert [recording.source for recording in found] == ["a.mp4", "b.mp4"]
    assert all(len(recording.times) == len(recording.face_times) == 40 for recording in found)


def test_rows_in_any_order_are_put_in_order_of_time(faces: Faces) -> None:
    shown = ["neutral"] * 10 + ["happiness"] * 10
    rows = faces("a.mp4", np.arange(20) / 10, shown).sample(frac=1, random_state=1)
    (found,) = recordings(rows)
    assert (np.diff(found.face_times) > 0).all()
    assert found.probabilities.argmax(axis=1).tolist() == [0] * 10 + [1] * 10


def test_several_files_and_arrow_tables_are_one_table(faces: Faces, tmp_path: Path) -> None:
    first, second = (faces("a.mp4", np.arange(10) / 10 + start, ["neutral"] * 10) for start in (0, 1))
    first.to_csv(tmp_path / "1.csv", index=False)
    second.to_parquet(tmp_path / "2.parquet")
    (found,) = recordings([tmp_path / "1.csv", tmp_path / "2.parquet"])
    assert len(found.times) == 20
    (same,) = recordings(pa.Table.from_pandas(pd.concat([first, second])))
    np.testing.assert_array_equal(same.probabilities, found.probabilities)


def test_unknown_columns_are_left_alone_and_the_model_is_named(faces: Faces) -> None:
    rows = faces("a.mp4", [0, 1], ["neutral"] * 2).assign(face=7, model="mftn_mobile_ferplus", blink=0.5)
    with Tables(rows) as tables:
        assert tables.scan.models == ("mftn_mobile_ferplus",)
        assert len(list(tables.recordings())) == 1


@pytest.mark.parametrize(
    ("drop", "message"),
    [(["source"], "lacks the column source"), (["track"], "track"), ([f"p_{n}" for n in EXPRESSIONS], "p_neutral")],
)
def test_what_nothing_can_be_done_without_is_named(faces: Faces, tmp_path: Path, drop: list[str], message: str) -> None:
    path = tmp_path / "faces.csv"
    faces("a.mp4", [0, 1], ["neutral"] * 2).drop(columns=drop).to_csv(path, index=False)
    with pytest.raises(DataError, match=message) as error:
        mftn.summarize(path)
    assert str(path) in str(error.value)


def test_other_missing_columns_are_a_note(faces: Faces) -> None:
    rows = faces("a.mp4", np.arange(50) / 10, ["neutral"] * 50).drop(columns=["score", "left", "p_contempt"])
    summary = mftn.summarize(rows)
    assert any("left, score, p_contempt" in note for note in summary.notes)
    assert summary.persons["score"].isna().all() and summary.persons["face_size"].isna().all()
    contempt = summary.expressions[summary.expressions["expression"] == "contempt"]
    assert contempt[["mean", "share", "peak", "peak_time", "slope"]].isna().all(axis=None)
    assert summary.expressions["mean"].notna().sum() == 7


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.txt", "x", "unknown suffix"),
        ("a.parquet", "no parquet", "not a readable parquet"),
        ("a.csv", "", "a.csv"),
        ("a.csv", "source,p_neutral\na.mp4,much\n", "a.csv"),
        ("a.jsonl", "{", "not a readable jsonl"),
    ],
)
def test_unreadable_tables_are_named(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=message):
        mftn.summarize(tmp_path / name)


def test_a_row_without_a_source_is_named_with_its_table(faces: Faces, tmp_path: Path) -> None:
    good = faces("a.mp4", np.arange(9) / 10, ["neutral"] * 9)
    bad = good.copy()
    bad.loc[4, "source"] = None
    good.to_csv(tmp_path / "good.csv", index=False)
    bad.to_csv(tmp_path / "bad.csv", index=False)
    with pytest.raises(DataError, match=r"bad\.csv: row 5 below the header has no source"):
        mftn.summarize([tmp_path / "good.csv", tmp_path / "bad.csv"])


def test_a_cell_that_a_spreadsheet_changed_is_named_by_its_column(faces: Faces, tmp_path: Path) -> None:
    rows = faces("a.mp4", np.arange(9) / 10, ["neutral"] * 9).astype({"time": object})
    rows.loc[3, "time"] = "01. Mai"
    rows.to_csv(tmp_path / "faces.csv", index=False)
    with pytest.raises(DataError, match=r"faces\.csv: not a readable csv table.*column time: Row #5.*01\. Mai"):
        mftn.summarize(tmp_path / "faces.csv")


def test_a_table_in_another_encoding_says_how_to_save_it(faces: Faces, tmp_path: Path) -> None:
    text = faces("prüf.mp4", np.arange(9) / 10, ["neutral"] * 9).to_csv(index=False)
    for encoding in ("cp1252", "utf-16"):
        (tmp_path / "faces.csv").write_bytes(text.encode(encoding))
        with pytest.raises(DataError, match=r"faces\.csv: not a readable csv table \(save it as CSV UTF-8\)"):
            mftn.summarize(tmp_path / "faces.csv")


def test_a_crowd_is_one_line_of_jsonl_however_long(tmp_path: Path) -> None:
    faces = tuple(replace(face(number, None), crop=f"crops/{200 * 'x'}/{number}.png") for number in range(4000))
    lines = [json.dumps(Prediction(f"{name}.jpg", 9, 9, faces).to_dict()) for name in "abc"]
    assert min(map(len, lines)) > 1 << 21
    (tmp_path / "faces.jsonl").write_text("\n".join(lines) + "\n")
    assert [len(recording.tracks) for recording in recordings(tmp_path / "faces.jsonl")] == [4000] * 3


def test_a_full_disk_for_temporary_files_is_named(
    faces: Faces, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    faces("a.mp4", [0, 1], ["neutral"] * 2).to_csv(tmp_path / "faces.csv", index=False)
    full = OSError(errno.ENOSPC, "No space left on device")
    monkeypatch.setattr("mftn.analysis.formats.pq.ParquetWriter.write_table", Mock(side_effect=full))
    with pytest.raises(DataError, match=r"faces\.csv: must be copied to .* which is full; set TMPDIR"):
        mftn.summarize(tmp_path / "faces.csv")


def test_tracks_without_times_are_no_images(faces: Faces) -> None:
    rows = faces("a.mp4", np.arange(9) / 10, ["neutral"] * 9).rename(columns={"time": "Time"})
    with pytest.raises(DataError, match=r"a\.mp4: 9 faces have a track and no time"):
        mftn.summarize(rows)


def test_missing_files_and_no_table_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        mftn.summarize(tmp_path / "none.parquet")
    with pytest.raises(ConfigError, match="no table"):
        mftn.summarize([])


def test_a_recording_with_and_without_times_is_refused(faces: Faces) -> None:
    rows = faces("a.mp4", [0, 1, 2], ["neutral"] * 3)
    rows.loc[1, "time"] = np.nan
    with pytest.raises(DataError, match=r"a\.mp4: some of its rows have a time"):
        mftn.summarize(rows)


def test_the_line_that_ends_a_video_early_needs_no_time(faces: Faces) -> None:
    rows = pd.concat([faces("a.mp4", [0, 1, 2], ["neutral"] * 3), faces("a.mp4", [np.nan], [None])], ignore_index=True)
    rows["error"] = [None, None, None, "a.mp4: longer than 600 s"]
    (found,) = recordings(rows)
    assert found.times.tolist() == [0, 1, 2] and len(found.tracks) == 3 and found.errors == 1
