"""Every code block of the documentation is run, page by page, top to bottom, in a folder with sample files.

Python is executed, JSON parsed. In sh blocks `mftn …` runs for real; of other programs the test checks that files, make
targets and extras exist. A block after `<!-- not run: REASON -->` is not executed; its `mftn` options are still checked
by the real parser.
"""

import io
import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest
from PIL import Image as PillowImage

from mftn.cli import main

ROOT = Path(__file__).parents[2]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md")),
    *sorted(set((ROOT / "docs").rglob("*.md")) - {ROOT / "docs/study.md"}),  # tests/analysis runs it
    *sorted((ROOT / "src/mftn/engines/weights").glob("*.md")),
    *sorted((ROOT / "weights").rglob("*.md")),
]
FENCE = re.compile(
    r"(?:^ *<!-- not run: (?P<reason>[^>]+) -->\n+)?^(?P<indent> *)```(?P<language>\w*)\n(?P<text>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)
SLOW = {"benchmark", "serve"}
"""Subcommands that other tests run (tests/cli); here their options are checked."""
PROGRAMS = {
    "curl",
    "find",
    "git",
    "npm",
    ".",
    "cd",
    "tools/train_shipped.sh",
    "tools/train_accurate.sh",
    "tools/train_student.sh",
    "ray",
    "kubectl",
    "sbatch",
}
"""Programs that the documentation may call, beside mftn, python, pip, make and torchrun."""


@dataclass(frozen=True)
class Block:
    """One fenced block.

    Attributes:
        place: Page and line.
        language: What stands after the fence.
        text: Its lines, without the indentation of a list.
        runs: Whether it is executed, not only checked.
    """

    place: str
    language: str
    text: str
    runs: bool


def blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    return [
        Block(
            f"{page.relative_to(ROOT)}:{text.count(chr(10), 0, match.start('language')) + 1}",
            match["language"],
            re.sub(f"^{match['indent']}", "", match["text"], flags=re.MULTILINE),
            not match["reason"],
        )
        for match in FENCE.finditer(text)
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_blocks_of_a_page_run(page: Path, samples: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(samples)
    namespace: dict[str, object] = {"__name__": "__main__"}
    for block in blocks(page):
        if block.language == "python":
            code = compile(block.text, block.place, "exec")
            if block.runs:
                exec(code, namespace)
        elif block.language == "json":
            json.loads(block.text)
        elif block.language == "sh":
            for line in commands(block.text):
                try:
                    run_line(line, block.runs, monkeypatch)
                except AssertionError as error:
                    raise AssertionError(f"{block.place}: {shlex.join(line)}: {error}") from error
        else:
            assert block.language in ("text", "yaml", "js", "ini"), f"{block.place}: say what language it is"


def test_no_fence_escapes_the_blocks() -> None:
    for page in PAGES:
        fences = re.findall(r"^ *```", page.read_text(encoding="utf-8"), re.MULTILINE)
        assert len(fences) == 2 * len(blocks(page)), page


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("mftn predict photo.jpg --no-such-option", "exit status 2"),
        ("mftn prdict photo.jpg", "exit status 2"),
        ("mftn predict missing.jpg", "exit status 1"),
        ("make nothing", "no such target"),
        ("pip install '.[nothing]'", "no such extra"),
        ("python benchmarks/nothing.py", "no such file"),
        ("wget example.org", "not a program"),
    ],
)
def test_a_wrong_line_is_noticed(line: str, message: str, samples: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(samples)
    with pytest.raises(AssertionError, match=message):
        run_line(next(commands(line)), True, monkeypatch)


def test_options_of_a_block_that_does_not_run_are_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    run_line(["mftn", "train", "--config", "raf_db", "--epochs", "3"], False, monkeypatch)
    for wrong in (["train", "--config", "raf_bd"], ["train", "--epocs", "3"], ["evaluate", "--model"]):
        with pytest.raises(AssertionError, match="exit status"):
            run_line(["mftn", *wrong], False, monkeypatch)


def commands(text: str) -> Iterator[list[str]]:
    """The words of each line; a backslash goes on, a comment ends it."""
    for line in text.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars="|;&")
        lexer.whitespace_split = True
        if words := list(lexer):
            yield words


def run_line(words: list[str], runs: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run what runs here, check the rest."""
    *before, last = _split(words, "|")
    if before and runs:
        left = subprocess.run(" | ".join(map(shlex.join, before)), shell=True, capture_output=True, check=True)
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(left.stdout)))
    match last:
        case ["mftn", *arguments] if runs and arguments[0] not in SLOW:
            run_mftn(arguments)
        case ["mftn", *arguments]:
            check_mftn(arguments, monkeypatch)
        case ["torchrun", *rest]:
            check_mftn(rest[rest.index("mftn") + 1 :], monkeypatch)
        case ["pip", "install" | "download", *what]:
            extras = {extra for word in what for extra in re.findall(r"[\w-]+", "".join(re.findall(r"\[(.*)]", word)))}
            assert extras <= project()["optional-dependencies"].keys(), f"no such extra: {extras}"
        case ["make", *targets]:
            known = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
            assert set(targets) <= known, f"no such target: {set(targets) - known}"
        case [program, "-m", module, *_] if program.endswith("python"):
            assert find_spec(module), f"no such module: {module}"
        case [program, script, *_] if program.endswith("python"):
            assert (ROOT / script).is_file(), f"no such file: {script}"
        case [program, *_]:
            assert program in PROGRAMS, f"{program} is not a program that the documentation may call"


def _split(words: list[str], sign: str) -> Iterator[list[str]]:
    part: list[str] = []
    for word in words:
        if word == sign:
            yield part
            part = []
        else:
            part.append(word)
    yield part


def run_mftn(arguments: list[str]) -> None:
    """Run a command line in this process."""
    try:
        status = main(arguments)
    except SystemExit as end:  # the parser ends the program
        status = end.code if isinstance(end.code, int) else 0
    assert status == 0, f"exit status {status}"


def check_mftn(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the real parser read the options, and stop before the work."""
    monkeypatch.setattr(f"mftn.cli.{arguments[0]}.run", lambda _: 0)
    run_mftn(arguments)


def project() -> dict[str, dict[str, object]]:
    tables: dict[str, dict[str, object]] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return tables


@pytest.fixture(scope="session")
def sample_files(tmp_path_factory: pytest.TempPathFactory, photos: Path) -> Path:
    """The files that the documentation names: photo.jpg, photos/, crops/, labels, a table, clip.mp4, clips/."""
    folder = tmp_path_factory.mktemp("samples")
    shutil.copytree(photos, folder / "photos")
    shutil.copy(photos / "astronaut.jpg", folder / "photo.jpg")
    crop = PillowImage.open(photos / "astronaut.jpg").crop((165, 60, 285, 180))
    (folder / "crops").mkdir()
    crop.save(folder / "crops" / "face.png")
    for number, expression in enumerate(("happiness", "neutral") * 3):
        target = folder / "images" / expression / f"{number}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        crop.rotate(3 * number).save(target)
    (folder / "labels.csv").write_text(
        "path,label\n" + "".join(f"images/happiness/{number}.png,happy\n" for number in (0, 2, 4))
    )
    write_clip(folder / "clip.mp4", PillowImage.open(photos / "astronaut.jpg").resize((256, 256)))
    (folder / "clips").mkdir()
    shutil.copy(folder / "clip.mp4", folder / "clips" / "a.mp4")
    return folder


def write_clip(path: Path, image: PillowImage.Image) -> None:
    """Half a second of one image."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = *image.size, "yuv420p"
        for _ in range(5):
            container.mux(stream.encode(av.VideoFrame.from_image(image)))
        container.mux(stream.encode())


@pytest.fixture
def samples(sample_files: Path, tmp_path: Path) -> Path:
    """A copy of the sample files that a page may change."""
    return shutil.copytree(sample_files, tmp_path / "samples")
