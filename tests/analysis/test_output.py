import csv
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from unittest.mock import Mock
from xml.etree import ElementTree as ET

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

import mftn
from mftn.analysis import figures
from mftn.analysis.elan import write_bids
from mftn.analysis.output import write_table
from mftn.analysis.page import render
from mftn.cli import main
from mftn.errors import OutputError
from mftn.labels import EXPRESSIONS

Faces = Callable[..., pd.DataFrame]
R_NAME = re.compile(r"[A-Za-z][A-Za-z0-9._]*\Z")


@pytest.fixture(scope="module")
def written(
    tmp_path_factory: pytest.TempPathFactory, study: pd.DataFrame, segments: pd.DataFrame, groups: pd.DataFrame
) -> Path:
    """The study, summarised by the command line with everything on."""
    folder = tmp_path_factory.mktemp("study")
    study.to_parquet(folder / "faces.parquet", index=False)
    segments.to_csv(folder / "segments.csv", index=False)
    groups.to_csv(folder / "groups.csv", index=False)
    arguments = ["summarize", str(folder / "faces.parquet"), "--out", str(folder / "out"), "--people", "one"]
    arguments += ["--segments", str(folder / "segments.csv"), "--groups", str(folder / "groups.csv")]
    arguments += ["--baseline", "rest", "--window", "2.5s", "--synchrony", "--elan", "--bids", "--permutations", "500"]
    assert main(arguments) == 0
    return folder / "out"


def kind(cells: list[str]) -> str:
    """The type that R's readr gives a column."""
    known = [cell for cell in cells if cell not in ("NA", "")]
    if all(cell in ("TRUE", "FALSE") for cell in known):
        return "logical"
    try:
        [float(cell) for cell in known]
    except ValueError:
        return "character"
    return "double"


def test_tables_load_in_r_as_they_are_meant(written: Path) -> None:
    words = {"source", "person", "segment", "group", "expression", "tracks", "before", "after"}
    words |= {"kind", "other", "signal", "factor", "contrast", "design", "test"}
    for path in written.glob("*.csv"):
        raw = path.read_bytes()
        assert not raw.startswith(b"\xef\xbb\xbf") and b"\r" not in raw, path
        header, *rows = csv.reader(raw.decode("utf-8").splitlines())
        assert all(R_NAME.match(name) for name in header), header
        assert len(set(header)) == len(header) and all(len(row) == len(header) for row in rows)
        assert "" not in {cell for row in rows for cell in row}, path  # NA says what is missing
        for name, column in zip(header, zip(*rows, strict=True), strict=True):
            expected = "character" if name in words else "logical" if name.startswith(("cut_", "known")) else "double"
            assert kind(list(column)) in (expected, "logical" if set(column) == {"NA"} else expected), (path, name)


def test_csv_keeps_the_milliseconds_of_recordings_that_last_for_days(tmp_path: Path) -> None:
    times = [0.0417, 99_999.123, 604_800.042, -604_800.042]
    write_table(pd.DataFrame({"onset": times, "p": [1e-12, 0.05, 1.0, float("inf")]}), tmp_path / "events")
    read = pd.read_csv(tmp_path / "events.csv")
    assert read["onset"].tolist() == times and read["p"].tolist() == [1e-12, 0.05, 1.0, float("inf")]


def test_csv_keeps_line_endings_in_names(tmp_path: Path) -> None:
    names = ["one\rtwo.mp4", "one\ntwo.mp4", "one\r\ntwo.mp4"]
    write_table(pd.DataFrame({"source": names}), tmp_path / "people")
    with (tmp_path / "people.csv").open(encoding="utf-8", newline="") as file:
        assert [row["source"] for row in csv.DictReader(file)] == names


def test_csv_and_parquet_hold_the_same(written: Path) -> None:
    for path in written.glob("*.csv"):
        frame = pd.read_parquet(path.with_suffix(".parquet"))
        read = pd.read_csv(path)
        assert list(read) == list(frame) == pq.read_schema(path.with_suffix(".parquet")).names
        for name in frame.select_dtypes("number"):
            np.testing.assert_allclose(read[name].astype(float), frame[name].astype(float), rtol=1e-6, atol=1e-9)


