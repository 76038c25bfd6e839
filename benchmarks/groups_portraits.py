"""A misleading audit: smiles of women and men, compared directly and with adjustment for the smiles' strength.

The portraits are the Face Research Lab London Set (DeBruine & Jones 2017, doi 10.6084/m9.figshare.5047666, CC BY 4.0):
102 adults, neutral and smiling, with self-reported age, gender and ethnicity. groups_portraits.csv rates each smile
from 0 (not visible) to 4 (broad, teeth shown, cheeks raised). Each has one rating, made in random order and before any
prediction was seen, by a vision-language model and not by people, so the ratings are rough.

python benchmarks/groups_portraits.py london.tar [--out FOLDER]
"""

import argparse
import csv
import tarfile
import tempfile
from pathlib import Path

from mftn.cli import main as mftn

RATINGS = Path(__file__).with_suffix(".csv")


def write_people(portraits: Path) -> Path:
    """Write a copy of people.csv with the column strength, empty for neutral faces."""
    with RATINGS.open(newline="") as file:
        strength = {row["person"]: row["strength"] for row in csv.DictReader(file)}
    with (portraits / "people.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    rated = portraits / "people_rated.csv"
    with rated.open("w", newline="") as file:
        writer = csv.DictWriter(file, [*rows[0], "strength"])
        writer.writeheader()
        writer.writerows({**row, "strength": strength[row["person"]] if row["pose"] == "smile" else ""} for row in rows)
    return rated


def audit(archive: Path, out: Path, *adjust: str) -> None:
    """Predict the portraits and compare the groups; write and print the report."""
    with tempfile.TemporaryDirectory() as temporary:
        portraits = Path(temporary)
        with tarfile.open(archive) as tar:
            tar.extractall(portraits, filter="data")
        faces = portraits / "faces.csv"
        people = write_people(portraits)
        options = ["--label", "pose", *(word for name in adjust for word in ("--adjust", name)), "--out", str(out)]
        if mftn(["predict", str(portraits), "--output", str(faces)]) or mftn(
            ["evaluate", "--predictions", str(faces), "--groups", str(people), *options]
        ):
            raise SystemExit(1)


def main() -> None:
    """Run both audits, without and with strength."""
    parser = argparse.ArgumentParser()
    parser.add_argument("archive", type=Path)
    parser.add_argument("--out", type=Path, default=Path("portraits_report"))
    options = parser.parse_args()
    audit(options.archive, options.out / "as_they_are")
    audit(options.archive, options.out / "with_strength", "strength")


if __name__ == "__main__":
    main()
