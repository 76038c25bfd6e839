"""Debian's Chromium through Playwright, with a camera that shows the public-domain photographs."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image as PillowImage

if TYPE_CHECKING:
    from playwright.sync_api import Browser

CAMERA_SIZE = (640, 480)


def moving(photos: Path, count: int) -> list[PillowImage.Image]:
    """Frames of 640×480 in which two photographs move to and fro, one after the other."""
    first = PillowImage.open(photos / "astronaut.jpg").convert("RGB").resize((480, 480))
    second = PillowImage.open(photos / "grace_hopper.jpg").convert("RGB").crop((0, 0, 512, 512)).resize((480, 480))
    frames = []
    for number in range(count):
        frame = PillowImage.new("RGB", CAMERA_SIZE, "#334455")
        frame.paste(first if number < count / 2 else second, (round(80 + 60 * math.sin(number / 12)), 0))
        frames.append(frame)
    return frames


def write_y4m(path: Path, frames: list[PillowImage.Image], rate: int = 30) -> Path:
    """An uncompressed video, as Chromium's false camera reads it."""
    with path.open("wb") as file:
        file.write(f"YUV4MPEG2 W{CAMERA_SIZE[0]} H{CAMERA_SIZE[1]} F{rate}:1 Ip A1:1 C420jpeg\n".encode())
        for frame in frames:
            brightness, blue, red = np.moveaxis(np.asarray(frame.convert("YCbCr")), 2, 0)
            file.write(b"FRAME\n" + brightness.tobytes() + blue[::2, ::2].tobytes() + red[::2, ::2].tobytes())
    return path


@contextmanager
def chromium(camera: Path) -> Iterator[Browser]:
    """The browser; the test is skipped where there is none."""
    playwright: Any = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not program:
        pytest.skip("no Chromium here: apt-get install chromium")
    arguments = [
        "--use-fake-device-for-media-stream",
        "--use-fake-ui-for-media-stream",
        f"--use-file-for-fake-video-capture={camera}",
    ]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        arguments.append("--no-sandbox")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=program, args=arguments)
        try:
            yield browser
        finally:
            browser.close()
