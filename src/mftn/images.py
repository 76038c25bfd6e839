"""Read pictures."""

from pathlib import Path

import numpy as np
from PIL import Image as PillowImage

from mftn.types import Image


def read_image(path: str | Path) -> Image:
    with PillowImage.open(path) as file:
        return np.array(file.convert("RGB"))
