"""Films whose truth is known, predicted and summarised as a user would."""

import importlib.util
import sys
from fractions import Fraction
from pathlib import Path
from types import ModuleType

import pytest
from PIL import Image, ImageOps

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def films() -> ModuleType:
    """Makes and judges the films: the benchmark's own code."""
    spec = importlib.util.spec_from_file_location("summarize_truth", ROOT / "benchmarks" / "summarize_truth.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["summarize_truth"] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_a_film_of_public_domain_photographs(films: ModuleType, photos: Path) -> None:
    neutral = Image.open(photos / "grace_hopper.jpg").convert("RGB").crop((110, 40, 426, 356))
    smile = Image.open(photos / "astronaut.jpg").convert("RGB").crop((100, 0, 360, 260))
    poses = {("A", "neutral"): neutral, ("A", "smile"): smile}
    poses |= {("B", pose): ImageOps.mirror(image) for (_, pose), image in poses.items()}
    errors = films.measure(poses, Fraction(12), "--smooth", "0", "--detect-every", "1")
    assert errors.found == errors.scripted == 4
    frame = 1 / 12
    assert max(errors.onset, errors.offset) <= 0.15
    assert errors.share <= 2
    assert errors.missing <= frame


@pytest.mark.slow
@pytest.mark.shared
@pytest.mark.parametrize("rate", ["29.97", "variable"])
def test_films_of_portraits(films: ModuleType, shared: Path, rate: str) -> None:
    archive = shared / "london.tar"
    found = films.portraits(archive, ("001", "010"))
    poses = {("AB"[person == "010"], pose): image for (person, pose), image in found.items()}
    errors = films.measure(poses, films.RATES[rate], "--smooth", "0", "--detect-every", "1")
    assert errors.found == errors.scripted == 4
    assert max(errors.onset, errors.offset) <= 0.15
    assert errors.share <= 2
    assert errors.missing <= 0.12  # the longest frame of the variable rate


@pytest.mark.slow
@pytest.mark.shared
def test_happiness_rises_above_everybodys_own_neutral(films: ModuleType, shared: Path) -> None:
    people, rises, labelled = films.own_baseline(shared / "london.tar")
    assert people == 102
    assert rises >= 100
    assert labelled < rises
