"""Compare both face detectors on photographs of one person each, and on images composed of them.

    python benchmarks/detectors.py ARCHIVE [--only TABLE,…] [--step N]

ARCHIVE is a tar file of photographs (*.jpg at any depth). Tables:

- found: the share of images with a face found, the number with several faces, and the median time per image;
- nested: enlarged photographs in which more than one face is found, and pairs of faces, the second partly behind a
  larger one, in which both are found;
- small: 40 faces in images of 24 and 20 megapixels: faces found by their height in pixels;
- time: milliseconds and memory by image size;
- turned: photographs rotated by multiples of 90°: faces found, those with the landmarks of the upright face, and those
  with the same expression as upright.

Times are CPU time with one thread, which other programs hardly affect.
"""

import argparse
import os
import platform
import resource
import statistics
import tarfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image as PillowImage
from PIL import ImageDraw, ImageFilter

import mftn
from mftn.faces import DETECTORS, load_detector
from mftn.faces.align import ARCFACE, similarity_transform
from mftn.faces.boxes import choose_face, overlap
from mftn.images import read_image
from mftn.sources import find_images
from mftn.types import Box, Detection, Image

GREY = (118, 118, 118)
Portrait = tuple[Image, Detection]
"""A photograph and its face, as found by YuNet in the upright image."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("archive", type=Path)
    parser.add_argument("--only", default=",".join(TABLES), help="tables to print")
    parser.add_argument("--step", type=int, default=1, help="take every Nth photograph")
    arguments = parser.parse_args()
    with TemporaryDirectory() as folder:
        with tarfile.open(arguments.archive) as archive:
            archive.extractall(folder, filter="data")
        photographs = [read_image(path) for path in find_images([folder])][:: arguments.step]
    print(f"{machine()}; {len(photographs)} photographs of {arguments.archive.name}")
    finder = load_detector()
    faces = [(photograph, choose_face(finder.detect(photograph), photograph)) for photograph in photographs]
    portraits = [(photograph, face) for photograph, face in faces if face and face.landmarks is not None]
    for name in arguments.only.split(","):
        print(f"\n{name}")
        TABLES[name](portraits)


def machine() -> str:
    """CPU, cores and system."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    model = next((line.split(": ")[1] for line in lines if line.startswith("model name")), platform.processor())
    return f"{model}, {os.cpu_count()} cores, {platform.system()} {platform.machine()}"


def found(portraits: list[Portrait]) -> None:
    """Faces found in the unchanged photographs, and the distance between both detectors' landmarks."""
    print("detector  face found  several faces  median ms")
    chosen: dict[str, list[Detection | None]] = {}
    for name in DETECTORS:
        detector, milliseconds, several, chosen[name] = load_detector(name), [], 0, []
        for photograph, _ in portraits:
            start = time.process_time()
            faces = detector.detect(photograph)
            milliseconds.append(1e3 * (time.process_time() - start))
            several += len(faces) > 1
            chosen[name].append(choose_face(faces, photograph))
        share = sum(face is not None for face in chosen[name]) / len(portraits)
        print(f"{name:8}  {share:10.2%}  {several:13}  {statistics.median(milliseconds):9.1f}")
    distances = []
    for first, second in zip(*chosen.values(), strict=True):
        if first and second and first.landmarks is not None and second.landmarks is not None:
            matrix = similarity_transform(first.landmarks, ARCFACE * 112)
            apart = (first.landmarks - second.landmarks) @ matrix[:, :2].T
            distances.append(float(np.linalg.norm(apart, axis=1).mean()))
    print(f"median distance of landmarks: {statistics.median(distances):.2f} pixels of the aligned 112×112 face")


