"""Small, complete look-alikes of every data set, made from the two public-domain photographs."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from PIL import Image as PillowImage

PHOTOS = Path(__file__).parents[1] / "examples" / "photos"
FACES = (("astronaut.jpg", 225, 125, 62), ("grace_hopper.jpg", 268, 225, 115))


def face(number: int, side: int = 100) -> PillowImage.Image:
    """A square image of a face, turned and shifted differently for every number."""
    name, x, y, half = FACES[number % 2]
    rng = np.random.default_rng(number)
    dx, dy = rng.integers(-5, 6, 2)
    image = PillowImage.open(PHOTOS / name).rotate(float(rng.uniform(-25, 25)), center=(x, y))
    if rng.random() < 0.5:
        image = image.transpose(PillowImage.Transpose.FLIP_LEFT_RIGHT)
        x = image.width - x
    half *= float(rng.uniform(0.85, 1.3))
    return image.crop((int(x - half + dx), int(y - half + dy), int(x + half + dx), int(y + half + dy))).resize(
        (side, side)
    )


def _save(path: Path, image: PillowImage.Image) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


def raf_db(root: Path, train: int = 42, test: int = 14) -> Path:
    """Expressions 1 to 7 in turn."""
    rows = []
    for split, count, digits in (("train", train, 5), ("test", test, 4)):
        for number in range(1, count + 1):
            stem = f"{split}_{number:0{digits}}"
            rows.append(f"{stem}.jpg {number % 7 + 1}")
            image = face(number if split == "train" else 1000 + number)
            _save(root / "Image" / "aligned" / f"{stem}_aligned.jpg", image)
            _save(root / "Image" / "original" / f"{stem}.jpg", image)
    (root / "EmoLabel").mkdir()
    (root / "EmoLabel" / "list_patition_label.txt").write_text("\n".join(rows) + "\n")
    return root


def affectnet_tables(root: Path, train: int = 44, test: int = 11) -> Path:
    """Expressions 0 to 10 in turn; the face lies in a corner of a larger image, beside another one."""
    columns = "subDirectory_filePath,face_x,face_y,face_width,face_height,facial_landmarks,expression,valence,arousal"
    for table, count, base in (("training.csv", train, 0), ("validation.csv", test, 2000)):
        rows = [columns]
        for number in range(count):
            path = f"{number % 3}/{base + number}.jpg"
            image = PillowImage.new("RGB", (420, 260), (90, 120, 90))
            image.paste(face(base + number, 120), (20, 30))
            image.paste(face(base + number + 1, 200), (200, 30))
            _save(root / "Manually_Annotated_Images" / path, image)
            rows.append(f"{path},20,30,120,120,1;2;3,{number % 11},0.1,0.2")
        (root / table).write_text("\n".join(rows) + "\n")
    return root


def affectnet_folders(root: Path, train: int = 44, test: int = 11) -> Path:
    """Expressions 0 to 10 in turn."""
    for folder, count, base in (("train_set", train, 0), ("val_set", test, 2000)):
        (root / folder / "annotations").mkdir(parents=True)
        for number in range(count):
            _save(root / folder / "images" / f"{number}.jpg", face(base + number, 112))
            np.save(root / folder / "annotations" / f"{number}_exp.npy", np.str_(number % 11))
    return root


def expw(root: Path, images: int = 40) -> Path:
    """Two faces a image; expressions 0 to 6 in turn."""
    rows = []
    for number in range(images):
        image = PillowImage.new("RGB", (360, 220), (60, 60, 110))
        for index, left in enumerate((20, 190)):
            image.paste(face(2 * number + index, 150), (left, 30))
            rows.append(f"photo {number}.jpg {index} 30 {left} {left + 150} 180 52.3 {(2 * number + index) % 7}")
        _save(root / "image" / "origin" / f"photo {number}.jpg", image)
    (root / "label").mkdir()
    (root / "label" / "label.lst").write_text("\n".join(rows) + "\n")
    return root


def _pixels(number: int) -> str:
    return " ".join(map(str, np.asarray(face(number, 48).convert("L")).ravel()))


def fer2013(root: Path, train: int = 21, rest: int = 7) -> Path:
    """Expressions 0 to 6 in turn."""
    root.mkdir(parents=True, exist_ok=True)
    with (root / "fer2013.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["emotion", "pixels", "Usage"])
        for usage, count, base in (("Training", train, 0), ("PublicTest", rest, 1000), ("PrivateTest", rest, 2000)):
            table.writerows([number % 7, _pixels(base + number), usage] for number in range(count))
    return root


def ferplus_tables(root: Path, train: int = 24, rest: int = 8) -> Path:
    """`fer2013new.csv` beside `fer2013.csv`; the last row of each usage is no face and has no name."""
    fer2013(root, train, rest)
    header = "Usage,Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF"
    rows, line = [header], 0
    for usage, count in (("Training", train), ("PublicTest", rest), ("PrivateTest", rest)):
        for number in range(count):
            votes = [0] * 10
            votes[number % 8] = 10
            last = number == count - 1
            rows.append(f"{usage},{'' if last else f'fer{line:07}.png'},{','.join(map(str, votes))}")
            line += 1
    (root / "fer2013new.csv").write_text("\n".join(rows) + "\n")
    return root


def class_folders(root: Path, count: int = 30) -> Path:
    """Folders named in data sets' own words."""
    for number in range(count):
        _save(root / ("Happy", "angry", "sad")[number % 3] / f"{number}.png", face(number))
    return root


def table(root: Path, count: int = 24) -> Path:
    """A CSV with splits."""
    rows = ["path,label,split"]
    for number in range(count):
        _save(root / "images" / f"{number}.jpg", face(number))
        split = "valid" if number % 4 == 3 else "train"
        rows.append(f"images/{number}.jpg,{('happiness', 'neutral')[number % 2]},{split}")
    (root / "labels.csv").write_text("\n".join(rows) + "\n")
    return root / "labels.csv"
