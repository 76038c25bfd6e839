import csv
import errno
import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mftn.errors import ConfigError, OutputError
from mftn.journal import Journal, earlier_run, journal_path
from mftn.labels import EXPRESSIONS
from mftn.output import Provenance
from mftn.types import Face, Prediction

MADE_BY = Provenance("mftn_mobile_ferplus", "0" * 64, {"detector": "yunet", "flip": True})


def predictions(source: str) -> list[Prediction]:
    """One image, or three frames of a clip; faces follow from the name."""
    rng = np.random.default_rng(len(source) + sum(map(ord, Path(source).name)))
    frames = 3 if source.endswith(".mp4") else 1
    found = []
    for number in range(frames):
        p = rng.dirichlet(np.ones(len(EXPRESSIONS)), rng.integers(0, 4))
        faces = tuple(
            Face(
                (1.234567, 2, 3, 4),
                0.9,
                rng.uniform(0, 99, (5, 2)).astype(np.float32),
                dict(zip(EXPRESSIONS, each, strict=True)),
            )
            for each in p.tolist()
        )
        moment = (number, number / 25) if frames > 1 else (None, None)
        found.append(Prediction(source, 640, 480, faces, None, *moment, None, "mftn_mobile_ferplus"))
    return found


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("sources")
    names = ["a.jpg", "b.mp4", os.fsdecode(b"caf\xe9.jpg"), 'd,"e".jpg', "日本.mp4", "z.jpg"]
    for name in names:
        (folder / name).write_bytes(os.fsencode(name))
    return [str(folder / name) for name in names]


def work(output: Path, sources: Sequence[str], resume: bool = True, kind: str = "csv", made_by: Provenance = MADE_BY):
    """A run; the sources that were computed."""
    journal = Journal(output, made_by, resume)
    todo = [source for source in sources if not journal.has(source)]
    for source in todo:
        for prediction in predictions(source):
            journal.write(prediction)
        journal.end(source)
    journal.write_output(kind, sources if resume else None)
    journal.close()
    return todo


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet"])
def test_a_journal_becomes_the_table_that_the_predictions_make(tmp_path: Path, sources: list[str], kind: str) -> None:
    work(tmp_path / "once", sources, False, kind)
    work(tmp_path / "resumed", sources, True, kind)
    assert (tmp_path / "once").read_bytes() == (tmp_path / "resumed").read_bytes()
    expected = [prediction for source in sources for prediction in predictions(source)]
    if kind == "jsonl":
        lines = (tmp_path / "once").read_text(encoding="utf-8").splitlines()
        assert [json.loads(line) for line in lines] == [prediction.to_dict() for prediction in expected]
        return
    rows = [row for prediction in expected for row in prediction.to_rows()]
    table = pq.read_table(tmp_path / "once").to_pylist() if kind == "parquet" else None
    table = table or list(csv.DictReader((tmp_path / "once").open(encoding="utf-8", newline="")))
    assert [(row["source"], row["expression"] or None) for row in table] == [
        (row["source"], row["expression"]) for row in rows
    ]


@settings(max_examples=25)
@given(place=st.floats(0, 1), torn=st.binary(max_size=20))
def test_wherever_a_run_ends_the_next_goes_on_with_nothing_lost_or_doubled(
    tmp_path_factory: pytest.TempPathFactory, sources: list[str], place: float, torn: bytes
) -> None:
    output = tmp_path_factory.mktemp("run") / "o.csv"
    assert work(output, sources) == sources
    undisturbed, content = output.read_bytes(), journal_path(output).read_bytes()
    kept = content[: round(place * len(content))]
    journal_path(output).write_bytes(kept + torn)
    done = sum(line.startswith(b'{"done"') and line in content for line in (kept + torn).split(b"\n")[:-1])
    assert work(output, sources) == sources[done:]
    assert output.read_bytes() == undisturbed


