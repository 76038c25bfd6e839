"""Verdicts on simulated people, whose truth is known, and on portraits, where shares alone mislead."""

import importlib.util
import json
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import mftn
from mftn.cli import main
from mftn.errors import ConfigError, DataError
from mftn.evaluate.groups import sentences
from mftn.evaluate.groups.compare import compare
from mftn.evaluate.groups.figure import draw_groups
from mftn.evaluate.groups.report import GroupReport
from mftn.evaluate.groups.request import GroupOptions, GroupRequest
from mftn.evaluate.groups.results import ALL
from mftn.evaluate.groups.sheet import LabelledImages
from mftn.labels import EXPRESSIONS

ROOT = Path(__file__).parents[3]


def benchmark(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "benchmarks" / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def truth() -> ModuleType:
    """Simulates audits: the benchmark's own code."""
    return benchmark("groups_truth")


def test_a_planted_gap_is_found_and_uneven_images_are_not_called_one(truth: ModuleType) -> None:
    planted = truth.Audit("", people=200, gap=2.5, uneven=1.0)
    uneven = truth.Audit("", people=200, uneven=1.0)
    blind = truth.Audit("", people=200, uneven=1.0, adjusted=False)
    called = {audit: [compare(truth.simulate(audit, np.random.default_rng(seed))) for seed in range(12)]
              for audit in (planted, uneven, blind)}  # fmt: skip
    assert sum(truth.found(results) for results in called[planted]) >= 11
    assert sum(truth.found(results) for results in called[uneven]) <= 2
    assert sum(truth.found(results) for results in called[blind]) >= 6
    assert {one.verdict for results in called[planted] for one in results.comparisons} <= {
        "difference", "none established"
    }  # fmt: skip
    assert {one.verdict for results in called[blind] for one in results.comparisons} == {
        "difference, not adjusted", "none established"
    }  # fmt: skip


def test_images_of_one_person_are_not_counted_as_people(truth: ModuleType) -> None:
    audit = truth.Audit("", people=60, images=10, own=2.0, slope=0.5)
    drawn = [truth.simulate(audit, np.random.default_rng(seed)) for seed in range(20)]
    assert sum(truth.found(compare(images)) for images in drawn) <= 3
    assert sum(truth.shares_alone(images) <= 0.05 for images in drawn) >= 5


def table(rows: list[tuple[str, str]]) -> pd.DataFrame:
    """What `mftn predict` writes: an image and its expression, or no face."""
    return pd.DataFrame(
        {"source": image, **{f"p_{name}": float(name == said) if said else None for name in EXPRESSIONS}}
        for image, said in rows
    )


def people(count: int, **columns: list[str]) -> pd.DataFrame:
    return pd.DataFrame({"image": [f"{number}.jpg" for number in range(count)], **columns})


def simulated(seed: int, people: int, images: int, covariate: str) -> LabelledImages:
    """Random images whose columns have little to do with each other; one column differs within people."""
    rng = np.random.default_rng(seed)
    person = np.repeat(np.arange(people), images)
    sex = np.where(rng.random(people) < 0.5, "f", "m")[person]
    strength = {
        "free": rng.normal(0, 1, len(person)),
        "the group": (sex == "f").astype(float),
        "unknown": np.full(len(person), np.nan),
        "partly unknown": np.where(rng.random(len(person)) < 0.1, np.nan, rng.integers(0, 3, len(person))),
    }[covariate]
    return LabelledImages(
        names=tuple(map(str, range(len(person)))),
        people=person,
        labels=rng.choice(["happiness", "neutral"], len(person)),
        right=rng.random(len(person)) < rng.choice([0.0, 0.1, 0.5, 1.0]),
        missed=np.zeros(len(person), bool),
        groups={"sex": sex, "quality": rng.choice(["", "low", "middle", "high"], len(person))},
        covariates={"strength": strength},
        notes=(),
    )


@settings(max_examples=25)
@given(
    seed=st.integers(0, 10_000),
    people=st.integers(2, 40),
    images=st.integers(1, 4),
    covariate=st.sampled_from(["free", "the group", "unknown", "partly unknown"]),
)
@example(seed=670, people=40, images=4, covariate="the group")  # a gap without spread, in words
def test_whatever_is_compared_shares_add_up_and_words_have_numbers(
    seed: int, people: int, images: int, covariate: str
) -> None:
    simulation = simulated(seed, people, images, covariate)
    results = compare(simulation, GroupOptions(fewest=5))
    every = [share for share in results.shares if share.column == "sex" and share.label == ALL] or [
        share for share in results.shares if share.column == "sex"
    ]
    assert sum(share.images for share in every) == people * images
    assert sum(share.right for share in every) == simulation.right.sum()
    for share in results.shares:
        assert 0 <= share.interval[0] <= share.interval[1] <= 1
    for one in results.comparisons:
        said = sentences.sentence(one)
        assert "nan" not in said and "inf" not in said
        test = one.adjusted or one.raw
        if test:
            assert 0 <= test.p <= one.p_holm <= 1
            assert test.interval[0] <= test.interval[1]
        if covariate == "unknown":
            assert one.adjusted is None


def test_a_covariate_that_is_the_group_leaves_nothing_to_compare() -> None:
    simulation = replace(simulated(1, 40, 4, "the group"), right=np.arange(160) % 3 > 0)
    one = next(one for one in compare(simulation, GroupOptions(fewest=5)).comparisons if one.column == "sex")
    assert one.adjusted and one.adjusted.p == 1 and one.adjusted.interval == (0, np.inf)
    assert "cannot be compared" in sentences.sentence(one)


def test_few_people_are_shown_and_not_judged() -> None:
    sheet = people(60, label=["happy"] * 60, sex=["f"] * 20 + ["m"] * 40)
    report = mftn.compare_groups(
        table([(f"photos/{n}.jpg", "happiness" if n < 20 else "sadness") for n in range(60)]), sheet
    )
    (results,) = report.models.values()
    assert [one.verdict for one in results.comparisons] == ["too few people"]
    assert [(share.right, share.images) for share in results.shares] == [(20, 20), (0, 40)]
    assert "nothing could be judged" in sentences.headline(results)
    assert any("no column person" in note for note in results.notes)


def test_an_image_without_a_face_is_wrong() -> None:
    sheet = people(80, label=["happy"] * 80, person=[str(n) for n in range(80)], sex=["f", "m"] * 40)
    found = table([(f"{n}.jpg", "" if n < 8 else "happiness") for n in range(80)])
    (results,) = mftn.compare_groups(found, sheet).models.values()
    assert results.missed == 8
    assert [share.missed for share in results.shares] == [4, 4]
    assert [share.right for share in results.shares] == [36, 36]
    assert [share.share for share in results.shares] == [0.9, 0.9]


def test_a_gap_without_a_covariate_is_not_laid_at_the_models_door() -> None:
    sheet = people(120, label=["happy"] * 120, person=[str(n) for n in range(120)], sex=["f"] * 60 + ["m"] * 60)
    found = table([(f"{n}.jpg", "happiness" if n % 60 < (55 if n < 60 else 25) else "neutral") for n in range(120)])
    (results,) = mftn.compare_groups(found, sheet).models.values()
    (one,) = results.comparisons
    assert one.verdict == "difference, not adjusted" and one.p_holm < 1e-6
    assert "pass that column to --adjust" in sentences.sentence(one)
    assert one.difference == pytest.approx(0.5)
    assert one.interval[0] == pytest.approx(0.36, abs=0.03) and one.interval[1] == pytest.approx(0.64, abs=0.03)


def test_expressions_are_matched_where_all_are_compared() -> None:
    """Neutral faces are easy here, and one group has more of them: no difference at equal expressions."""
    rng = np.random.default_rng(0)
    sex = np.array(["f", "m"] * 150)
    label = np.where(rng.random(300) < np.where(sex == "f", 0.8, 0.3), "neutral", "sadness")
    right = rng.random(300) < np.where(label == "neutral", 0.95, 0.4)
    sheet = people(300, label=list(label), person=[str(n) for n in range(300)], sex=list(sex))
    said = np.where(right, label, "anger")
    (results,) = mftn.compare_groups(table([(f"{n}.jpg", said[n]) for n in range(300)]), sheet).models.values()
    every = next(one for one in results.comparisons if one.label == ALL)
    assert every.difference > 0.15 and every.verdict == "none established"
    assert every.raw and every.raw.p > 0.05


def test_numbers_become_bands_and_many_levels_are_left_out() -> None:
    rng = np.random.default_rng(1)
    sheet = people(
        120,
        label=["happy"] * 120,
        person=[str(n) for n in range(120)],
        age=[str(age) for age in rng.integers(18, 80, 119)] + ["NA"],
        town=[f"town {n}" for n in range(120)],
    )
    found = table([(f"{n}.jpg", "happiness" if n % 3 else "neutral") for n in range(120)])
    (results,) = mftn.compare_groups(found, sheet).models.values()
    assert {one.column for one in results.comparisons} == {"age"}
    assert [share.group.split(" ")[0] for share in results.shares] == sorted(
        share.group.split(" ")[0] for share in results.shares
    )
    assert sum(share.images for share in results.shares) == 119
    assert any("town has 120 levels" in note for note in results.notes)
    with pytest.raises(DataError, match="town has 120 levels"):
        mftn.compare_groups(found, sheet, by=["town"])


def test_bands_are_made_of_numbers_most_of_which_are_equal() -> None:
    ages = ["20"] * 90 + [str(age) for age in range(21, 51)]
    sheet = people(120, label=["happy"] * 120, person=[str(n) for n in range(120)], age=ages)
    found = table([(f"{n}.jpg", "happiness" if n % 3 else "neutral") for n in range(120)])
    (results,) = mftn.compare_groups(found, sheet, by=["age"]).models.values()
    groups = {share.group: share.images for share in results.shares}
    assert groups == {"20": 90, "21 to 50": 30}


def test_images_of_one_name_in_other_folders_are_not_mixed_up() -> None:
    sheet = people(80, label=["happy"] * 80, person=[str(n) for n in range(80)], sex=["f", "m"] * 40)
    sheet["image"] = [f"{folder}/{n}.jpg" for folder in ("valid", "train") for n in range(40)]
    (results,) = mftn.compare_groups(
        table([(f"set/valid/{n}.jpg", "happiness") for n in range(40)]), sheet
    ).models.values()
    assert results.images == 40
    assert "40 of 80 rows of people have no prediction" in results.notes[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"label": ["grin"] * 40}, "'grin' in label is not an expression"),
        ({"image": ["0.jpg"] * 40}, "has two rows"),
        ({"image": [f"x{n}.jpg" for n in range(40)]}, "none of its images has a prediction"),
        ({"sex": ["f"] * 40}, "has no column of groups"),
        ({"person": [""] * 40}, "an image has no person"),
        ({"person": ["unknown"] * 20 + [str(n) for n in range(20)]}, "an image has no person"),
        ({"strength": ["much"] * 20 + ["more", "most"] * 10}, "needs numbers"),
    ],
)
def test_a_sheet_that_makes_no_sense_is_refused(change: dict[str, list[str]], message: str) -> None:
    columns = {"label": ["happy"] * 40, "person": [str(n) for n in range(40)], "sex": ["f", "m"] * 20,
               "strength": ["1", "2"] * 20}  # fmt: skip
    sheet = people(40).assign(**{**columns, **change})
    with pytest.raises(DataError, match=message):
        mftn.compare_groups(table([(f"{n}.jpg", "happiness") for n in range(40)]), sheet, adjust=["strength"])