def test_one_row_for_each_person_segment_and_expression(written: Path) -> None:
    frame = pd.read_csv(written / "expressions.csv")
    assert len(frame) == 12 * 3 * 8
    assert not frame.duplicated(["person", "segment", "expression"]).any()
    assert frame.groupby(["person", "segment"])["mean"].sum().to_numpy() == pytest.approx(1, abs=1e-4)
    assert frame.groupby(["person", "segment"])["share"].sum().to_numpy() == pytest.approx(1)
    needed = "mean sd share p05 p50 p95 peak peak_time slope baseline difference events events_per_minute seen missing"
    assert set(needed.split()) | {"face_size", "score", "group"} <= set(frame)


def test_the_page_holds_everything_and_nothing_from_elsewhere(written: Path) -> None:
    page = (written / "summary.html").read_text(encoding="utf-8")
    assert len(re.findall(r'<img[^>]* src="data:image/png;base64,', page)) == len(re.findall("<img", page)) >= 8
    assert not re.search(r'(?:src|href)="(?!data:|#)', page)
    for part in (
        "Who was seen when",
        "Events",
        "Transitions",
        "Conditions",
        "Synchrony",
        "Quality",
        "must not be concluded",
    ):
        assert part in page
    for note in (written / "notes.txt").read_text(encoding="utf-8").splitlines():
        assert note.split(":")[0] in page
    names = {path.stem for path in (written / "figures").glob("*.png")}
    assert names == {path.stem for path in (written / "figures").glob("*.pdf")}
    assert {"presence", "people", "events", "transitions", "conditions_group", "synchrony", "quality"} <= names
    assert {"curves_rest", "curves_question_1", "curves_question_2"} <= names


def test_methods_name_every_setting_and_version(written: Path) -> None:
    text = (written / "methods.txt").read_text(encoding="utf-8")
    about = json.loads((written / "summary.json").read_text(encoding="utf-8"))
    for number in about["versions"].values():
        assert number in text
    for said in (
        "0.6",
        "0.4 ",
        "0.25 s",
        "0.2 s",
        "0.3 s",
        "500 random",
        "seed 0",
        "95%",
        "Holm",
        "2.5 s",
        "segment rest",
    ):
        assert said in text, said
    for said in (
        "10 s",
        "±2 s",
        "5 values per second",
        "Noldus",
        "not measured valence",
        "never treated as independent",
    ):
        assert said in text, said
    assert about["settings"]["permutations"] == 500


def test_a_confidence_is_written_as_it_was_given(study: pd.DataFrame, groups: pd.DataFrame, tmp_path: Path) -> None:
    summary = mftn.summarize(study, groups=groups, people="one", settings=mftn.Settings(confidence=0.999))
    page = summary.write(tmp_path).read_text(encoding="utf-8")
    assert "99.9 % interval" in page and "99.9 % t intervals" in page and "100 %" not in page
    assert "Intervals have a confidence level of 99.9%" in (tmp_path / "methods.txt").read_text(encoding="utf-8")


def test_hostile_names_are_text_on_the_page(faces: Faces, tmp_path: Path) -> None:
    name = "<script>alert(1)</script>.mp4"
    page = mftn.summarize(faces(name, np.arange(50) / 10, ["neutral"] * 50)).write(tmp_path).read_text(encoding="utf-8")
    assert "<script>" not in page and "&lt;script&gt;" in page


def test_elan_files_hold_each_event_at_its_time(written: Path) -> None:
    events = pd.read_csv(written / "events.csv")
    assert len(list((written / "elan").glob("*.eaf"))) == 12
    own = events[events["source"] == "films/P01.mp4"]
    root = ET.parse(written / "elan" / "P01.eaf").getroot()
    times = {slot.get("TIME_SLOT_ID"): int(slot.get("TIME_VALUE", -1)) for slot in root.iter("TIME_SLOT")}
    assert list(times.values()) == sorted(times.values())
    found = set()
    for tier in root.iter("TIER"):
        for row in tier.iter("ALIGNABLE_ANNOTATION"):
            text = row.findtext("ANNOTATION_VALUE", "")
            assert tier.get("TIER_ID") == f"films/P01.mp4 {text.split()[0]}"
            found.add((text.split()[0], times[row.get("TIME_SLOT_REF1")], times[row.get("TIME_SLOT_REF2")]))
    expected = zip(own["expression"], (1000 * own["onset"]).round(), (1000 * own["offset"]).round(), strict=True)
    assert found == set(expected) and found
    media = root.find("HEADER/MEDIA_DESCRIPTOR")
    assert media is not None and media.get("RELATIVE_MEDIA_URL") == "./P01.mp4"