def test_other_settings_are_refused_and_named(tmp_path: Path, sources: list[str]) -> None:
    work(tmp_path / "o.csv", sources)
    before = journal_path(tmp_path / "o.csv").read_bytes()
    other = Provenance("mine", "0" * 64, {"detector": "yunet", "flip": False})
    with pytest.raises(ConfigError, match=r"model was mftn_mobile_ferplus and is mine; flip was True and is False"):
        work(tmp_path / "o.csv", sources, made_by=other)
    assert journal_path(tmp_path / "o.csv").read_bytes() == before
    assert work(tmp_path / "o.csv", sources, resume=False, made_by=other) == sources


def test_what_changed_since_is_computed_again_and_what_is_gone_left_out(tmp_path: Path, sources: list[str]) -> None:
    own = [tmp_path / f"{name}.jpg" for name in "abcd"]
    for path in own:
        path.write_bytes(b"1")
        os.utime(path, ns=(10**18, 10**18))
    a, b, c, d = map(str, own)
    assert work(tmp_path / "o.csv", [a, c, d]) == [a, c, d]
    os.utime(c, ns=(10**18, 10**18 + 10**8))  # a tenth of a second later
    Path(d).unlink()
    assert work(tmp_path / "o.csv", [a, b, c]) == [b, c]
    rows = list(csv.DictReader((tmp_path / "o.csv").open(encoding="utf-8")))
    assert list(dict.fromkeys(row["source"] for row in rows)) == [a, b, c]
    Path(b).write_bytes(b"22")
    os.utime(b, ns=(10**18, 10**18))
    assert work(tmp_path / "o.csv", [c, b, a]) == [b]


def test_a_source_is_done_when_what_was_saved_for_it_is_there_under_the_name_it_would_get(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"1")
    source, copy = str(tmp_path / "a.jpg"), tmp_path / "out" / "a_faces.jpg"
    copy.parent.mkdir()
    copy.touch()
    journal = Journal(tmp_path / "o.csv", MADE_BY, True)
    journal.has(source)
    journal.end(source, saved=[str(copy)])
    journal.close()

    def has(prefix: str) -> bool:
        journal = Journal(tmp_path / "o.csv", MADE_BY, True)
        journal.close()
        return journal.has(source, [prefix])

    assert has(str(tmp_path / "out" / "a_"))
    assert not has(str(tmp_path / "out" / "a-2_"))
    copy.unlink()
    assert not has(str(tmp_path / "out" / "a_"))


def test_a_source_that_is_given_twice_is_done_once_both_are(tmp_path: Path, sources: list[str]) -> None:
    twice = [sources[0], sources[0], sources[1]]
    assert work(tmp_path / "o.csv", twice) == twice
    table = (tmp_path / "o.csv").read_bytes()
    assert work(tmp_path / "o.csv", twice) == []
    assert (tmp_path / "o.csv").read_bytes() == table


def test_failures_are_tried_again(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"1")
    source = str(tmp_path / "a.jpg")
    journal = Journal(tmp_path / "o.csv", MADE_BY, True)
    journal.has(source)
    journal.write(Prediction(source, 0, 0, (), "damaged"))
    journal.end(source, failed=True)
    journal.write_output("csv", [source])
    journal.close()
    assert "damaged" in (tmp_path / "o.csv").read_text()
    assert work(tmp_path / "o.csv", [source]) == [source]
    assert "damaged" not in (tmp_path / "o.csv").read_text()


def test_a_source_without_a_file_is_never_done(tmp_path: Path) -> None:
    gone = str(tmp_path / "gone.jpg")
    for _ in range(2):
        assert work(tmp_path / "o.csv", [gone]) == [gone]


def test_a_source_whose_lines_were_damaged_is_computed_again(tmp_path: Path, sources: list[str]) -> None:
    work(tmp_path / "o.csv", sources)
    table, journal = (tmp_path / "o.csv").read_bytes(), journal_path(tmp_path / "o.csv")
    lines = journal.read_bytes().splitlines(keepends=True)
    damaged = next(k for k, line in enumerate(lines) if b'"frame": 1' in line)
    lines[damaged] = lines[damaged].replace(b"640", b"641")
    journal.write_bytes(b"".join(lines))
    assert work(tmp_path / "o.csv", sources) == [sources[1]]
    assert (tmp_path / "o.csv").read_bytes() == table


