"""Fixtures: public-domain photographs, synthetic data sets, and the shared data where it is present."""

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from PIL import Image as PillowImage

from mftn.types import Image

ROOT = Path(__file__).parents[1]

# Run time shows how busy the machine is, not whether the code is correct.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")


@pytest.fixture(scope="session")
def photos() -> Path:
    """The photographs that ship with the project: one face each."""
    return ROOT / "examples" / "photos"


@pytest.fixture(scope="session")
def astronaut(photos: Path) -> Image:
    """Eileen Collins, 512×512, NASA."""
    return np.array(PillowImage.open(photos / "astronaut.jpg"))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with data that is never committed to the repository; without it, the test is skipped."""
    folder = Path(os.environ.get("MFTN_SHARED", ROOT.parent / "shared")) / "data"
    if not (folder / "photos.tar").is_file():
        pytest.skip("no shared data here; set MFTN_SHARED")
    return folder


@pytest.fixture(scope="session")
def ferplus_root(tmp_path_factory: pytest.TempPathFactory, photos: Path) -> Path:
    """A synthetic FERPlus of 24 + 8 images: two faces, rotated and shifted differently, and two without a face."""
    root = tmp_path_factory.mktemp("ferplus")
    rng = np.random.default_rng(0)
    faces = [
        (PillowImage.open(photos / "astronaut.jpg"), 225, 125),
        (PillowImage.open(photos / "grace_hopper.jpg"), 268, 225),
    ]
    for folder, count in {"FER2013Train": 24, "FER2013Valid": 8}.items():
        (root / folder).mkdir()
        rows = []
        for number in range(count):
            photo, x, y = faces[number % 2]
            half = 62 if number % 2 == 0 else 115
            dx, dy = rng.integers(-5, 6, 2)
            image = photo.convert("L").rotate(float(rng.uniform(-12, 12)), center=(x, y))
            image = image.crop((x - half + dx, y - half + dy, x + half + dx, y + half + dy)).resize((48, 48))
            if number == 5:
                image = PillowImage.new("L", (48, 48), 128)
            image.save(root / folder / f"fer{number:07d}.png")
            votes = [0] * 10
            votes[0 if number % 2 else 1] = 8
            votes[number % 8] += 2
            rows.append(f'fer{number:07d}.png,"(0, 0, 48, 48)",' + ",".join(map(str, votes)))
        (root / folder / "label.csv").write_text("\n".join(rows) + "\n")
    return root


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory, ferplus_root: Path) -> Path:
    """The synthetic FERPlus, prepared."""
    from mftn.data.prepare import ferplus_preparation, prepare
    from mftn.data.readers import read_records

    out = tmp_path_factory.mktemp("prepared") / "ferplus"
    about = {"name": "ferplus", "title": "a made FERPlus"}
    prepare(read_records("ferplus", ferplus_root), out, ferplus_preparation(64), about=about, workers=1)
    return out
