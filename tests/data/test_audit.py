import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mftn.cli import main
from mftn.data.audit import audit, doubtful_labels
from mftn.data.audit_page import render
from mftn.data.duplicates import connected, near_pairs
from mftn.data.prepare import ferplus_preparation, prepare
from mftn.data.readers import read_records
from mftn.evaluate.audit_labels import add_model_findings
from mftn.models import load_model
from mftn.train.config import DataConfig, TrainConfig
from mftn.train.loop import train


@settings(max_examples=30)
@given(st.integers(0, 40), st.integers(0, 2**32 - 1), st.integers(0, 60))
def test_near_pairs_are_those_that_counting_bits_finds(count: int, seed: int, distance: int) -> None:
    rng = np.random.default_rng(seed)
    base = rng.integers(0, 2, (1, 256))
    bits = (base ^ (rng.random((count, 256)) < rng.uniform(0, 0.2, (count, 1)))).astype(np.uint8)
    found = near_pairs([np.packbits(row).tobytes() for row in bits], distance, block=7)
    expected = [(a, b, int((bits[a] != bits[b]).sum())) for a in range(count) for b in range(a + 1, count)]
    assert [tuple(row) for row in found.tolist()] == [pair for pair in expected if pair[2] <= distance]


def test_groups_follow_chains_of_pairs() -> None:
    pairs = np.array([(1, 3), (3, 4), (0, 5)])
    assert connected(pairs, 6).tolist() == [0, 1, 2, 1, 1, 0]


@pytest.fixture
def leaking(tmp_path: Path, ferplus_root: Path) -> Path:
    """A prepared set whose validation holds a training image, relabelled, and a slightly lighter copy of another."""
    from PIL import Image as PillowImage

    root = tmp_path / "raw"
    shutil.copytree(ferplus_root, root)
    train, valid = root / "FER2013Train", root / "FER2013Valid"
    shutil.copy(train / "fer0000002.png", valid / "fer0000000.png")
    lighter = PillowImage.open(train / "fer0000003.png").point(lambda value: min(value + 3, 255))
    lighter.save(valid / "fer0000001.png")
    PillowImage.new("L", (48, 48), 3).save(valid / "fer0000002.png")
    prepare(read_records("ferplus", root), tmp_path / "out", ferplus_preparation(64), workers=1)
    return tmp_path / "out"


def test_leaks_dark_and_lost_faces_are_found(leaking: Path) -> None:
    found = audit(leaking)

    def named(pairs: list[tuple[int, int, int]]) -> set[tuple[str, str]]:
        return {(found.paths[a], found.paths[b]) for a, b, _ in found.across(pairs)}

    assert ("train/fer0000002.png", "valid/fer0000000.png") in named(found.exact)
    assert ("train/fer0000003.png", "valid/fer0000001.png") in named(found.near)
    leaked = [found.paths[row] for row in found.leaked(found.exact + found.near)]
    assert {"valid/fer0000000.png", "valid/fer0000001.png"} <= set(leaked)
    assert "valid/fer0000002.png" in [found.paths[row] for row in found.dark]
    assert "valid/fer0000002.png" in [found.paths[row] for row in found.without_face]
    assert found.changed == []
    (leaking / "train" / "fer0000004.png").write_bytes(b"other")
    assert [found.paths[row] for row in audit(leaking).changed] == ["train/fer0000004.png"]


def test_the_page_escapes_names_and_puts_leaks_first(leaking: Path, tmp_path: Path) -> None:
    odd = tmp_path / "<i>&'"
    shutil.copytree(leaking, odd)
    found = audit(odd)
    name = "train/<script>.png"
    page = render(odd, replace(found, paths=[name, *found.paths[1:]], dark=[0]))
    assert "Audit of &lt;i&gt;&amp;&#39;" in page and "train/&lt;script&gt;.png" in page
    assert "<i>" not in page and "<script" not in page
    exact = page.partition("Exact duplicates")[2].partition("<h2>")[0]
    assert exact.index("valid/fer0000000.png") < exact.index("</figure>", exact.index("</figure>") + 1)
    assert "Missing or changed: 0" in page and "Doubtful" not in page


