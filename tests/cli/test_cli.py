"""The command line as a user meets it, in processes of its own."""

import csv
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image as PillowImage

from mftn import load

ROOT = Path(__file__).parents[2]
PHOTOS = ROOT / "examples" / "photos"


def mftn(*arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mftn", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, **options)


def test_help_and_version_are_the_same_from_main_py() -> None:
    help_text = mftn("--help")
    published = subprocess.run([sys.executable, ROOT / "main.py", "--help"], capture_output=True, text=True, check=True)
    assert help_text.returncode == published.returncode == 0
    assert help_text.stdout == published.stdout and "predict" in help_text.stdout
    assert mftn("--version").stdout.startswith("mftn 0.")


def test_an_unknown_subcommand_names_the_nearest() -> None:
    result = mftn("predcit")
    assert result.returncode == 2 and "did you mean predict" in result.stderr


def test_a_pipe_gets_jsonl_in_the_order_of_the_input() -> None:
    result = mftn("predict", PHOTOS / "grace_hopper.jpg", PHOTOS / "astronaut.jpg")
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert result.returncode == 0 and result.stderr == ""
    assert [Path(line["source"]).name for line in lines] == ["grace_hopper.jpg", "astronaut.jpg"]
    assert lines[1]["faces"][0]["expression"] == "happiness"


def test_files_images_and_crops(tmp_path: Path) -> None:
    arguments = ("--output", tmp_path / "f.csv", "--save-images", tmp_path / "a", "--save-crops", tmp_path / "c")
    result = mftn("predict", PHOTOS, *arguments)
    assert result.returncode == 0 and result.stdout == ""
    assert next(csv.DictReader((tmp_path / "f.csv").open()))["expression"] == "happiness"
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["astronaut_faces.jpg", "grace_hopper_faces.jpg"]
    assert sorted(path.name for path in (tmp_path / "c").iterdir()) == ["astronaut_face1.jpg", "grace_hopper_face1.jpg"]


def test_a_table_for_people() -> None:
    result = mftn("predict", PHOTOS / "astronaut.jpg", "--format", "table", "--top", 2)
    assert "happiness" in result.stdout and "probability" in result.stdout


def test_odd_file_names(tmp_path: Path) -> None:
    names = ["a [b] [red]\x1b[7m.jpg", "ünï 😀.jpg", os.fsdecode(b"latin-\xe9.jpg")]
    for name in names:
        shutil.copy(PHOTOS / "astronaut.jpg", tmp_path / name)
    table = mftn("predict", tmp_path / names[0], "--format", "table")
    assert table.returncode == 0 and r"a [b] [red]\x1b[7m.jpg" in table.stdout.replace("\n", "")
    wrong = mftn("predict", tmp_path / "\x1b[2J\u009b.jpg")
    assert r"\x1b[2J\x9b.jpg: no file matches" in wrong.stderr
    result = mftn("predict", tmp_path, "--output", tmp_path / "out.jsonl", "--save-images", tmp_path / "out")
    assert result.returncode == 0, result.stderr
    lines = (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()
    assert {Path(json.loads(line)["source"]).name for line in lines} == {*names[:2], r"latin-\xe9.jpg"}
    assert len(list((tmp_path / "out").iterdir())) == 3
    command = [sys.executable, "-m", "mftn", "predict", tmp_path / names[2]]
    piped = subprocess.run(command, capture_output=True, check=True)
    assert json.loads(piped.stdout)["source"] == str(tmp_path / r"latin-\xe9.jpg")


def test_an_image_whose_copy_cannot_be_saved_stops_no_other(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    PillowImage.new("L", (8, 65_501)).save(tmp_path / "in" / "a.png")
    shutil.copy(PHOTOS / "astronaut.jpg", tmp_path / "in" / "b.jpg")
    result = mftn("predict", tmp_path / "in", "--output", tmp_path / "o.jsonl", "--save-images", tmp_path / "out")
    assert result.returncode == 1 and "Traceback" not in result.stderr
    assert "a.png: its copy cannot be saved" in result.stderr
    assert len((tmp_path / "o.jsonl").read_text(encoding="utf-8").splitlines()) == 2
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["b_faces.jpg"]


@pytest.mark.parametrize("strict", [False, True])
def test_bad_images_are_named_once_and_the_rest_goes_on(tmp_path: Path, strict: bool) -> None:
    (tmp_path / "text.jpg").write_text("hello")
    sources = [tmp_path / "text.jpg", tmp_path / "gone.jpg", PHOTOS / "astronaut.jpg"]
    result = mftn("predict", *sources, *(["--strict"] if strict else []))
    assert result.returncode == 1
    errors = result.stderr.splitlines()
    assert f"{tmp_path / 'text.jpg'}: not an image" in errors[0]
    assert len(result.stdout.splitlines()) == (1 if strict else 3)
    if not strict:
        assert f"{tmp_path / 'gone.jpg'}: no such file" in errors[1] and "2 of 3 images failed" in errors[2]


def test_a_list_on_standard_input_is_processed_line_by_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mftn", "predict", "-", "--engine", "onnxruntime"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    for name in (PHOTOS / "astronaut.jpg", tmp_path / "none.jpg", PHOTOS / "grace_hopper.jpg"):
        process.stdin.write(f"{name}\n".encode())
        process.stdin.flush()
        line = json.loads(process.stdout.readline())  # the list is still open
        assert line["source"] == str(name) and bool(line["error"]) == (name.name == "none.jpg")
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    process.stdin.close()
    process.stdout.close()


FORKING = """
import multiprocessing, sys, time
import mftn.cli.doctor
from mftn.cli import main

def work(started):
    started.set()
    time.sleep(60)

def run(arguments):
    fork = multiprocessing.get_context("fork")
    started = fork.Event()
    worker = fork.Process(target=work, args=(started,))
    worker.start()
    started.wait()
    worker.terminate()
    worker.join()
    print(worker.exitcode)
    return 0

mftn.cli.doctor.run = run
sys.exit(main(["doctor"]))
"""
"""A subcommand whose library stops a worker, as multiprocessing pools do."""


def test_a_forked_worker_that_is_stopped_prints_nothing() -> None:
    done = subprocess.run([sys.executable, "-c", FORKING], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{-signal.SIGTERM}\n", "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["prepare", "ferplus", "--root", "/nowhere", "--out", "/nowhere/else"], "give what FERPlus was extracted to"),
        (["prepare", "ferplus", "--root", "/dev", "--out", "/nowhere/else"], "FER2013Train"),
        (["train", "--data", "/nowhere", "--out", "{tmp}/run"], "mftn prepare"),
        (["export", "/nowhere.safetensors"], "no such file"),
        (["prepare", "ferplus", "--root", "{ferplus}", "--out", "/dev/null/data"], "/dev/null"),
    ],
)
def test_mistakes_get_one_clear_line(tmp_path: Path, ferplus_root: Path, arguments: list[str], message: str) -> None:
    result = mftn(*[argument.format(tmp=tmp_path, ferplus=ferplus_root) for argument in arguments], cwd=tmp_path)
    assert result.returncode == 1
    assert message in result.stderr and "Traceback" not in result.stderr
    lines = [line for line in result.stderr.strip().splitlines() if not line.startswith("mftn: note: ")]
    assert len(lines) == 1 and lines[0].startswith("mftn: ")


def test_ctrl_c_keeps_what_is_done_and_says_so(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    names = "\n".join([str(PHOTOS / "astronaut.jpg")] * 5000)
    command = [sys.executable, "-m", "mftn", "predict", "-", "--output", str(out)]
    (tmp_path / "names.txt").write_text(names)
    with (tmp_path / "names.txt").open() as listed:  # a pipe would fill: the list is read as it is needed
        process = subprocess.Popen(command, stdin=listed, stderr=subprocess.PIPE, text=True)
    partial = tmp_path / "out.jsonl.resume"
    for _ in range(600):
        if partial.exists() and b'"done"' in partial.read_bytes():
            break
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 130
    done = len(out.read_text().splitlines())
    assert 0 < done < 5000
    assert f"interrupted after {done} image{'s' * (done > 1)}, kept in {out}" in process.stderr.read()


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet"])
def test_a_run_that_is_killed_again_and_again_ends_like_one_that_is_not(tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "photos"
    for number in range(60):
        (folder / f"{number % 4}").mkdir(parents=True, exist_ok=True)
        image = PillowImage.open(PHOTOS / "astronaut.jpg").crop((150, 40, 300, 210)).rotate(number % 9 - 4)
        image.resize((75, 85)).save(folder / f"{number % 4}" / f"{number}.png")
    options = ("--engine", "onnxruntime", "--threads", "1")
    undisturbed, killed = tmp_path / f"undisturbed.{kind}", tmp_path / f"killed.{kind}"
    assert mftn("predict", folder, *options, "--output", undisturbed).returncode == 0
    command = [sys.executable, "-m", "mftn", "predict", folder, *options, "--output", killed, "--resume"]
    journal, numbers = tmp_path / f"killed.{kind}.resume", random.Random(kind)
    for kill in numbers.choices((signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT), (4, 1, 1, 1), k=4):
        process = subprocess.Popen([*map(str, command)], stderr=subprocess.DEVNULL)
        before = journal.stat().st_size if journal.exists() else 0
        while process.poll() is None and (not journal.exists() or journal.stat().st_size <= before):
            time.sleep(0.005)
        time.sleep(numbers.uniform(0, 0.1))
        process.send_signal(kill)
        process.wait(60)
    assert mftn(*command[3:]).returncode == 0
    assert killed.read_bytes() == undisturbed.read_bytes()
    assert not list(tmp_path.glob("*.partial*")) and not list(tmp_path.glob("undisturbed*.resume"))
    again = mftn(*command[3:])
    assert again.returncode == 0 and "60 of 60 already done" in again.stderr
    assert killed.read_bytes() == undisturbed.read_bytes()


def test_a_run_without_resume_can_be_gone_on_with_and_is_not_lost_to_the_next(tmp_path: Path) -> None:
    text = tmp_path / "text.jpg"
    text.write_text("hello")
    command = ("predict", PHOTOS, text, "--output", tmp_path / "o.csv", "--save-images", tmp_path / "out")
    assert mftn(*command, "--strict").returncode == 1
    shutil.copy(PHOTOS / "astronaut.jpg", text)
    (tmp_path / "o.csv").unlink()
    lost = mftn(*command)
    assert lost.returncode == 2 and "add --resume to continue it, or --overwrite" in lost.stderr
    gone_on = mftn(*command, "--resume")
    assert gone_on.returncode == 0 and "2 of 3 already done" in gone_on.stderr
    rows = list(csv.DictReader((tmp_path / "o.csv").open()))
    assert [Path(row["annotated"]).name for row in rows] == [
        "astronaut_faces.jpg", "grace_hopper_faces.jpg", "text_faces.jpg"
    ]  # fmt: skip
    other = mftn(*command, "--resume", "--no-flip")
    assert other.returncode == 2 and "flip was True and is False" in other.stderr


def test_faces_can_be_classified_without_their_horizontal_flip() -> None:
    runs = [
        mftn("predict", PHOTOS / "grace_hopper.jpg", "--format", "jsonl", *flags)
        for flags in ((), ("--no-flip",), ("--no-mirror",))
    ]
    both, once, renamed = (json.loads(run.stdout)["faces"][0] for run in runs)
    assert both["box"] == once["box"] and both["probabilities"] != once["probabilities"]
    assert renamed == once
    assert [run.stderr for run in runs] == ["", "", "mftn: --no-mirror has been renamed: use --no-flip\n"]


def test_a_reader_that_goes_away_is_no_error() -> None:
    command = f"{sys.executable} -m mftn predict {PHOTOS} {PHOTOS} {PHOTOS} | head -n 1"
    result = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command}"], capture_output=True, text=True, timeout=120, check=False
    )
    assert result.returncode == 0 and result.stderr == "" and len(result.stdout.splitlines()) == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has it")
@pytest.mark.parametrize("arguments", ["--help", "--version", "models", "models --json", "predict --help"])
def test_whatever_is_printed_may_find_no_reader_and_no_space(arguments: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    full = os.open("/dev/full", os.O_WRONLY)
    message = "mftn: standard output: No space left on device; free space or choose another location\n"
    for output, expected in ((writing, (0, "")), (full, (1, message))):
        command = [sys.executable, "-m", "mftn", *arguments.split()]
        result = subprocess.run(command, stdout=output, stderr=subprocess.PIPE, text=True, timeout=120, check=False)
        os.close(output)
        assert (result.returncode, result.stderr) == expected


@pytest.mark.skipif(os.name == "nt", reason="POSIX shells close streams")
@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_program_started_without_standard_streams_writes_its_file(tmp_path: Path, closed: str) -> None:
    output = tmp_path / "faces.jsonl"
    command = f'exec "$0" -m mftn predict "$1" missing.jpg - --output "$2" {closed}'
    arguments = [sys.executable, str(PHOTOS / "astronaut.jpg"), str(output)]
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    result = subprocess.run(["sh", "-c", command, *arguments], **pipes, text=True, check=False, timeout=120)
    assert result.returncode == 1 and "Traceback" not in result.stderr
    assert result.stdout == "" and ("missing.jpg" in result.stderr) is ("2>&-" not in closed)
    assert [len(json.loads(line)["faces"]) for line in output.read_text().splitlines()] == [1, 0]


def test_models_and_doctor() -> None:
    models = json.loads(mftn("models", "--json").stdout)
    assert {model["name"] for model in models} == {"mftn_face_ferplus", "mftn_mobile_ferplus"}
    assert all(model["accuracy"] and model["licence"] for model in models)
    doctor = mftn("doctor")
    assert doctor.returncode == 0 and "torch" in doctor.stdout
    assert "\nvideo: " in doctor.stdout and "mkdocs" not in doctor.stdout, "what only contributors need is not shown"
    assert "prediction: works (model mftn_mobile_ferplus, 112×112, 8 classes, on openvino)" in doctor.stdout


def test_prepare_train_export_predict(tmp_path: Path, ferplus_root: Path) -> None:
    def succeed(*arguments: object) -> str:
        result = mftn(*arguments)
        assert result.returncode == 0, result.stderr
        return result.stdout

    text = succeed("prepare", "ferplus", "--root", ferplus_root, "--out", tmp_path / "data", "--workers", 1)
    assert "train: 24 faces, 1 of them not found" in text
    run = ("--data", tmp_path / "data", "--out", tmp_path / "run", "--epochs", 1, "--small-epochs", 0)
    text = succeed("train", *run, "--batch-size", 8, "--precision", "fp32")
    assert "argmax protocol, 8 images" in text
    succeed("export", tmp_path / "run" / "best.safetensors", "--out", tmp_path / "mine.onnx")
    line = json.loads(succeed("predict", PHOTOS / "astronaut.jpg", "--model", tmp_path / "mine.onnx"))
    assert sum(line["faces"][0]["probabilities"].values()) == pytest.approx(1, abs=1e-4)


def test_an_explanation_names_the_expression_and_probability_of_the_prediction(tmp_path: Path) -> None:
    photo = PHOTOS / "grace_hopper.jpg"
    (face,) = load(flip=False).predict(photo).faces
    done = mftn("explain", photo, "--out", tmp_path)
    assert f"{photo}: {face.expression} {face.probability:.0%} → " in done.stdout


def test_evaluate_and_explain(tmp_path: Path, prepared: Path) -> None:
    done = mftn("evaluate", "--model", "mftn_face_ferplus", "--data", prepared, "--out", tmp_path / "report",
                "--robustness-images", 0, "--deletion-images", 4, "--embedding-images", 0)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "8 images evaluated: all 8 of the manifest" in done.stdout
    assert (tmp_path / "report" / "report.html").is_file()
    done = mftn("explain", PHOTOS, "--out", tmp_path / "maps", "--expression", "anger")
    assert done.returncode == 0, done.stderr
    assert "anger" in done.stdout and sorted(path.stem for path in (tmp_path / "maps").iterdir()) == [
        "astronaut", "grace_hopper"
    ]  # fmt: skip
    (tmp_path / "text.jpg").write_text("no image")
    done = mftn("explain", tmp_path / "text.jpg", "--out", tmp_path / "maps")
    assert done.returncode == 1 and "text.jpg" in done.stderr and "Traceback" not in done.stderr


def test_benchmark_measures_this_machine(tmp_path: Path) -> None:
    photo = tmp_path / "an [red]astronaut.jpg"
    shutil.copy(PHOTOS / "astronaut.jpg", photo)
    done = mftn("benchmark", "--seconds", 0.05, "--photo", photo, "--output", tmp_path / "b.csv")
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader((tmp_path / "b.csv").open()))
    assert {row["batch"] for row in rows} == {"1", "8", "32"}
    assert rows[-1]["what"] == f"end to end, {photo.name}, 1 face(s)"
    for row in rows:
        assert 0 < float(row["p10_ms"]) <= float(row["median_ms"]) <= float(row["p90_ms"])
        expected = 1000 * int(row["batch"]) / float(row["median_ms"])
        assert float(row["per_second"]) == pytest.approx(expected, rel=0.02, abs=0.06)  # one decimal
    assert rows[-1]["what"] in done.stdout
