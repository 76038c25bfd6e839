import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.mark.parametrize("example", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_examples_run_and_are_short(example: Path) -> None:
    arguments = [EXAMPLES / "photos"] if "sys.argv" in example.read_text() else []
    result = subprocess.run([sys.executable, example, *arguments], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip()
    assert len(example.read_text().splitlines()) < 30
