"""Frames per second of `mftn predict` on a synthetic 720p clip with one or two persons, and where the time goes.

python benchmarks/video_speed.py
"""

import tempfile
import time
from fractions import Fraction
from pathlib import Path
from statistics import median

import av
import numpy as np
from PIL import Image

from mftn.face_tracker import FaceTracker
from mftn.recognize import load
from mftn.video import Clip

PHOTOS = Path(__file__).parents[1] / "examples" / "photos"
FRAMES, RUNS = 100, 3


def make_clip(path: Path, persons: int) -> None:
    """Write a clip of public-domain photographs that move over a grey background."""
    photos = [Image.open(PHOTOS / name).convert("RGB") for name in ("astronaut.jpg", "grace_hopper.jpg")]
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=Fraction(30))
        stream.width, stream.height, stream.pix_fmt = 1280, 720, "yuv420p"
        for number in range(FRAMES):
            image = Image.new("RGB", (1280, 720), (60, 70, 80))
            for index, photo in enumerate(photos[:persons]):
                image.paste(photo.resize((500, 620)), (40 + 600 * index + number, 50))
            out.mux(stream.encode(av.VideoFrame.from_ndarray(np.asarray(image), format="rgb24")))
        out.mux(stream.encode(None))


def main() -> None:
    """Measure, and print the medians of the runs."""
    recognizer = load(flip=False)  # the default of `mftn predict` for videos
    with tempfile.TemporaryDirectory() as folder:
        for persons in (1, 2):
            path = Path(folder) / f"{persons}.mp4"
            make_clip(path, persons)
            decode: list[float] = []
            tracked: list[float] = []
            every: list[float] = []
            for _ in range(RUNS):
                start = time.perf_counter()
                frames = [(frame.image, frame.time) for frame in Clip(str(path))]
                decode.append(time.perf_counter() - start)
                for detect_every, seconds in ((5, tracked), (1, every)):
                    tracker = FaceTracker(recognizer, detect_every)
                    start = time.perf_counter()
                    for image, timestamp in frames:
                        tracker.update(image, timestamp)
                    seconds.append(time.perf_counter() - start)
            print(
                f"{persons} person(s), 720p: {FRAMES / (median(decode) + median(tracked)):.1f} frames/s with detection "
                f"every 5 frames, {FRAMES / (median(decode) + median(every)):.1f} with detection in every frame; "
                f"decoding {1000 * median(decode) / FRAMES:.1f} ms, "
                f"faces {1000 * median(tracked) / FRAMES:.1f} ms per frame"
            )


if __name__ == "__main__":
    main()
