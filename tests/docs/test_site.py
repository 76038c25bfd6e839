"""The site builds strictly, asks no other host for anything, and shows every public name, subcommand and model."""

import ast
import logging
import os
import re
from html.parser import HTMLParser
from pathlib import Path
from zlib import decompress

import pytest
from mkdocs.commands.build import build
from mkdocs.config import load_config

import mftn
import mftn.export
import mftn.models
from mftn.engines import list_models
from mftn.engines.installed import IN_THE_CLONE

ROOT = Path(__file__).parents[2]
RESOURCES = {
    "script": "src",
    "img": "src",
    "source": "src",
    "iframe": "src",
    "video": "src",
    "audio": "src",
    "embed": "src",
}
"""Elements that make a browser ask for what their attribute names."""
IDLE = {"unpkg.com", "api.github.com"}
"""Hosts in the theme's script that only diagrams or a repository's link make it ask; no page has either."""


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site; building fails where a link, an anchor or a name does not exist."""
    folder = tmp_path_factory.mktemp("site")
    os.environ["NO_MKDOCS_2_WARNING"] = "1"
    logging.getLogger("mkdocs").setLevel(logging.WARNING)
    config = load_config(str(ROOT / "mkdocs.yml"), site_dir=str(folder))
    config.plugins.on_startup(command="build", dirty=False)
    build(config)
    config.plugins.on_shutdown()
    return folder


class Page(HTMLParser):
    """What a page makes a browser ask for, and which classes and repository links it has."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.asked: list[str] = []
        self.triggers: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if tag in RESOURCES:
            self.asked += [values.get(RESOURCES[tag], ""), values.get("srcset", "")]
        if tag == "link" and values.get("rel") not in ("canonical", "next", "prev"):
            self.asked.append(values.get("href", ""))
        if "mermaid" in values.get("class", "") or values.get("data-md-component") == "source":
            self.triggers.append(self.get_starttag_text() or tag)


def test_no_page_asks_another_host(site: Path) -> None:
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 30
    for path in pages:
        page = Page(path)
        assert not [url for url in page.asked if re.match(r"(?:\w+:)?//", url)], path
        assert not page.triggers, path


@pytest.mark.parametrize(
    "tag",
    [
        '<img src="https://example.org/a.png">',
        '<script src="//example.org/a.js"></script>',
        '<link rel="stylesheet" href="https://example.org/a.css">',
        '<link rel="preconnect" href="https://example.org">',
        '<iframe src="https://example.org"></iframe>',
    ],
)
def test_a_request_would_be_noticed(tag: str, tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text(f'<a href="https://example.org">a link is none</a>{tag}')
    assert len([url for url in Page(tmp_path / "page.html").asked if "example.org" in url]) == 1


def test_no_style_or_script_asks_another_host(site: Path) -> None:
    for path in site.rglob("*.css"):
        text = path.read_text(encoding="utf-8")
        assert not re.findall(r"url\(\s*[\"']?(?:https?:)?//|@import[^;]*//", text), path
    for path in site.rglob("*.js"):
        quoted = re.findall(r"[\"'`](?:https?:)?//([\w-]+\.[\w.-]+)", path.read_text(encoding="utf-8"))
        assert set(quoted) <= IDLE, path


def test_the_reference_has_every_public_name(site: Path) -> None:
    raw = (site / "objects.inv").read_bytes()
    header = b"".join(raw.splitlines(keepends=True)[:4])
    documented = {line.split(" py:")[0] for line in decompress(raw[len(header) :]).decode().splitlines()}
    for package in (mftn, mftn.models, mftn.export):
        assert set(package.__all__) <= {name.rpartition(".")[2] for name in documented}
    for path in sorted((ROOT / "src/mftn").rglob("*.py")):
        module = ".".join(path.relative_to(ROOT / "src").with_suffix("").parts).removesuffix(".__init__")
        if not module.startswith("mftn.cli"):
            defined = {
                f"{module}.{node.name}"
                for node in ast.parse(path.read_text(encoding="utf-8")).body
                if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_")
            }
            assert defined <= documented, "a public name without a docstring?"


def test_every_subcommand_shows_its_real_options(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from mftn.cli import main

    main(["--help"])
    names = re.findall(r"^  (\w+) +\S", capsys.readouterr().out.split("options:")[0], re.MULTILINE)
    assert {"predict", "train", "doctor"} <= set(names)
    for name in names:
        text = (site / "cli" / name / "index.html").read_text(encoding="utf-8")
        assert f"usage: mftn {name}" in text and "│" not in text
    predict = (site / "cli" / "predict" / "index.html").read_text(encoding="utf-8")
    assert re.search(r"<dt><code>--save-images [^<]*</code></dt>\s*<dd>Folder for annotated copies", predict)


def test_every_model_has_its_card_and_a_row(site: Path) -> None:
    accuracy = (site / "accuracy" / "index.html").read_text(encoding="utf-8")
    for name in {card.name for card in list_models()} | IN_THE_CLONE.keys():
        assert (site / "models" / name / "index.html").is_file()
        assert f'href="../models/{name}/"' in accuracy


def test_the_figures_are_those_of_the_script(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    import draw_network

    assert (ROOT / "docs/images/network.svg").read_text(encoding="utf-8") == draw_network.draw_network()
    assert (ROOT / "docs/images/attention.svg").read_text(encoding="utf-8") == draw_network.draw_attention()


def test_the_figure_shows_the_sizes_of_the_network() -> None:
    import timm
    import torch

    with torch.device("meta"):
        model = timm.create_model("mftn_base", num_classes=7)
        tokens = model.forward_features(torch.empty(1, 3, 224, 224))
    drawn = (ROOT / "docs/images/network.svg").read_text(encoding="utf-8")
    assert [tuple(stage.shape) for stage in tokens] == [(1, 784, 256), (1, 196, 512), (1, 49, 1024)]
    assert all(f"{stage.shape[1]}×{stage.shape[2]}" in drawn for stage in tokens)