def test_elan_files_are_xml_whatever_the_names(faces: Faces, tmp_path: Path) -> None:
    table = faces("a\x01<b>\x1f.mp4", np.arange(50) / 10, ["neutral", *["happiness"] * 48, "neutral"])
    mftn.summarize(table, people="one").write(tmp_path, elan=True)
    (file,) = (tmp_path / "elan").iterdir()
    tiers = {tier.get("TIER_ID") for tier in ET.parse(file).getroot().iter("TIER")}
    assert tiers == {"a�<b>�.mp4 happiness"}


def test_what_a_coder_wrote_for_elan_is_kept(faces: Faces, tmp_path: Path) -> None:
    table = pd.concat([faces(f"{name}.mp4", np.arange(50) / 10, ["happiness"] * 50) for name in ("P1", "P2")])
    table = pd.concat([table, faces("nothing.mp4", np.arange(50) / 10, ["neutral"] * 50)])

    def write() -> Path:
        return mftn.summarize(table, people="one").write(tmp_path, elan=True)

    write()
    files = {path.name for path in (tmp_path / "elan").iterdir()}
    assert files == {"P1.eaf", "P2.eaf", "nothing.eaf"}
    coded = (tmp_path / "elan" / "P1.eaf").read_text() + "<!-- agreed with two events -->"
    for number in (2, 3):
        (tmp_path / "elan" / f"P1{'' if number == 2 else '-2'}.eaf").write_text(coded)
        page = write()
        added = {path.name for path in (tmp_path / "elan").iterdir()} - files
        assert added == {f"P1-{k}.eaf" for k in range(2, number + 1)}
        assert (tmp_path / "elan" / "P1.eaf").read_text() == coded
        note = f"the new events are in elan/P1-{number}.eaf"
        assert note in page.read_text() and note in (tmp_path / "notes.txt").read_text()


def test_names_of_any_script_and_sign_are_shown(faces: Faces, tmp_path: Path) -> None:
    parts = [faces(f"v{n}.mp4", np.arange(60) / 10, ["neutral", "happiness"] * 30) for n in range(9)]
    segments = pd.DataFrame({"name": ["покой", "вопрос"], "start": [0, 3], "end": [3, 6]})
    groups = pd.DataFrame({"source": [f"v{n}" for n in range(9)], "доход": ["$10_$20", "$20_$30", "é $^{30}$"] * 3})
    page = mftn.summarize(pd.concat(parts), people="one", segments=segments, groups=groups).write(tmp_path)
    captions = re.findall(r"<figcaption>([^:<\n]+):", page.read_text(encoding="utf-8"))
    assert captions == ["покой", "вопрос", "доход", "segment"]
    assert (tmp_path / "figures" / "curves_покой.png").is_file()


def test_bids_like_tables_begin_with_onset_and_duration(written: Path) -> None:
    paths = list((written / "bids").glob("sub-*/sub-*_events.tsv"))
    assert len(paths) == 12 and paths[0].name.endswith("_events.tsv")
    frame = pd.read_csv(paths[0], sep="\t")
    assert list(frame)[:3] == ["onset", "duration", "trial_type"]
    assert set(frame["trial_type"]) <= set(EXPRESSIONS)
    assert json.loads((written / "bids" / "dataset_description.json").read_text())["BIDSVersion"]


def test_bids_tables_keep_line_endings_in_names(tmp_path: Path) -> None:
    columns = ["onset", "duration", "expression", "apex", "peak", "segment", "cut_start", "cut_end"]
    event = dict.fromkeys(columns, 1.0) | {"person": "p", "source": "a.mp4", "segment": "one\rtwo"}
    write_bids(pd.DataFrame([event]), tmp_path)
    (path,) = tmp_path.glob("sub-*/*_events.tsv")
    with path.open(encoding="utf-8", newline="") as file:
        assert [row["segment"] for row in csv.DictReader(file, delimiter="\t")] == ["one\rtwo"]


