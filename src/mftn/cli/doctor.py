"""Show versions, engines, which packages are installed or missing, and how to install them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version

from mftn.cli.options import Options

REQUIREMENT = re.compile(
    r"""(?P<name>[A-Za-z0-9._-]+)(?:\[[^]]*\])?(?P<versions>[^;]*)(?:;.*extra\s*==\s*["'](?P<extra>[^"']+))?"""
)
"""A requirement in a package's metadata, such as: pyarrow>=15; extra == "parquet"."""

CONTRIBUTORS_NEED = ("dev", "docs", "test")
"""Extras that no user of the package needs; they are not shown."""


@dataclass(frozen=True)
class Arguments(Options):
    """Options of `mftn doctor`, which has none of its own."""


EXAMPLES = ("mftn doctor",)


@dataclass(frozen=True, slots=True)
class Extra:
    """A set of packages that a feature needs.

    Attributes:
        name: As in `pip install 'mftn[NAME]'`; empty for packages that are always needed.
        found: Installed packages with their versions.
        missing: Missing packages with the required versions.
    """

    name: str
    found: tuple[str, ...]
    missing: tuple[str, ...]

    def __str__(self) -> str:
        lines = [f"{self.name or 'always'}: {'missing ' + ', '.join(self.missing) if self.missing else 'complete'}"]
        if self.found:
            lines.append(f"  {', '.join(self.found)}")
        if self.missing:
            lines.append(f"  install: pip install '{f'mftn[{self.name}]' if self.name else 'mftn'}'")
        return "\n".join(lines)


def run(arguments: Arguments) -> int:  # noqa: ARG001
    """Print the state of the installation; the exit status is 1 if prediction does not work."""
    import platform

    from mftn import __version__
    from mftn.errors import MFTNError

    print(f"mftn {__version__}, Python {platform.python_version()}, {platform.system()} {platform.machine()}")
    try:
        for extra in find_extras(requires("mftn") or ()):
            if extra.name not in CONTRIBUTORS_NEED:
                print(f"\n{extra}")
    except PackageNotFoundError:
        print("\nmftn itself is not installed, so its requirements are unknown; run pip install . in a clone")
    try:
        from mftn.engines import installed_engines
        from mftn.recognize import load

        info, engine = load().engine.spec, installed_engines()[-1]
        height, width = info.size
        print(f"\nprediction: works (model {info.name}, {height}×{width}, {len(info.labels)} classes, on {engine})")
    except (ImportError, MFTNError) as error:
        print(f"\nprediction: does not work: {error}")
        return 1
    return 0


def find_extras(requirements: Iterable[str]) -> list[Extra]:
    """Group a package's requirements by extra, in order, into installed and missing ones.

    Args:
        requirements: As returned by `importlib.metadata.requires`.
    """
    found: dict[str, list[str]] = {}
    missing: dict[str, list[str]] = {}
    for requirement in requirements:
        match = REQUIREMENT.match(requirement)
        assert match, requirement
        name, extra = match["name"], match["extra"] or ""
        found.setdefault(extra, [])
        missing.setdefault(extra, [])
        try:
            found[extra].append(f"{name} {version(name)}")
        except PackageNotFoundError:
            missing[extra].append(f"{name}{match['versions'].strip()}")
    return [Extra(name, tuple(found[name]), tuple(missing[name])) for name in found]