def test_a_killed_run_leaves_what_it_has_done_and_was_about_to_write(tmp_path: Path, sources: list[str]) -> None:
    output = tmp_path / "o.csv"
    assert earlier_run(output) is None
    journal_path(output).touch()
    assert earlier_run(output).done == 0
    journal = Journal(output, MADE_BY)  # never closed
    journal.end(sources[0])
    assert earlier_run(output).done == 1
    journal.announce([tmp_path / "a_faces.mp4"])
    assert earlier_run(output).saved == {str(tmp_path / "a_faces.mp4")}
    journal.close()
    Journal(output, MADE_BY, resume=True).close()  # killed as well
    assert earlier_run(output).saved == {str(tmp_path / "a_faces.mp4")}


def test_frames_of_an_unfinished_clip_are_kept_and_then_computed_again(tmp_path: Path, sources: list[str]) -> None:
    photo, clip = sources[:2]
    journal = Journal(tmp_path / "o.csv", MADE_BY, True)
    for source in (photo, clip):
        assert not journal.has(source)
    for prediction in predictions(photo):
        journal.write(prediction)
    journal.end(photo)
    journal.write(predictions(clip)[0])
    journal.write_output("csv", [photo, clip])  # Ctrl-C
    journal.close()
    rows = list(csv.DictReader((tmp_path / "o.csv").open(encoding="utf-8")))
    assert {row["frame"] for row in rows if row["source"] == clip} == {"0"}
    assert earlier_run(tmp_path / "o.csv").done == 1
    assert work(tmp_path / "o.csv", [photo, clip]) == [clip]
    work(tmp_path / "all.csv", [photo, clip])
    assert (tmp_path / "o.csv").read_bytes() == (tmp_path / "all.csv").read_bytes()


def test_two_runs_never_write_to_one_journal(tmp_path: Path) -> None:
    pytest.importorskip("fcntl")
    journal = Journal(tmp_path / "o.csv", MADE_BY, True)
    for resume in (True, False):
        with pytest.raises(ConfigError, match=r"o\.csv\.resume: another run"):
            Journal(tmp_path / "o.csv", MADE_BY, resume)
    journal.close(remove=True)
    assert list(tmp_path.iterdir()) == []


def test_a_drive_without_locks_is_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(pytest.importorskip("fcntl"), "flock", refuse)
    Journal(tmp_path / "o.csv", MADE_BY).close()
    assert earlier_run(tmp_path / "o.csv").done == 0


def test_where_no_table_can_be_written_the_journal_stays(tmp_path: Path, sources: list[str]) -> None:
    output = tmp_path / "o.csv"
    journal = Journal(output, MADE_BY)
    for prediction in predictions(sources[0]):
        journal.write(prediction)
    journal.end(sources[0])
    output.mkdir()
    with pytest.raises(OutputError, match=r"o\.csv: .*continue with --resume"):
        journal.write_output("csv")
    journal.close()
    assert earlier_run(output).done == 1 and earlier_run(tmp_path / "other.csv") is None


@pytest.mark.parametrize("content", ["my notes\n", "my notes", '{"mine": 1}\n'])
def test_another_file_of_the_journals_name_is_refused(tmp_path: Path, content: str) -> None:
    output = tmp_path / "faces.csv"
    journal_path(output).write_text(content)
    with pytest.raises(ConfigError, match=r"faces\.csv\.resume, which is some other file; move it away"):
        earlier_run(output)
    assert journal_path(output).read_text() == content


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_what_a_run_that_was_killed_left_of_the_table_goes_and_other_files_stay(
    tmp_path: Path, sources: list[str], kind: str
) -> None:
    output = tmp_path / f"faces[1].{kind}"
    left = [tmp_path / f"{output.name}.4711.partial", tmp_path / f"{output.name}.meta.json.12.partial"]
    others = [tmp_path / f"{output.name}.mine.partial", tmp_path / f"other.{kind}.4711.partial"]
    for path in (*left, *others):
        path.write_text("half")
    work(output, sources, kind=kind)
    assert output.is_file()
    assert not any(path.exists() for path in left) and all(path.exists() for path in others)
