import csv
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sklearn.metrics
import timm
import torch
from PIL import Image as PillowImage
from statsmodels.stats.multitest import multipletests

import mftn.models  # noqa: F401 (registers the networks)
from mftn.cli import main
from mftn.data.dataset import FaceDataset
from mftn.engines import Flipped, load_engine
from mftn.errors import ConfigError, DataError, ModelError, OutputError
from mftn.evaluate.groups.request import GroupRequest
from mftn.evaluate.inference import preprocess_for
from mftn.evaluate.predictions import FLIPPED, FUSED, NetworkSummary, Predictions, cache_key, read_predictions
from mftn.evaluate.report import Model, Options, write_report
from mftn.export import export_onnx
from mftn.export.onnx import crop_batches
from mftn.labels import LABEL_SETS
from mftn.models import load_model, save_model
from mftn.spec import ModelSpec

LITTLE = Options(robustness_images=4, deletion_images=4, embedding_images=0)
NOTHING = Options(0, 0, 0)
SUMMARY = NetworkSummary("mftn_face", 1, [48, 48])


def network(folder: Path, prepared: Path, architecture: str = "mftn_face", classes: int = 8, seed: int = 0) -> Model:
    """An untrained network in a checkpoint, whose template is that of the data set's central 7/8."""
    torch.manual_seed(seed)
    arguments = {"num_classes": classes, "in_chans": 1, "img_size": 32}
    model = timm.create_model(architecture, **arguments)
    crop = FaceDataset(prepared, "valid", in_memory=False).template
    template = tuple(map(tuple, ((crop - 0.5) / 0.875 + 0.5).tolist()))
    spec = ModelSpec(architecture, LABEL_SETS[classes], (32, 32), template, temperature=1.5, arguments=arguments)
    path = folder / f"{architecture}_{classes}_{seed}.safetensors"
    save_model(model, path, spec)
    return Model(path.stem, path, load_model(path))


def test_groups_of_a_prepared_split(prepared: Path, tmp_path: Path) -> None:
    sources = pq.read_table(prepared / "manifest.parquet").to_pylist()
    train = [row["source"] for row in sources if row["split"] == "train"]
    rows = [f"{source},{number % 6},{'fm'[number % 2]}" for number, source in enumerate([*train, "valid/other.png"])]
    (tmp_path / "people.csv").write_text("image,person,sex\n" + "\n".join(rows) + "\n")
    request = GroupRequest(tmp_path / "people.csv")
    model = network(tmp_path, prepared)
    report = write_report([model], prepared, "train", tmp_path / "report", options=NOTHING, groups=request)
    assert report.groups
    results = report.groups.models[model.name]
    assert results.images == 24 and results.people == 6
    fused = report.results.models[model.name].outputs[FUSED]["argmax"]
    every = [share for share in results.shares if share.label == "all expressions"]
    assert sum(share.right for share in every) == round(fused.accuracy * 24)
    assert "1 of 25 rows" in " ".join(results.notes)
    assert (tmp_path / "report" / "groups.html").is_file()


def test_a_report_of_two_models_holds_what_it_measures(prepared: Path, tmp_path: Path) -> None:
    models = [network(tmp_path, prepared), network(tmp_path, prepared, "baseline_face")]
    seen: dict[str, int] = {}

    def on_progress(what: str, done: int, total: int) -> None:
        seen[what] = seen.get(what, 0) + done
        assert seen[what] <= total

    options = Options(robustness_images=4, deletion_images=4, embedding_images=100)
    report = write_report(models, prepared, "train", tmp_path / "report", options=options, on_progress=on_progress)
    page = report.page.read_text()
    found = json.loads((tmp_path / "report" / "metrics.json").read_text())
    assert found["data"]["images"] == found["data"]["in_manifest"] == 24

    table = pq.read_table(tmp_path / "report" / "predictions" / f"{models[0].name}.parquet")
    predicted = np.stack(table[FUSED].to_numpy()).argmax(axis=1)
    labels = np.array([LABEL_SETS[8].index(name) for name in table["label"].to_pylist()])
    row = found["models"][models[0].name]["outputs"][FUSED]["argmax"]
    assert row["accuracy"] == pytest.approx(sklearn.metrics.accuracy_score(labels, predicted))
    expected = sklearn.metrics.confusion_matrix(labels, predicted, labels=range(8))
    assert row["confusion"] == expected.tolist()
    assert set(found["models"][models[0].name]["outputs"]) == {
        FUSED, "fused, flip averaged", "backbone head", "MsTN head"
    }  # fmt: skip
    assert set(found["models"][models[1].name]["outputs"]) == {FUSED, "fused, flip averaged"}
    assert len(found["pairs"]) == 1 and 0 <= found["pairs"][0]["p"] <= 1
    assert found["published"]["rows"]["QCS"] == 91.41
    assert 0 <= found["models"][models[0].name]["robustness"]["mean"] <= 1

    names = {"confusion", "reliability", "agreement", "robustness", "deletion"}
    names |= {f"embeddings_{model.name}" for model in models}
    figures = {path.stem for path in (tmp_path / "report" / "figures").glob("*.png")}
    assert names <= figures
    for name in names:
        assert min(PillowImage.open(tmp_path / "report" / "figures" / f"{name}.png").size) > 200
        assert (tmp_path / "report" / "figures" / f"{name}.pdf").read_bytes().startswith(b"%PDF")
    assert page.count("data:image/png;base64,") >= len(names)
    assert not re.search(r"(src|href)=\"(?!data:)", page), "the page needs nothing beside it"
    summary = list(csv.DictReader((tmp_path / "report" / "summary.csv").open()))
    assert len(summary) == 12 and {row["output"] for row in summary} > {"MsTN head"}
    assert list((tmp_path / "report").rglob("*.partial*")) == []


