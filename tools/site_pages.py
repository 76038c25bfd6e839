"""MkDocs hooks that generate pages of the documentation site and rewrite links that lead out of docs/.

The pages of the command line contain the real help texts, and those of the API cover every public module. The model
cards, CONTRIBUTING, CHANGELOG and THIRD_PARTY are included from their own files, so nothing is duplicated.
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
"""Cards of the shipped models, then of add-on packages in this repository; the .json beside each has its fields."""
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
"""Files outside docs/ that the site includes: path in the repository → path in the site."""
NOT_API = {"__init__", "__main__", "cli"}
SUBCOMMAND = re.compile(r"^  (\w+) +\S", re.MULTILINE)
LINK = re.compile(r"(\]\()(?![a-z]+:|#|/)([^)#\s]+)(#[^)\s]*)?(\))")
MODEL_TABLE = "<!-- the table of models -->"


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """List the generated pages in the navigation wherever it has a folder instead of a page."""
    made: dict[str, list[Any]] = {
        "models/": [{card.stem: f"models/{card.name}"} for card in CARDS],
        "cli/": ["cli/index.md", *({f"mftn {name}": f"cli/{name}.md"} for name in subcommands())],
        "api/": ["api/index.md", *({name: f"api/{name}.md"} for name in api_pages())],
    }
    config.nav = [_filled(entry, made) for entry in config.nav or []]
    return config


def _filled(entry: Any, made: Mapping[str, list[Any]]) -> Any:
    """A part of the navigation, with folders replaced by their generated pages."""
    if isinstance(entry, dict):
        return {title: _filled(below, made) for title, below in entry.items()}
    if isinstance(entry, list):
        return [_filled(below, made) for below in entry]
    return made.get(entry, entry)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages and the files from outside docs/."""
    pages = {"cli/index.md": cli_overview(), "api/index.md": api_overview()}
    pages |= {f"cli/{name}.md": cli_page(name) for name in subcommands()}
    pages |= {f"api/{name}.md": api_page(name, modules) for name, modules in api_pages().items()}
    for path, content in pages.items():
        files.append(File.generated(config, path, content=content))
    for inside, path in PUBLISHED.items():
        files.append(File.generated(config, path, abs_src_path=str(ROOT / inside)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001
    """Point links between files of the repository to the corresponding pages, and fill in the table of models."""
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
    """The output of `mftn … --help` on a terminal with 100 columns."""
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
    """The names of the subcommands, from `mftn --help`."""
    return SUBCOMMAND.findall(help_text().split("options:")[0])


def cli_overview() -> str:
    """The page of `mftn` itself."""
    return f"# The command line\n\nThe output of `mftn --help`:\n\n```text\n{help_text().rstrip()}\n```\n"


def cli_page(name: str) -> str:
    """The page of a subcommand: a heading for each box of its help text, and a definition for each option."""
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
    """The public modules, grouped by the top-level module or package of `mftn`."""
    pages: dict[str, list[str]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        *folders, name = path.relative_to(PACKAGE).with_suffix("").parts
        parts = folders if name == "__init__" else [*folders, name]
        if parts and parts[0] not in NOT_API and not any(part.startswith("_") for part in parts):
            pages.setdefault(parts[0], []).append(".".join(["mftn", *parts]))
    return pages


def api_page(name: str, modules: list[str]) -> str:
    """The page of a module, or of a package followed by its modules."""
    first, *others = modules
    rest = "\n".join(f"## {module} {{ #module-{module} }}\n\n::: {module}\n" for module in others)
    return f"# mftn.{name}\n\n{_directive(first)}\n{rest}"


def _directive(module: str) -> str:
    """A directive for what a module defines itself, and a list of all names that can be imported from it."""
    loaded = import_module(module)
    names = list(getattr(loaded, "__all__", ()))
    if not names:
        return f"::: {module}\n"
    defined = [name for name in names if getattr(getattr(loaded, name), "__module__", "") == module]
    members = f"[{', '.join(defined)}]" if defined else "false"
    listed = ", ".join(f"`{name}`" for name in names)
    return f"::: {module}\n    options:\n      members: {members}\n\nTo import from `{module}`: {listed}.\n"


def api_overview() -> str:
    """The page with the names that most programs need, and a list of all modules."""
    import mftn

    names = "\n".join(f"- [`mftn.{name}`][{_home(name)}]" for name in sorted(mftn.__all__, key=str.lower))
    rows = "\n".join(f"| [mftn.{name}]({name}.md) | {_summary(modules[0])} |" for name, modules in api_pages().items())
    return (
        "# The Python interface\n\n"
        "`import mftn` is cheap: each name is loaded when it is first used. Most programs need only these:\n\n"
        f"{names}\n\nEverything else is in its module:\n\n| module | contents |\n|---|---|\n{rows}\n"
    )


def _home(name: str) -> str:
    import mftn

    value = getattr(mftn, name)
    return f"{value.__module__}.{name}"


def _summary(module: str) -> str:
    return " ".join((import_module(module).__doc__ or "").split("\n\n")[0].split())


def model_table() -> str:
    """The table of models, from the same cards that `mftn models` prints."""
    from mftn.engines import ModelCard

    cards = [ModelCard(**json.loads(card.with_suffix(".json").read_text(encoding="utf-8"))) for card in CARDS]
    rows = "\n".join(
        f"| [{card.name}](models/{card.name}.md) | {data} | **{share:.1%}** |"
        for card in cards
        for data, share in card.accuracy.items()
    )
    return f"| model | measured on | accuracy |\n|---|---|---|\n{rows}"