def test_columns_that_are_missing_are_named() -> None:
    sheet = people(40, sex=["f", "m"] * 20)
    found = table([(f"{n}.jpg", "happiness") for n in range(40)])
    with pytest.raises(DataError, match=r"lacks a column label \(or give its name with --label\)"):
        mftn.compare_groups(found, sheet)
    with pytest.raises(DataError, match="lacks the column strength"):
        mftn.compare_groups(found, sheet.assign(label="happy"), adjust=["strength"])
    with pytest.raises(ConfigError, match="--fewest is 2"):
        GroupOptions(fewest=2)


def test_two_commands_from_photographs_to_a_page(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("people.csv").write_text("image;label;sex\nastronaut.jpg;smile;f\ngrace_hopper.jpg;neutral;f\n")
    assert main(["predict", str(photos), "--output", "faces.csv"]) == 0
    asked = ["evaluate", "--predictions", "faces.csv", "--groups", "people.csv"]
    assert main(asked) == 1
    assert "has no column of groups" in capsys.readouterr().err
    Path("people.csv").write_text("image;label;sex\nastronaut.jpg;smile;f\ngrace_hopper.jpg;neutral;m\n")
    assert main([*asked, "--out", "report"]) == 0
    assert "nothing could be judged" in capsys.readouterr().out
    page = Path("report/groups.html").read_text()
    assert "Too few people to judge" in page and "data:image/png;base64," in page
    assert len(pd.read_csv("report/groups.csv")) == 4
    assert json.loads(Path("report/groups.json").read_text())["models"]["faces"]["images"] == 2
    assert main([*asked, "--out", "report"]) == 0, "a report replaces an earlier one"
    capsys.readouterr()
    Path("mine").mkdir()
    Path("mine/groups.csv").write_text("a,b\n1,2\n")
    assert main([*asked, "--out", "mine"]) == 1
    assert "groups.csv: would be replaced" in capsys.readouterr().err
    assert [path.name for path in Path("mine").iterdir()] == ["groups.csv"]
    assert Path("mine/groups.csv").read_text() == "a,b\n1,2\n"
    assert main([*asked, "--model", "x.onnx"]) == 2
    capsys.readouterr()
    for option, value in (("--split", "test"), ("--protocol", "majority"), ("--deletion-images", "3")):
        assert main([*asked, option, value]) == 2
        assert f"{option} has no effect with --predictions" in capsys.readouterr().err
    assert main(["evaluate", "--predictions", "faces.csv"]) == 2
    assert main(["evaluate", "--by", "sex"]) == 2
    assert main(["evaluate"]) == 2


def test_long_names_in_the_figure_of_groups_are_whole() -> None:
    question = "education and occupation of the person in the photograph"
    people = pd.DataFrame({
        "image": ["a.jpg", "b.jpg"], "label": ["happiness", "happiness"],
        question: ["university degree or an equivalent vocational qualification", "none or unfinished"],
    })  # fmt: skip
    predicted = {"a.jpg": "happiness", "b.jpg": None}
    name = "ferplus_mobile_distilled_from_three_teachers_seed_1"
    figure = draw_groups(GroupReport.of({name: predicted, "other": predicted}, GroupRequest(people)).models)
    figure.canvas.draw()
    names = figure.axes[0].get_yticklabels()
    assert " ".join(names[0].get_text().split()).startswith(f"{name}, happiness: {question} ")
    assert all(text.get_window_extent().x0 >= 0 for text in names)
    for text, above in zip(names[1:], names, strict=False):
        assert not text.get_window_extent().overlaps(above.get_window_extent())


@pytest.mark.shared
def test_portraits_show_no_established_difference(
    shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Women smile more strongly there: the report says so, and finds no gap at equal strength."""
    benchmark("groups_portraits").audit(shared / "london.tar", tmp_path / "report", "strength")
    printed = capsys.readouterr().out
    gender = next(line for line in printed.splitlines() if line.startswith("gender, happiness"))
    assert "no difference established between female and male with strength in the model" in gender
    assert "but the images differ: strength is 2.6 against 1.4" in gender
    assert "no difference established in " in printed
    rows = pd.read_csv(tmp_path / "report" / "groups.csv")
    smiles = rows[(rows["column"] == "gender") & (rows["label"] == "happiness")].set_index("group")
    assert smiles.loc["female", "images"] == 49 and smiles.loc["male", "images"] == 53
    assert smiles.loc["female", "right"] - smiles.loc["male", "right"] >= 10
    comparisons = pd.read_csv(tmp_path / "report" / "group_comparisons.csv")
    row = comparisons[(comparisons["column"] == "gender") & (comparisons["label"] == "happiness")].iloc[0]
    assert row["raw_p"] < 0.001 and row["adjusted_p"] > 0.05
    assert row["adjusted_low"] < 1 < row["adjusted_high"]


def test_a_covariate_that_few_images_have_is_not_said_to_be_in_the_model(truth: ModuleType) -> None:
    images = truth.simulate(truth.Audit("", people=200, uneven=2.0), np.random.default_rng(0))
    strength = images.covariates["strength"].copy()
    strength[::3] = np.nan
    results = compare(replace(images, covariates={"strength": strength, "same": np.ones(len(strength))}))
    (found,) = results.comparisons
    assert found.omitted == ("strength", "same") and found.adjusted is None
    assert [note.split(":")[0] for note in results.notes] == [
        f"{name} is not in the model of 1 of 1 comparisons" for name in ("strength", "same")
    ]
    assert found.verdict == "difference, not adjusted"
    assert "Rate strength and same" in sentences.sentence(found) and "--adjust" not in sentences.sentence(found)


def test_images_whose_names_hold_dots_are_found_without_their_ending() -> None:
    sheet = people(40, label=["happy"] * 40, sex=["f", "m"] * 20).assign(image=[f"p.{n}" for n in range(40)])
    (results,) = mftn.compare_groups(table([(f"set/p.{n}.jpg", "happiness") for n in range(40)]), sheet).models.values()
    assert results.images == 40


def test_covariates_that_together_are_known_for_few_are_left_out_in_turn(truth: ModuleType) -> None:
    images = truth.simulate(truth.Audit("", people=200), np.random.default_rng(0))
    known = np.arange(200)[:, None] % 5 != np.arange(5)  # each lacks another fifth
    covariates = {f"c{k}": np.where(known[:, k], np.random.default_rng(k).normal(size=200), np.nan) for k in range(5)}
    (found,) = compare(replace(images, covariates=covariates)).comparisons
    assert found.covariates == ("c0",) and found.images == 160 and found.omitted == ("c1", "c2", "c3", "c4")


def test_a_covariate_that_one_group_lacks_leaves_nobody_out(truth: ModuleType) -> None:
    images = truth.simulate(truth.Audit("", people=200, share=0.16), np.random.default_rng(0))
    (levels,) = images.groups.values()
    small = min(set(levels), key=list(levels).count)
    strength = np.where(levels == small, np.nan, np.arange(200.0))
    (found,) = compare(replace(images, covariates={"strength": strength})).comparisons
    assert found.images == 200 and found.omitted == ("strength",) and found.verdict != "too few people"


def test_decimal_commas_are_numbers_wherever_no_comma_stands_between_cells(tmp_path: Path) -> None:
    sheet = people(40, label=["happy"] * 40, sex=["f", "m"] * 20).assign(strength=np.arange(40) / 4)
    found = table([(f"{n}.jpg", "happiness") for n in range(40)])
    for separator in (";", "\t"):
        sheet.to_csv(tmp_path / "people.csv", sep=separator, decimal=",", index=False)
        (results,) = mftn.compare_groups(found, tmp_path / "people.csv", adjust=["strength"]).models.values()
        assert results.shares[0].covariates["strength"] == pytest.approx(np.arange(0, 40, 2).mean() / 4)