def test_the_average_over_flips_is_that_of_the_predictor(prepared: Path, tmp_path: Path) -> None:
    model = network(tmp_path, prepared)
    for head in model.network.heads():  # type: ignore[union-attr]
        head.weight.data *= 200  # so sure that means of logits and of probabilities differ
    save_model(model.network, model.file, model.network.spec)  # type: ignore[arg-type,union-attr]
    write_report([model], prepared, "valid", tmp_path / "report", options=NOTHING)
    kept = tmp_path / "report" / "predictions" / f"{model.name}.parquet"
    dataset = FaceDataset(prepared, "valid")
    found = read_predictions("kept", kept, cache_key(model.file, dataset, "valid", "argmax"))

    export_onnx(model.file, tmp_path / "m.onnx", "m")
    engine = Flipped(load_engine(tmp_path / "m.onnx"))
    expected = np.concatenate([engine.probabilities(crops) for crops in crop_batches(engine.spec, dataset)])
    np.testing.assert_allclose(found.probabilities(LABEL_SETS[8], FLIPPED), expected, atol=0.01)


def test_nothing_of_an_earlier_report_stands_beside_the_new_one(prepared: Path, tmp_path: Path) -> None:
    out = tmp_path / "report"
    (out / "figures").mkdir(parents=True)
    earlier = ["robustness.csv", "figures/embeddings_old.png", "groups.html"]
    own = ["people.csv", "figures/mine.png", "../outside.csv"]
    for name in (*earlier, *own):
        (out / name).write_text("earlier")
    (out / "metrics.json").write_text(json.dumps({"files": [*earlier, "metrics.json", "../outside.csv"]}))
    write_report([network(tmp_path, prepared, "baseline_face")], prepared, "valid", out, options=NOTHING)
    assert not any((out / name).exists() for name in earlier)
    assert all((out / name).read_text() == "earlier" for name in own)
    listed = json.loads((out / "metrics.json").read_text())["files"]
    assert "summary.csv" in listed and all((out / name).is_file() for name in listed)


@pytest.mark.parametrize("name", ["summary.csv", "metrics.json", "figures/agreement.png"])
def test_a_file_that_no_report_wrote_is_never_replaced(prepared: Path, tmp_path: Path, name: str) -> None:
    out = tmp_path / "report"
    (out / name).parent.mkdir(parents=True)
    (out / name).write_text("mine")
    with pytest.raises(OutputError, match=f"{out / name}: would be replaced"):
        write_report([network(tmp_path, prepared, "baseline_face")], prepared, "valid", out, options=NOTHING)
    assert (out / name).read_text() == "mine" and not (out / "report.html").exists()


def test_models_of_like_names_share_no_file(prepared: Path, tmp_path: Path) -> None:
    made = [network(tmp_path, prepared, "baseline_face", seed=seed) for seed in (0, 1, 2)]
    files = [tmp_path / "a b.safetensors", tmp_path / "a_b.safetensors", tmp_path / "more" / "a b.safetensors"]
    files[2].parent.mkdir()
    for model, path in zip(made, files, strict=True):
        model.file.rename(path)
    arguments = [word for path in files for word in ("--model", str(path))]
    for option in ("robustness", "deletion", "embedding"):
        arguments += [f"--{option}-images", "0"]
    assert main(["evaluate", *arguments, "--data", str(prepared), "--out", str(tmp_path / "report")]) == 0
    found = json.loads((tmp_path / "report" / "metrics.json").read_text())
    assert list(found["models"]) == ["a b", "a_b", "a b 2"]
    assert len(list((tmp_path / "report" / "predictions").iterdir())) == 3