def test_a_model_doubts_labels_and_owes_accuracy_to_copies(leaking: Path, tmp_path: Path) -> None:
    run = TrainConfig(out=tmp_path / "run", data=DataConfig(folder=leaking), epochs=1, batch_size=8)
    weights = train(run)
    model = load_model(weights)
    found = add_model_findings(audit(leaking), leaking, "valid", model)
    assert found.doubtful is not None and all(found.split[row] == "valid" for row in found.doubtful)
    assert found.accuracy is not None and set(found.accuracy) == {
        "with a copy in train",
        "without a copy in train",
    }
    names = found.findings()["doubtful_labels"]
    assert names == [found.paths[row] for row in found.doubtful]
    assert found.summary()["doubtful_labels"] == ({"valid": len(names)} if names else {})
    heads = {name: value.flip(0) for name, value in model.state_dict().items() if ".head." in name and len(value) == 8}
    model.load_state_dict(model.state_dict() | heads)
    model.spec = replace(model.described(), labels=model.described().labels[::-1])
    other = add_model_findings(audit(leaking), leaking, "valid", model)
    assert (other.doubtful, other.accuracy) == (found.doubtful, found.accuracy), "classes are matched by name"


def test_a_wrong_label_is_doubted() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(4), 50)
    probabilities = rng.dirichlet(np.ones(4), 200) * 0.2 + 0.8 * np.eye(4)[labels]
    labels[7] = 3
    assert doubtful_labels(labels, probabilities) == [7]


def test_the_verb_prints_and_writes_what_it_found(leaking: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mftn", "audit", str(leaking), "--out", str(tmp_path / "report")]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stderr
    assert "too bright" in result.stdout and "across splits" in result.stdout
    figures = json.loads((tmp_path / "report" / "audit.json").read_text())
    assert figures["faces"] == 32 and figures["exact_duplicates"]["across_splits"] >= 1
    page = (tmp_path / "report" / "audit.html").read_text()
    assert page.count("<img") > 4 and "valid/fer0000000.png" in page
    foreign = tmp_path / "foreign" / "audit.html"
    foreign.parent.mkdir()
    foreign.write_text("mine")
    refused = [*command[:-1], str(foreign.parent)]
    result = subprocess.run(refused, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 1 and f"{foreign}: would be replaced" in result.stderr
    assert foreign.read_text() == "mine" and len(list(foreign.parent.iterdir())) == 1
    result = subprocess.run([*command[:4], str(tmp_path)], capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 1 and "manifest.parquet: missing; make it with `mftn prepare`" in result.stderr


def test_an_installed_model_is_asked_by_its_name(
    leaking: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "report"
    assert main(["audit", str(leaking), "--out", str(out), "--model", "mftn_face_ferplus"]) == 0
    said = capsys.readouterr()
    assert "doubtful label" in said.out and "on faces without a copy in train: " in said.out and not said.err
    assert 0 < json.loads((out / "audit.json").read_text())["accuracy"]["without a copy in train"] <= 1


def test_a_model_that_cannot_be_asked_is_named_before_the_crops_are_read(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("mftn.data.audit.audit", lambda *_: pytest.fail("the crops were read"))
    command = ["audit", str(prepared), "--out", str(tmp_path / "audit"), "--model", str(tmp_path / "none.safetensors")]
    assert main(command) == 2
    assert "none.safetensors: neither a model file nor an installed model" in capsys.readouterr().err
    command[-1] = "mftn_face_ferplus"
    monkeypatch.setattr("mftn.cli.audit.find_spec", lambda name: None)
    assert main(command) == 1
    assert "mftn[audit]" in capsys.readouterr().err and not (tmp_path / "audit").exists()