def nested(portraits: list[Portrait]) -> None:
    """Enlarged portraits with one face, and pairs of faces."""
    some = portraits[:: max(1, len(portraits) // 120)][:120]
    for name in DETECTORS:
        detector = load_detector(name)
        for factor in (1, 2, 4, 8, 10):
            counts = [len(detector.detect(enlarged(photograph, factor))) for photograph, _ in some]
            several, none = sum(count > 1 for count in counts), counts.count(0)
            print(f"{name:8} enlarged {factor:2}×: several faces in {several:3} of {len(some)}, none in {none}")
        for hidden in (0.0, 0.15, 0.3):
            for size in (0.4, 0.7, 1.0):
                images = [pair(*both, size, hidden) for both in zip(some[::2], some[1::2], strict=False)]
                both = sum(all(is_found(detector.detect(image), box) for box in boxes) for image, boxes in images)
                print(f"{name:8} second face {size:.0%} as high, {hidden:3.0%} hidden: both in {both} of {len(images)}")


def small(portraits: list[Portrait]) -> None:
    """Many small faces in large images."""
    some = portraits[:: max(1, len(portraits) // 40)][:40]
    for name in DETECTORS:
        detector = load_detector(name)
        for width, height in ((6000, 4000), (20000, 1000)):
            for side in (40, 60, 90, 120, 150, 200):
                image, boxes = group(some, width, height, side)
                start = time.process_time()
                faces = detector.detect(image)
                seconds = time.process_time() - start
                hits = sum(is_found(faces, box) for box in boxes)
                wrong = len(faces) - hits
                print(f"{name:8} {width}×{height}, {side:3} px: {hits:2} of 40, {wrong} others, {seconds:5.2f} s")


def timing(portraits: list[Portrait]) -> None:
    """Time and memory by image size, for an image with one face."""
    photograph = portraits[0][0]
    for name in DETECTORS:
        detector = load_detector(name)
        for side in (350, 512, 1000, 1920, 4000, 10000):
            image = np.asarray(PillowImage.fromarray(photograph).resize((side, side), PillowImage.Resampling.BICUBIC))
            took = [seconds(partial(detector.detect, image)) for _ in range(3 if side > 2000 else 15)]
            middle, megapixels = 1e3 * statistics.median(took), side**2 / 1e6
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            print(f"{name:8} {side:5}²: {middle:8.1f} ms, {middle / megapixels:6.1f} ms/MP; peak so far {peak:.0f} MB")


def turned(portraits: list[Portrait]) -> None:
    """Photographs rotated by multiples of 90°."""
    for name in DETECTORS:
        recognizer = mftn.load(detector=name, threads=1)
        some = portraits if name == "yunet" else portraits[::4]
        upright: list[str] = []
        for turns in range(4):
            hits = right = kept = 0
            start = time.process_time()
            for index, (photograph, face) in enumerate(some):
                image = np.ascontiguousarray(np.rot90(photograph, turns))
                faces = recognizer.predict(image).faces
                best = choose_face(faces, image)
                expression = next((each.expression for each in faces if each is best), "")
                if turns == 0:
                    upright.append(expression)
                hits += best is not None
                kept += best is not None and expression == upright[index]
                right += best is not None and same_landmarks(best, face, turns, photograph.shape)
            each = 1e3 * (time.process_time() - start) / len(some)
            print(
                f"{name:8} {turns * 90:3}°: of {len(some)}: {hits} found, {right} with the upright face's landmarks, "
                f"{kept} with its expression; {each:.1f} ms per image"
            )


TABLES: dict[str, Callable[[list[Portrait]], None]] = {
    "found": found,
    "nested": nested,
    "small": small,
    "time": timing,
    "turned": turned,
}


def seconds(work: Callable[[], object]) -> float:
    """CPU seconds of a call."""
    start = time.process_time()
    work()
    return time.process_time() - start


def enlarged(image: Image, factor: float) -> Image:
    """The image enlarged."""
    size = round(image.shape[1] * factor), round(image.shape[0] * factor)
    return np.asarray(PillowImage.fromarray(image).resize(size, PillowImage.Resampling.BICUBIC))


def scaled_to_face(portrait: Portrait, height: float) -> tuple[PillowImage.Image, np.ndarray]:
    """A photograph scaled so that its face has the given height, and the face's box."""
    photograph, face = portrait
    scale = height / (face.box[3] - face.box[1])
    size = round(photograph.shape[1] * scale), round(photograph.shape[0] * scale)
    scaled = PillowImage.fromarray(photograph).resize(size, PillowImage.Resampling.BICUBIC)
    return scaled, np.array(face.box) * scale


def pair(front: Portrait, back: Portrait, size: float, hidden: float) -> tuple[Image, list[Box]]:
    """A head next to a face that is `size` times as high, of whose box it hides the share `hidden` of the width."""
    side = 400
    head, box = scaled_to_face(front, side)
    other, behind = scaled_to_face(back, side * size)
    canvas = PillowImage.new("RGB", (4 * side, 2 * side), GREY)
    location = np.array([0.7 * side - box[0], side - (box[1] + box[3]) / 2])
    edge = location[0] + box[2] - hidden * (behind[2] - behind[0])
    at = np.array([edge - behind[0], 0.9 * side - (behind[1] + behind[3]) / 2])
    canvas.paste(other, (round(at[0]), round(at[1])))
    mask = PillowImage.new("L", head.size, 0)
    reach = np.array([0.08, 0.18, 0.08, 0.1]) * np.tile(box[2:] - box[:2], 2) * (-1, -1, 1, 1)
    ImageDraw.Draw(mask).ellipse(tuple(box + reach), fill=255)
    canvas.paste(head, (round(location[0]), round(location[1])), mask.filter(ImageFilter.GaussianBlur(4)))
    boxes = [tuple((box + np.tile(location, 2)).tolist()), tuple((behind + np.tile(at, 2)).tolist())]
    return np.asarray(canvas), boxes


def group(portraits: list[Portrait], width: int, height: int, side: int) -> tuple[Image, list[Box]]:
    """An image of the given size with all portraits at irregular locations, their faces `side` pixels high."""
    columns = round((len(portraits) * width / height) ** 0.5)
    rows = -(-len(portraits) // columns)
    canvas, rng, boxes = PillowImage.new("RGB", (width, height), GREY), np.random.default_rng(0), []
    for index, portrait in enumerate(portraits):
        image, box = scaled_to_face(portrait, side)
        row, column = divmod(index, columns)
        free = max(width // columns - image.width, 1), max(height // rows - image.height, 1)
        at = column * (width // columns) + rng.integers(free[0]), row * (height // rows) + rng.integers(free[1])
        canvas.paste(image, (int(at[0]), int(at[1])))
        boxes.append(tuple((box + np.tile(at, 2)).tolist()))
    return np.asarray(canvas), boxes


def is_found(faces: list[Detection], box: Box) -> bool:
    """Whether a face overlaps its expected box sufficiently."""
    return any(overlap(face.box, box) > 0.4 for face in faces)


def same_landmarks(found: Detection, upright: Detection, turns: int, shape: tuple[int, ...]) -> bool:
    """Whether landmarks in a rotated image are the rotated upright landmarks, in the same order."""
    expected, (height, width) = upright.landmarks, shape[:2]
    assert expected is not None and found.landmarks is not None
    for _ in range(turns):
        expected = np.stack([expected[:, 1], width - expected[:, 0]], axis=1)
        height, width = width, height
    apart = np.linalg.norm(found.landmarks - expected, axis=1).mean()
    return bool(apart < 0.4 * np.linalg.norm(expected[0] - expected[1]))


if __name__ == "__main__":
    main()
