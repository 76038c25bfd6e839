"""Contact sheets of the photographs that a model gets wrong, with their labels and predictions, for inspection.

    python benchmarks/wrong_photos.py FOLDER_WITH_labels.csv OUT [--model NAME] [--count 50] [--seed 0]

Draws `count` of the errors at random, and writes OUT-1.png, OUT-2.png, … with 25 each and a table of all, OUT.csv.
"""

import argparse
from pathlib import Path

import numpy as np
from photographs import read_photographs
from PIL import Image, ImageDraw, ImageFont

import mftn
from mftn.faces.boxes import choose_face
from mftn.files import write_csv
from mftn.images import read_image
from mftn.types import Face

SIDE, LINE, ACROSS, SHEET = 220, 20, 5, 25


def tile(row: dict[str, str]) -> Image.Image:
    """A photograph with its name, label and prediction."""
    photo = Image.open(row["path"]).convert("RGB")
    photo.thumbnail((SIDE, SIDE))
    page = Image.new("RGB", (SIDE, SIDE + 2 * LINE), "white")
    page.paste(photo, ((SIDE - photo.width) // 2, 0))
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(14)
    draw.text((2, SIDE), f"{row['image'][:16]}: {row['label']}", "black", font)
    draw.text((2, SIDE + LINE), f"called {row['predicted']} {float(row['probability'] or 0):.0%}", "firebrick", font)
    return page


def main() -> None:
    """Predict, draw and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--model")
    parser.add_argument("--count", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    paths, expressions = read_photographs(options.folder)
    recognizer, wrong = mftn.load(options.model), []
    for path, expression, prediction in zip(paths, expressions, recognizer.stream(paths), strict=True):
        face = choose_face(list(prediction.faces), read_image(prediction.source))
        assert face is None or isinstance(face, Face)
        predicted = face.expression if face else "no face"
        if predicted != expression:
            probability = face.probability if face else ""
            row = {"image": path.name, "label": expression, "predicted": predicted}
            wrong.append(row | {"probability": str(probability), "path": str(prediction.source)})
    print(f"{len(wrong)} of {len(paths)} are wrong")
    write_csv(options.out.with_suffix(".csv"), wrong)
    chosen = np.random.default_rng(options.seed).permutation(len(wrong))[: options.count]
    for first in range(0, len(chosen), SHEET):
        tiles = [tile(wrong[k]) for k in chosen[first : first + SHEET]]
        sheet = Image.new("RGB", (ACROSS * SIDE, -(-len(tiles) // ACROSS) * tiles[0].height), "white")
        for number, each in enumerate(tiles):
            sheet.paste(each, (number % ACROSS * SIDE, number // ACROSS * each.height))
        file = options.out.with_name(f"{options.out.stem}-{first // SHEET + 1}.png")
        sheet.save(file)
        print(file)


if __name__ == "__main__":
    main()
