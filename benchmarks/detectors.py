"""Both face detectors on a folder of photographs of one person each.

    python benchmarks/detectors.py FOLDER

Prints the share with a face found, the pictures with several faces, the median time a picture on one thread,
and the median distance between both detectors' landmarks after alignment to 112×112.
"""

import statistics
import sys
import time
from pathlib import Path

import numpy as np

from mftn.faces import DETECTORS, load_detector
from mftn.faces.align import ARCFACE, similarity_transform
from mftn.faces.boxes import choose_face
from mftn.images import read_image
from mftn.sources import find_images
from mftn.types import Detection


def main(folder: Path) -> None:
    """Measure and print."""
    pictures = [read_image(path) for path in find_images([folder])]
    chosen: dict[str, list[Detection | None]] = {}
    print(f"{len(pictures)} photographs\ndetector  face found  several faces  median ms")
    for name in DETECTORS:
        detector, milliseconds, several = load_detector(name, threads=1), [], 0
        chosen[name] = []
        for picture in pictures:
            start = time.perf_counter()
            faces = detector.detect(picture)
            milliseconds.append(1e3 * (time.perf_counter() - start))
            several += len(faces) > 1
            chosen[name].append(choose_face(faces, picture))
        share = sum(face is not None for face in chosen[name]) / len(pictures)
        print(f"{name:8}  {share:10.2%}  {several:13}  {statistics.median(milliseconds):9.1f}")
    distances = []
    for first, second in zip(*chosen.values(), strict=True):
        if first is None or second is None or first.landmarks is None or second.landmarks is None:
            continue
        matrix = similarity_transform(first.landmarks, ARCFACE * 112)
        apart = (first.landmarks - second.landmarks) @ matrix[:, :2].T
        distances.append(float(np.linalg.norm(apart, axis=1).mean()))
    print(f"median distance of landmarks: {statistics.median(distances):.2f} pixels of the aligned 112×112 face")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