def test_predictions_are_kept_and_made_again_for_other_weights(prepared: Path, tmp_path: Path) -> None:
    def passes(model: Model) -> int:
        done: list[int] = []
        write_report([model], prepared, "valid", tmp_path / "report", options=NOTHING,
                     on_progress=lambda what, count, total: done.append(count))  # fmt: skip
        return sum(done)

    first, second = (network(tmp_path, prepared, seed=seed) for seed in (0, 1))
    assert (passes(first), passes(first)) == (16, 0)
    shutil.copy(second.file, first.file)
    assert passes(Model(first.name, first.file, second.network)) == 16


def test_a_report_is_drawn_again_without_the_model(prepared: Path, tmp_path: Path) -> None:
    model = network(tmp_path, prepared)
    report = write_report([model], prepared, "valid", tmp_path / "first", options=LITTLE)
    model.file.unlink()
    kept = Model("kept", tmp_path / "first" / "predictions" / f"{model.name}.parquet", None)
    other = network(tmp_path, prepared, seed=1)
    again = write_report([kept, other], prepared, "valid", tmp_path / "again", options=LITTLE)
    first, second = (r.results.models[n].outputs for r, n in ((report, model.name), (again, "kept")))
    assert first[FUSED]["argmax"].accuracy == second[FUSED]["argmax"].accuracy
    assert again.results.models["kept"].robustness is None and again.results.models[other.name].robustness is not None
    assert "Where the models look" in again.page.read_text()
    with pytest.raises(DataError, match="another split"):
        write_report([kept], prepared, "train", tmp_path / "train", options=NOTHING)
    with pytest.raises(DataError, match="holds no predictions"):
        write_report([Model("x", prepared / "manifest.parquet", None)], prepared, "valid", tmp_path / "x")


def test_kept_predictions_are_not_replaced_by_those_that_they_are_compared_with(prepared: Path, tmp_path: Path) -> None:
    out, model, other = tmp_path / "report", network(tmp_path, prepared), network(tmp_path, prepared, seed=1)
    write_report([model], prepared, "valid", out, options=NOTHING)
    kept = Model("before", out / "predictions" / f"{model.name}.parquet", None)
    before = kept.file.read_bytes()
    retrained = Model(model.name, other.file, other.network)
    for models in ([retrained, kept], [kept, retrained]):
        with pytest.raises(OutputError, match=f"{kept.file}: is a source"):
            write_report(models, prepared, "valid", out, options=NOTHING)
    assert kept.file.read_bytes() == before
    write_report([retrained, kept], prepared, "valid", tmp_path / "beside", options=NOTHING)


def test_a_file_in_the_place_of_kept_predictions_is_not_replaced(prepared: Path, tmp_path: Path) -> None:
    model, mine = network(tmp_path, prepared), tmp_path / "study" / "predictions" / "mftn_face_8_0.parquet"
    mine.parent.mkdir(parents=True)
    pq.write_table(pa.table({"image": ["a.jpg"]}), mine)
    before = mine.read_bytes()
    with pytest.raises(OutputError, match=f"{mine}: would be replaced"):
        write_report([model], prepared, "valid", tmp_path / "study", options=NOTHING)
    assert mine.read_bytes() == before


def test_classes_that_only_one_side_has(prepared: Path, tmp_path: Path) -> None:
    seven, eight = LABEL_SETS[7], LABEL_SETS[8]
    logits = np.random.default_rng(0).normal(size=(5, 8)).astype(np.float32)
    knows_all = Predictions("a", eight, 1.0, SUMMARY, {FUSED: logits})
    expected = np.exp(logits[:, :7]) / np.exp(logits[:, :7]).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(knows_all.probabilities(seven), expected, rtol=1e-6)
    lacks_one = Predictions("b", seven, 2.0, SUMMARY, {FUSED: logits[:, :7]})
    assert (lacks_one.probabilities(eight)[:, 7] == 0).all()

    models = [network(tmp_path, prepared, classes=7)]
    report = write_report(models, prepared, "valid", tmp_path / "report", options=NOTHING)
    assert "does not know contempt" in (page := report.page.read_text())
    assert report.results.models["mftn_face_7_0"].classes_missing == ["contempt"]
    assert report.results.models["mftn_face_7_0"].raters.divergence == np.inf  # raters saw contempt
    assert "infinite, as it does not know every class" in page


def test_published_figures_are_shown_beside_those_of_both_protocols_and_only_for_the_same_classes(
    prepared: Path, tmp_path: Path
) -> None:
    models = [network(tmp_path, prepared)]
    page = write_report(models, prepared, "valid", tmp_path / "report", options=NOTHING).page.read_text()
    for protocol in ("argmax", "majority"):
        assert f"<b>mftn_face_8_0</b>, valid, {protocol}, here" in page
    data = tmp_path / "data"
    shutil.copytree(prepared, data)
    about = json.loads((data / "dataset.json").read_text())
    (data / "dataset.json").write_text(json.dumps(about | {"classes": 7}))
    assert write_report(models, data, "valid", tmp_path / "seven", options=NOTHING).results.published is None