def test_images_alone_make_a_page(faces: Faces, tmp_path: Path) -> None:
    parts = [faces(f"{n}.jpg", [0], ["happiness"]).assign(time=None, frame=None, track=None) for n in range(3)]
    page = mftn.summarize(pd.concat(parts)).write(tmp_path)
    assert "3 people in 3 images" in re.sub(r"\s+", " ", page.read_text(encoding="utf-8"))


def test_nothing_of_an_earlier_run_contradicts_the_page(
    faces: Faces, tmp_path: Path, study: pd.DataFrame, segments: pd.DataFrame, groups: pd.DataFrame
) -> None:
    first = mftn.summarize(study, people="one", segments=segments, groups=groups, window=2.5)
    mine = {"figures/people_at_a_party.png", "figures/quality.png.bak", "synchrony.csv"}  # named like results
    (tmp_path / "figures").mkdir()
    for name in mine:
        (tmp_path / name).write_bytes(b"of somebody else")
    first.write(tmp_path)
    before = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.*")}
    assert {"conditions.csv", "windows.parquet"} <= before and any("figures/conditions_" in path for path in before)
    mftn.summarize(study, people="one").write(tmp_path)
    after = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.*")}
    mftn.summarize(study, people="one").write(tmp_path / "fresh")
    fresh = {path.relative_to(tmp_path / "fresh").as_posix() for path in (tmp_path / "fresh").rglob("*.*")}
    assert after == fresh | mine and all((tmp_path / name).read_bytes() == b"of somebody else" for name in mine)


