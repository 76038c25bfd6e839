"""The project's own files agree with each other and with the tools that read them."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

import mftn

ROOT = Path(__file__).parents[2]


def test_the_version_has_one_source() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["project"]["dynamic"] == ["version"] and "version" not in project["project"]
    assert project["tool"]["hatch"]["version"]["path"] == "src/mftn/version.py"
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == mftn.__version__


def test_the_changelog_keeps_its_form() -> None:
    text = (ROOT / "CHANGELOG.md").read_text()
    releases = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert releases[0] == "[Unreleased]"
    assert all(re.fullmatch(r"\[\d+\.\d+\.\d+\] - \d{4}-\d{2}-\d{2}", release) for release in releases[1:])
    kinds = set(re.findall(r"^### (.*)$", text, re.MULTILINE))
    assert kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_what_is_cited_is_complete_and_nothing_is_invented() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()
    (network,) = citation["references"]
    assert {"type", "title", "authors", "commit", "repository-code"} <= network.keys() and "doi" not in network


@pytest.mark.parametrize("path", sorted((ROOT / ".github").rglob("*.yml")), ids=lambda path: path.stem)
def test_issue_forms_are_valid(path: Path) -> None:
    form = yaml.safe_load(path.read_text())
    if path.stem != "config":
        assert {"name", "description", "body"} <= form.keys()
        for part in form["body"]:
            assert part["type"] in ("markdown", "textarea", "input", "dropdown", "checkboxes")
            assert part["attributes"].keys() & {"label", "value"}


def test_hooks_run_the_tools_of_the_environment() -> None:
    config = ROOT / ".pre-commit-config.yaml"
    subprocess.run([sys.executable, "-m", "pre_commit", "validate-config", config], check=True)
    hooks = [hook for repo in yaml.safe_load(config.read_text())["repos"] for hook in repo["hooks"]]
    assert [hook["id"] for hook in hooks] == ["ruff-format", "ruff-check", "mypy"]
    assert all(hook["language"] == "system" and hook["entry"].startswith(".venv/bin/") for hook in hooks)


def test_nothing_is_left_out_of_a_release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("needs the repository's list of files")
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    import check_dist

    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(tmp_path), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    assert check_dist.faults(tmp_path) == []
    wheel = next(tmp_path.glob("*.whl"))
    monkeypatch.setattr(check_dist, "WHEEL_LIMIT", 1)
    monkeypatch.setattr(check_dist, "kept", lambda *_: {"src/mftn/missing.py", "src/mftn/py.typed"})
    found = check_dist.wheel_faults(wheel)
    assert f"{wheel}: lacks mftn/missing.py" in found and f"{wheel}: unexpected mftn/types.py" in found
    assert any("over 0" in line for line in found)
