"""Labelled photographs for other benchmarks: a folder with labels.csv (image, expression)."""

import csv
import sys
from pathlib import Path


def read_photographs(folder: Path) -> tuple[list[Path], list[str]]:
    """The photographs and their expressions, in the table's order."""
    (table,) = folder.rglob("labels.csv")
    with table.open(newline="") as file:
        entries = list(csv.DictReader(file))
    where = {path.name: path for path in table.parent.rglob("*") if path.is_file()}
    if missing := [entry["image"] for entry in entries if entry["image"] not in where]:
        sys.exit(f"{table}: lists images that do not exist: {missing[:5]}")
    return [where[entry["image"]] for entry in entries], [entry["expression"] for entry in entries]
