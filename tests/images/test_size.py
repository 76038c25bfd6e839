from pathlib import Path

import pytest
from PIL import Image as PillowImage

from mftn.errors import ImageError, UnknownFormatError
from mftn.images import image_size


def test_the_size_comes_from_the_header_alone(photos: Path) -> None:
    with PillowImage.open(photos / "grace_hopper.jpg") as image:
        assert image_size(photos / "grace_hopper.jpg") == image.size
    assert image_size((photos / "astronaut.jpg").read_bytes()[:3000]) == (512, 512)


def test_what_has_no_size_says_why() -> None:
    with pytest.raises(UnknownFormatError, match=r"^the image: not an image in a known format"):
        image_size(b"some text")
    with pytest.raises(ImageError, match="empty"):
        image_size(b"")
