"""Pages of the documentation's site that are made when it is built, and links that lead out of docs/ (mkdocs hooks).

The command line's pages are the real help texts, the API's pages name every public module, and the model cards,
CONTRIBUTING, CHANGELOG and THIRD_PARTY are shown from their own files, so nothing is kept twice.
"""

import io
import json
import os
import posixpath
import re
from collections.abc import Mapping
from contextlib import redirect_stdout, suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "mftn"
CARDS = [*sorted((PACKAGE / "engines" / "weights").glob("*.md")), *sorted((ROOT / "weights").glob("*/*/*.md"))]
"""The models that ship, then those of add-on packages in this repository; each has its fields in a .json beside it."""
RESULTS = sorted((ROOT / "benchmarks" / "results").glob("*.csv"))
PUBLISHED = {
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security.md",
    "THIRD_PARTY.md": "third-party.md",
    "LICENSE": "LICENSE.txt",
    "CITATION.cff": "CITATION.cff.txt",
}
PUBLISHED |= {card.relative_to(ROOT).as_posix(): f"models/{card.name}" for card in CARDS}
PUBLISHED |= {table.relative_to(ROOT).as_posix(): table.name for table in RESULTS}
"""Files outside docs/ that the site shows: path in the repository, path in the site."""
NOT_API = {"__init__", "__main__", "cli"}
SUBCOMMAND = re.compile(r"^  (\w+) +\S", re.MULTILINE)
LINK = re.compile(r"(\]\()(?![a-z]+:|#|/)([^)#\s]+)(#[^)\s]*)?(\))")
MODEL_TABLE = "<!-- the table of models -->"


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Name the made pages in the navigation, where it has a folder in place of a page."""
    made: dict[str, list[Any]] = {
        "models/": [{card.stem: f"models/{card.name}"} for card in CARDS],
        "cli/": ["cli/index.md", *({f"mftn {name}": f"cli/{name}.md"} for name in subcommands())],
        "api/": ["api/index.md", *({name: f"api/{name}.md"} for name in api_pages())],
    }
    config.nav = [_filled(entry, made) for entry in config.nav or []]
    return config


def _filled(entry: Any, made: Mapping[str, list[Any]]) -> Any:
    """A part of the navigation with the made pages in place of their folders."""
    if isinstance(entry, dict):
        return {title: _filled(below, made) for title, below in entry.items()}
    if isinstance(entry, list):
        return [_filled(below, made) for below in entry]
    return made.get(entry, entry)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the made pages and the files from outside docs/."""
    pages = {"cli/index.md": cli_overview(), "api/index.md": api_overview()}
    pages |= {f"cli/{name}.md": cli_page(name) for name in subcommands()}
    pages |= {f"api/{name}.md": api_page(name, modules) for name, modules in api_pages().items()}
    for path, content in pages.items():
        files.append(File.generated(config, path, content=content))
    for inside, path in PUBLISHED.items():
        files.append(File.generated(config, path, abs_src_path=str(ROOT / inside)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001
    """Lead links between files of the repository to the pages that show them, and fill in the table of models."""
    shown = {site: inside for inside, site in PUBLISHED.items()}
    folder = posixpath.dirname(shown.get(page.file.src_uri, f"docs/{page.file.src_uri}"))
    here = posixpath.dirname(page.file.src_uri)

    def lead(match: re.Match[str]) -> str:
        opening, link, anchor, closing = match.groups()
        inside = posixpath.normpath(posixpath.join(folder, link))
        target = PUBLISHED.get(inside, inside.removeprefix("docs/") if inside.startswith("docs/") else None)
        return f"{opening}{posixpath.relpath(target, here or '.') if target else link}{anchor or ''}{closing}"

    if page.file.generated_by and page.file.src_uri not in shown:
        return markdown
    return LINK.sub(lead, markdown).replace(MODEL_TABLE, model_table())


def help_text(*arguments: str) -> str:
    """What `mftn … --help` prints on a terminal of 100 columns."""
    from mftn.cli import main

    buffer, width = io.BytesIO(), os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = "100"
    try:
        with io.TextIOWrapper(buffer, encoding="utf-8") as screen, redirect_stdout(screen):
            with suppress(SystemExit):
                main([*arguments, "--help"])
            screen.flush()
            return buffer.getvalue().decode()
    finally:
        if width is None:
            del os.environ["COLUMNS"]
        else:
            os.environ["COLUMNS"] = width


def subcommands() -> list[str]:
    """Their names, as `mftn --help` lists them."""
    return SUBCOMMAND.findall(help_text().split("options:")[0])


def cli_overview() -> str:
    """The page of `mftn` itself."""
    return f"# The command line\n\nWhat `mftn --help` prints:\n\n```text\n{help_text().rstrip()}\n```\n"


def cli_page(name: str) -> str:
    """The page of a subcommand: a heading for each of its help text's boxes, a definition for each option."""
    usage, description, *boxes = help_text(name).split("\n\n", 2)
    lines = [f"# mftn {name}", "", description, "", "```text", usage, "```", ""]
    for line in "".join(boxes).splitlines():
        text = line.strip("│╭╮╰╯─ ")
        if line.startswith("╭"):
            lines += [f"## {text.capitalize()}", ""]
        elif not text:
            continue
        elif line.startswith("│  "):
            lines.append(f":   {text}" if lines[-1].startswith("`") else f"    {text}")
        else:
            option, _, meaning = (part.strip() for part in re.sub(" {2,}", "\0", text, count=1).partition("\0"))
            lines += ["", f"`{option}`" if option[0] in "-[{" else option]
            lines += [f":   {meaning}"] if meaning else []
    return "\n".join(lines) + "\n"


def api_pages() -> dict[str, list[str]]:
    """The public modules by the module or package of `mftn` that they lie in."""
    pages: dict[str, list[str]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        *folders, name = path.relative_to(PACKAGE).with_suffix("").parts
        parts = folders if name == "__init__" else [*folders, name]
        if parts and parts[0] not in NOT_API and not any(part.startswith("_") for part in parts):
            pages.setdefault(parts[0], []).append(".".join(["mftn", *parts]))
    return pages


def api_page(name: str, modules: list[str]) -> str:
    """The page of a module, or of a package and then its modules."""
    first, *others = modules
    rest = "\n".join(f"## {module} {{ #module-{module} }}\n\n::: {module}\n" for module in others)
    return f"# mftn.{name}\n\n{_directive(first)}\n{rest}"


def _directive(module: str) -> str:
    """What a module defines, and a list of what else it hands on of its modules, which follow."""
    loaded = import_module(module)
    names = list(getattr(loaded, "__all__", ()))
    if not names:
        return f"::: {module}\n"
    defined = [name for name in names if getattr(getattr(loaded, name), "__module__", "") == module]
    members = f"[{', '.join(defined)}]" if defined else "false"
    listed = ", ".join(f"`{name}`" for name in names)
    return f"::: {module}\n    options:\n      members: {members}\n\nTo import from `{module}`: {listed}.\n"


def api_overview() -> str:
    """What most programs need, and where the rest lies."""
    import mftn

    names = "\n".join(f"- [`mftn.{name}`][{_home(name)}]" for name in sorted(mftn.__all__, key=str.lower))
    rows = "\n".join(f"| [mftn.{name}]({name}.md) | {_summary(modules[0])} |" for name, modules in api_pages().items())
    return (
        "# The Python interface\n\n"
        "`import mftn` costs nothing: each name is loaded when it is first used. Most programs need these alone:\n\n"
        f"{names}\n\nEverything else lies in its module:\n\n| module | holds |\n|---|---|\n{rows}\n"
    )


def _home(name: str) -> str:
    import mftn

    value = getattr(mftn, name)
    return f"{value.__module__}.{name}"


def _summary(module: str) -> str:
    return " ".join((import_module(module).__doc__ or "").split("\n\n")[0].split())


def model_table() -> str:
    """The models, from the cards that `mftn models` prints once they are installed."""
    from mftn.engines import ModelCard

    cards = [ModelCard(**json.loads(card.with_suffix(".json").read_text(encoding="utf-8"))) for card in CARDS]
    rows = "\n".join(
        f"| [{card.name}](models/{card.name}.md) | {data} | **{share:.1%}** |"
        for card in cards
        for data, share in card.accuracy.items()
    )
    return f"| model | measured on | accuracy |\n|---|---|---|\n{rows}"
