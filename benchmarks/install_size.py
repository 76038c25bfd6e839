"""Install the light package into a new environment and print its size, package by package.

python benchmarks/install_size.py
"""

import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).parents[1]


def megabytes(folder: Path) -> float:
    """Size of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


def main() -> None:
    """Install, measure and print."""
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        python = Path(folder) / ("Scripts" if sys.platform == "win32" else "bin") / "python"
        (site,) = Path(folder).rglob("site-packages")
        before = megabytes(site)
        subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-compile", str(ROOT)], check=True)
        sizes = {item.name: megabytes(item) for item in site.iterdir() if item.is_dir() and "-info" not in item.name}
        for name, size in sorted(sizes.items(), key=lambda entry: -entry[1])[:12]:
            print(f"{size:7.1f} MB  {name}")
        print(f"{megabytes(site) - before:7.1f} MB  in total, without the contents of a new environment")


if __name__ == "__main__":
    main()
