"""Check the output of `make dist`: one sdist and one wheel, complete, of the same version, and not too large.

python tools/check_dist.py dist
"""

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

from mftn import __version__

ROOT = Path(__file__).parents[1]
WHEEL_LIMIT, SDIST_LIMIT = 30e6, 40e6
"""Size limits in bytes; the weights are at most 20 MB (tests/test_package.py)."""
ALSO = ("CONTRIBUTING.md", "CHANGELOG.md", "CITATION.cff", "LICENSE", "Makefile", "README.md", "SECURITY.md",
        "THIRD_PARTY.md", "main.py", "mkdocs.yml", "pyproject.toml")  # fmt: skip


def kept(*folders: str) -> set[str]:
    """Files in folders of the repository, except those ignored by git."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", *folders]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return {name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()}


def faults(folder: Path) -> list[str]:
    """What is wrong with the files in a folder; empty if nothing is."""
    wheels, sdists = sorted(folder.glob("*.whl")), sorted(folder.glob("*.tar.gz"))
    if len(wheels) != 1 or len(sdists) != 1:
        return [f"{folder}: {len(wheels)} wheels and {len(sdists)} sdists; build into an empty folder"]
    return wheel_faults(wheels[0]) + sdist_faults(sdists[0])


def wheel_faults(path: Path) -> list[str]:
    """Check that the wheel contains the package's files and its licences, and nothing else."""
    with zipfile.ZipFile(path) as archive:
        names = set(archive.namelist())
    info = f"mftn-{__version__}.dist-info/"
    found = {name for name in names if not name.startswith(info)}
    wanted = {name.removeprefix("src/") for name in kept("src")}
    licences = {f"{info}licenses/{name}" for name in ("LICENSE", "THIRD_PARTY.md")}
    return _differences(path, found, wanted) + _lacking(path, names, licences) + _size(path, WHEEL_LIMIT)


def sdist_faults(path: Path) -> list[str]:
    """Check that the sdist contains everything for building, testing and documentation."""
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    wanted = kept("src", "tests", "docs", "examples", "tools", "benchmarks") | set(ALSO)
    version = [] if f"-{__version__}.tar.gz" in path.name else [f"{path}: not of version {__version__}"]
    return version + _lacking(path, names, wanted) + _size(path, SDIST_LIMIT)


def _differences(path: Path, found: set[str], wanted: set[str]) -> list[str]:
    return _lacking(path, found, wanted) + [f"{path}: unexpected {name}" for name in sorted(found - wanted)]


def _lacking(path: Path, found: set[str], wanted: set[str]) -> list[str]:
    return [f"{path}: lacks {name}" for name in sorted(wanted - found)]


def _size(path: Path, limit: float) -> list[str]:
    size = path.stat().st_size
    return [f"{path}: {size / 1e6:.1f} MB, over {limit / 1e6:.0f}"] if size > limit else []


def main() -> int:
    """Print the faults, or the sizes if there are none."""
    folder = Path(sys.argv[1])
    found = faults(folder)
    for line in found:
        print(line, file=sys.stderr)
    if not found:
        for path in sorted(folder.iterdir()):
            print(f"{path}: {path.stat().st_size / 1e6:.1f} MB, complete")
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main())
