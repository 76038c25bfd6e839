"""A service in this process, and what the tests send it."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="the extra serve is not installed")

from fastapi.testclient import TestClient

sys.path.insert(0, str(Path(__file__).parents[1]))
from serving import Server, running

from mftn.serve.app import create_app
from mftn.serve.recognizers import Recognizers
from mftn.serve.settings import Limits, Settings

LIMITS = Limits(upload=2_000_000, pixels=4_000_000, files=4, video=3_000_000, video_seconds=20)


@pytest.fixture(scope="session")
def recognizers() -> Recognizers:
    """The default model on ONNX Runtime, shared by all services of the tests."""
    return Recognizers(Settings(engine="onnxruntime"))


@pytest.fixture(scope="session")
def client(recognizers: Recognizers) -> Iterator[TestClient]:
    """A service with small limits."""
    with TestClient(create_app(Settings(engine="onnxruntime", limits=LIMITS), recognizers)) as client:
        yield client


@pytest.fixture(scope="session")
def astronaut_jpeg(photos: Path) -> bytes:
    """A photograph of 512×512 pixels with one face."""
    return (photos / "astronaut.jpg").read_bytes()


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """A server with small limits."""
    with running("--max-upload", "2MB", "--max-video", "3MB", "--max-pixels", "4000000") as started:
        yield started