def test_nobody_seen_is_an_error_and_unreadable_sources_are_counted(
    faces: Faces, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    faces("a.mp4", np.arange(9) / 10, [None] * 9).to_parquet(tmp_path / "faces.parquet")
    assert main(["summarize", str(tmp_path / "faces.parquet"), "--out", str(tmp_path / "out")]) == 1
    assert "no face was found" in capsys.readouterr().err


def test_mistakes_on_the_command_line_are_one_line(tmp_path: Path, capsys, study: pd.DataFrame) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "faces.parquet"
    study.head(50).to_parquet(path)
    for arguments, message, status in (
        ([], "no table was given", 2),
        ([str(path), "--window", "soon"], "window 'soon' is not a time", 2),
        ([str(path), "--baseline", "rest"], "baseline rest: no segment has this name", 2),
        ([str(path), "--groups", "none.csv"], "none.csv: there is no such file", 1),
        ([str(path), "--onset", "0.2"], "--offset is 0.4; it must be above 0 and at most 0.2", 2),
        ([str(path), "--smooth", "nan"], "--smooth is nan", 2),
    ):
        assert main(["summarize", *arguments, "--out", str(tmp_path / "out")]) == status
        error = capsys.readouterr().err
        assert message in error and error.startswith("mftn: ") and error.count("\n") == 1


def test_a_table_of_the_study_is_never_replaced_by_a_result(
    study: pd.DataFrame, groups: pd.DataFrame, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study.to_parquet(tmp_path / "faces.parquet")
    groups.to_csv(tmp_path / "conditions.csv", index=False)
    before = (tmp_path / "conditions.csv").read_bytes()
    arguments = [str(tmp_path / "faces.parquet"), "--groups", str(tmp_path / "conditions.csv"), "--out", str(tmp_path)]
    assert main(["summarize", *arguments]) == 2
    assert "conditions.csv would be replaced" in capsys.readouterr().err
    assert (tmp_path / "conditions.csv").read_bytes() == before


@pytest.mark.parametrize("name", ["events.csv", "summary.json"])
def test_a_file_that_no_summary_wrote_is_never_replaced(
    study: pd.DataFrame, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    study.head(50).to_parquet(tmp_path / "faces.parquet")
    (tmp_path / name).write_text('{"mine": 1}\n')
    assert main(["summarize", str(tmp_path / "faces.parquet"), "--out", str(tmp_path)]) == 1
    assert f"{tmp_path / name}: would be replaced" in capsys.readouterr().err
    with pytest.raises(OutputError, match=name):
        mftn.summarize(study.head(50)).write(tmp_path)
    assert (tmp_path / name).read_text() == '{"mine": 1}\n'


def test_an_interrupted_summary_can_be_written_anew(
    study: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    summary = mftn.summarize(study.head(50))
    with monkeypatch.context() as broken, pytest.raises(KeyboardInterrupt):
        broken.setattr("mftn.analysis.output.methods", Mock(side_effect=KeyboardInterrupt))
        summary.write(tmp_path)
    assert (tmp_path / "persons.csv").exists() and not (tmp_path / "summary.html").exists()
    assert summary.write(tmp_path).exists()


def test_an_interrupted_summary_leaves_no_page_of_an_earlier_one(
    study: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mftn.summarize(study.head(50)).write(tmp_path)
    monkeypatch.setattr("mftn.analysis.output.write_table", Mock(side_effect=KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        mftn.summarize(study.head(80)).write(tmp_path)
    assert not (tmp_path / "summary.html").exists()


def test_a_folder_that_is_a_file_is_refused_before_any_work(
    study: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    study.head(50).to_parquet(tmp_path / "faces.parquet")
    (tmp_path / "out").touch()
    monkeypatch.setattr("mftn.analysis.summary.summarize", Mock(side_effect=AssertionError("work was done")))
    assert main(["summarize", str(tmp_path / "faces.parquet"), "--out", str(tmp_path / "out")]) == 2
    assert f"{tmp_path / 'out'} is not a folder" in capsys.readouterr().err


def test_prediction_and_help_import_nothing_of_it() -> None:
    code = (
        "import sys, mftn; mftn.predict; from mftn.cli import main; main(['--help']);"
        "heavy = ('mftn.analysis', 'pandas', 'scipy', 'statsmodels', 'pyarrow');"
        "print([name for name in sys.modules if name.startswith(heavy)])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip().endswith("[]")


def test_without_its_extra_the_error_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['pandas'] = None; from mftn.cli import main; print(main(['summarize', 'x.csv']));"
        "import mftn\ntry: mftn.summarize\nexcept mftn.errors.MissingExtraError as error: print(error)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[0] == "1"
    for said in (result.stderr, result.stdout):
        assert "pip install 'mftn[analysis]'" in said


def test_a_figure_or_bids_table_of_somebody_else_is_never_replaced(study: pd.DataFrame, tmp_path: Path) -> None:
    summary = mftn.summarize(study.head(50))
    for name in ("figures/quality.png", "bids/dataset_description.json"):
        out = tmp_path / Path(name).stem
        (out / name).parent.mkdir(parents=True)
        (out / name).write_text("mine")
        with pytest.raises(OutputError, match=name):
            summary.write(out, bids=True)
        assert (out / name).read_text() == "mine" and not (out / "persons.csv").exists()


def test_bids_tables_are_remembered_by_a_summary_without_them(study: pd.DataFrame, tmp_path: Path) -> None:
    summary = mftn.summarize(study.head(50))
    for bids in (True, False, True):
        summary.write(tmp_path, bids=bids)
    assert (tmp_path / "bids" / "dataset_description.json").exists()


def test_what_is_left_out_of_a_figure_or_the_page_is_said(faces: Faces) -> None:
    rng = np.random.default_rng(0)
    parts = [faces(f"{n}.mp4", np.arange(9) / 10, rng.dirichlet(np.ones(8), 9)) for n in range(63)]
    groups = pd.DataFrame({"source": range(63), "group": range(63)})
    summary = mftn.summarize(pd.concat(parts), people="one", groups=groups)
    for figure in (
        figures.draw_presence(summary.presence),
        figures.draw_raster(summary.events, summary.presence),
        figures.draw_quality(summary.persons),
    ):
        assert figure.axes[0].get_ylabel() == "the first 60 of 63"
    levels = [course.segment.conditions["group"] for course in summary.courses]
    curves = figures.draw_curves("film", summary.courses, levels, 0.95)
    assert curves.legends[0].get_title().get_text() == "film, the first 6 of 63 conditions"
    assert "3 more rows are left out; expressions.csv has them all." in render(summary, {}, {})