def test_with_more_than_one_pair_p_is_corrected_for_their_number(prepared: Path, tmp_path: Path) -> None:
    models = [network(tmp_path, prepared, seed=seed) for seed in range(3)]
    report = write_report(models, prepared, "train", tmp_path / "report", options=NOTHING)
    pairs = report.results.pairs
    expected = multipletests([pair.p for pair in pairs], method="holm")[1]
    assert [pair.p_holm for pair in pairs] == pytest.approx(list(expected))
    assert "<th>p, Holm</th>" in report.page.read_text()
    alone = write_report(models[:2], prepared, "train", tmp_path / "alone", options=NOTHING)
    assert alone.results.pairs[0].p_holm == alone.results.pairs[0].p and "Holm" not in alone.page.read_text()


def test_a_name_with_dollar_signs_is_drawn_as_written(prepared: Path, tmp_path: Path) -> None:
    made = network(tmp_path, prepared)
    odd = Model("cost$_$", made.file, made.network)  # no formula, and no valid one
    assert write_report([odd], prepared, "valid", tmp_path / "report", options=NOTHING).page.is_file()


def test_an_unreadable_image_stops_the_evaluation_with_its_name(prepared: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(prepared, data)
    bad = FaceDataset(data, "valid").paths[3]
    (data / bad).write_bytes(b"no image")
    with pytest.raises(DataError, match=re.escape(bad)):
        write_report([network(tmp_path, prepared)], data, "valid", tmp_path / "report", options=NOTHING)


def test_a_manifest_that_lost_rows_is_refused(prepared: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(prepared, data)
    table = pq.read_table(data / "manifest.parquet")
    pq.write_table(table.slice(0, table.num_rows - 1), data / "manifest.parquet")
    with pytest.raises(DataError, match="manifest has 7 images in valid, but dataset.json says 8"):
        write_report([network(tmp_path, prepared)], data, "valid", tmp_path / "report")
    assert not (tmp_path / "report").exists()


def test_a_protocol_that_keeps_no_image_is_shown_as_unknown(prepared: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(prepared, data)
    table = pq.read_table(data / "manifest.parquet")
    votes = pa.array([[3, 2, 2, 2, 1, 0, 0, 0, 0, 0]] * table.num_rows, table.schema.field("votes").type)
    column = table.schema.get_field_index("votes")
    pq.write_table(table.set_column(column, "votes", votes), data / "manifest.parquet")
    report = write_report([network(tmp_path, prepared)], data, "valid", tmp_path / "report", options=NOTHING)
    scores = report.results.models["mftn_face_8_0"].outputs[FUSED]
    assert (scores["argmax"].images, scores["majority"].images) == (8, 0)
    page = re.sub(r'src="data:[^"]*"', "", report.page.read_text())
    assert "<td>–</td>" in page and not re.search(r"\bnan\b", page)
    found = json.loads((tmp_path / "report" / "metrics.json").read_text())
    assert found["models"]["mftn_face_8_0"]["outputs"][FUSED]["majority"]["accuracy"] is None
    with pytest.raises(DataError, match="the majority protocol excludes all 8 images"):
        write_report([network(tmp_path, prepared)], data, "valid", tmp_path / "other", "majority", options=NOTHING)


def test_a_network_without_finite_logits_is_refused(prepared: Path, tmp_path: Path) -> None:
    model = network(tmp_path, prepared)
    model.network.mstn.head.bias.data[0] = float("nan")  # type: ignore[union-attr]
    with pytest.raises(ModelError, match="mftn_face_8_0: gives no finite logits for 8 of 8 images"):
        write_report([model], prepared, "valid", tmp_path / "report", options=NOTHING)


def test_names_on_the_page_are_text_and_no_html(prepared: Path, tmp_path: Path) -> None:
    made = network(tmp_path, prepared)
    odd = Model("<i>&", made.file, made.network)
    page = write_report([odd], prepared, "valid", tmp_path / "report", options=NOTHING).page.read_text()
    assert "&lt;i&gt;&amp;" in page and "<i>" not in page


def test_the_view_follows_from_both_templates_and_another_framing_is_refused(prepared: Path, tmp_path: Path) -> None:
    model, dataset = network(tmp_path, prepared), FaceDataset(prepared, "valid")
    assert preprocess_for(model.network.spec, dataset).view == pytest.approx(0.875)
    template = tuple(map(tuple, (dataset.template + np.array([0.0, 0.1])).tolist()))
    moved = replace(model.network.spec, template=template)
    with pytest.raises(ConfigError, match="--framing"):
        preprocess_for(moved, dataset)
    with pytest.raises(ConfigError, match="48×64; prepared crops are square"):
        preprocess_for(replace(model.network.spec, size=(48, 64)), dataset)
