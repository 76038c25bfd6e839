"""Measure the service: latency, throughput, startup, memory, the camera, shutdown, damaged uploads.

All requests go over the loopback interface to a server that this program starts and stops:

python benchmarks/service.py                    # everything, about ten minutes on two cores
python benchmarks/service.py --only one many    # the names are in SECTIONS
"""

import argparse
import http.client
import io
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).parents[1]
PHOTOS = ROOT / "examples" / "photos"
SECTIONS = ("start", "one", "many", "camera", "stop", "mutated", "large", "memory")


@dataclass(frozen=True)
class Server:
    """A running server.

    Attributes:
        port: Port on the loopback interface.
        pid: Process ID.
        seconds: Time from the start of the process until /readyz succeeds.
    """

    port: int
    pid: int
    seconds: float


@contextmanager
def running(engine: str, *options: str) -> Iterator[Server]:
    """Run `mftn serve` until the block ends."""
    start = time.perf_counter()
    command = [sys.executable, "-m", "mftn", "serve", "--port", "0", "--engine", engine, *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        found = re.search(r":(\d+)/", process.stderr.readline())
        assert found
        threading.Thread(target=process.stderr.read, daemon=True).start()
        port = int(found[1])
        while True:
            with suppress(OSError):
                if ask(port, "GET", "/readyz")[0] == 200:
                    break
            time.sleep(0.005)
        try:
            yield Server(port, process.pid, time.perf_counter() - start)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


def ask(port: int, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
    """Send one request on a new connection; return status and body."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        return asked(connection, method, path, body)
    finally:
        connection.close()


def asked(connection: http.client.HTTPConnection, method: str, path: str, body: bytes | None) -> tuple[int, bytes]:
    """Send one request on a connection that stays open; return status and body."""
    connection.request(method, path, body, {"Content-Type": "application/octet-stream"} if body else {})
    response = connection.getresponse()
    return response.status, response.read()


def photographs(count: int, side: int) -> list[bytes]:
    """Different crops of the public-domain photographs, each with a face."""
    rng = np.random.default_rng(0)
    photos = [Image.open(path).convert("RGB") for path in sorted(PHOTOS.glob("*.jpg"))]
    made = []
    for number in range(count):
        photo = photos[number % len(photos)]
        edge = min(photo.size) - int(rng.integers(0, 60))
        out = io.BytesIO()
        photo.resize((side, side), box=(photo.width - edge, 0, photo.width, edge)).save(out, "JPEG", quality=90)
        made.append(out.getvalue())
    return made


def load(port: int, clients: int, uploads: Sequence[bytes], path: str) -> tuple[list[float], Counter[int]]:
    """Send uploads from several clients at once; return the seconds per request and the number of each status."""
    waiting, lock = iter(uploads), threading.Lock()
    seconds: list[float] = []
    statuses: Counter[int] = Counter()

    def client() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        while True:
            with lock:
                upload = next(waiting, None)
            if upload is None:
                return
            start = time.perf_counter()
            status, _ = asked(connection, "POST", path, upload)
            with lock:
                seconds.append(time.perf_counter() - start)
                statuses[status] += 1

    threads = [threading.Thread(target=client) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return seconds, statuses


def megabytes(pid: int, name: str) -> float:
    """Resident memory of a process from /proc: VmRSS is the current value, VmHWM the peak."""
    found = re.search(rf"{name}:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1]) / 1024


def start_up(engine: str) -> None:
    """Time from the start of the process to the first /readyz with status 200."""
    seconds = []
    for _ in range(5):
        with running(engine) as server:
            seconds.append(server.seconds)
    print(f"start to ready: {statistics.median(seconds):.2f} s (median of 5; {min(seconds):.2f} to {max(seconds):.2f})")


def one_client(engine: str) -> None:
    """One request after another, alternating with Recognizer.predict in this process."""
    import mftn

    recognizer = mftn.load(engine=engine)  # type: ignore[arg-type]
    photo = (PHOTOS / "astronaut.jpg").read_bytes()
    served, called = [], []
    with running(engine) as server:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        for number in range(130):
            start = time.perf_counter()
            asked(connection, "POST", "/v1/predict", photo)
            middle = time.perf_counter()
            recognizer.predict(photo)
            if number >= 30:
                served.append(middle - start)
                called.append(time.perf_counter() - middle)
    http_ms, call_ms = 1000 * statistics.median(served), 1000 * statistics.median(called)
    print(
        f"one client, 512×512: {http_ms:.1f} ms over HTTP, {call_ms:.1f} ms by Recognizer.predict: "
        f"{http_ms / call_ms:.2f} × its time (medians of 100, in turn)"
    )


def many_clients(engine: str) -> None:
    """32 clients at once, compared with `stream` on the same images in a separate process; three rounds of each."""
    uploads = photographs(50, 512) * 12
    rates, streams, seconds = [], [], list[float]()
    statuses: Counter[int] = Counter()
    with tempfile.TemporaryDirectory() as folder, running(engine) as server:
        for number, upload in enumerate(uploads):
            (Path(folder) / f"{number:04}.jpg").write_bytes(upload)
        code = (
            "import mftn, sys, time; recognizer = mftn.load(engine=sys.argv[2]); "
            "list(recognizer.stream([f'{sys.argv[1]}/0000.jpg'] * 20)); start = time.perf_counter(); "
            "count = sum(1 for _ in recognizer.stream(sys.argv[1])); print(count / (time.perf_counter() - start))"
        )
        load(server.port, 32, uploads[:100], "/v1/predict")
        for _ in range(3):
            start = time.perf_counter()
            taken, got = load(server.port, 32, uploads, "/v1/predict")
            rates.append(len(uploads) / (time.perf_counter() - start))
            seconds += taken
            statuses += got
            printed = subprocess.run([sys.executable, "-c", code, folder, engine], capture_output=True, check=True)
            streams.append(float(printed.stdout))
    p50, p99 = np.percentile(seconds, [50, 99]) * 1000
    rate, stream = statistics.median(rates), statistics.median(streams)
    errors = sum(statuses.values()) - statuses[200]
    print(
        f"32 clients: {rate:.1f} images/s, {stream:.1f} by stream: {rate / stream:.2f} of it (medians of 3 rounds of "
        f"{len(uploads)}); p50 {p50:.0f} ms, p99 {p99:.0f} ms = {p99 / p50:.1f} × p50; {errors} errors"
    )


def camera(engine: str) -> None:
    """The live camera's rate in Chromium on the same cores, as shown by the page after ten seconds."""
    sys.path.insert(0, str(ROOT / "tests"))
    from chromium import chromium, moving, write_y4m  # type: ignore[import-not-found]

    with tempfile.TemporaryDirectory() as folder, running(engine) as server:
        film = write_y4m(Path(folder) / "faces.y4m", moving(PHOTOS, 60))
        with chromium(film) as browser:
            page = browser.new_page()
            page.goto(f"http://127.0.0.1:{server.port}/")
            page.click("#tab-camera")
            page.click("#camera-start")
            page.wait_for_selector("#camera-faces .face")
            time.sleep(10)
            print(f"camera: {page.inner_text('#camera-rate')} (640×480; browser and server on the same cores)")


def stop(engine: str) -> None:
    """SIGTERM under the load of 16 clients: the outcome of every request."""
    photo = (PHOTOS / "astronaut.jpg").read_bytes()
    outcomes: Counter[str] = Counter()
    lock = threading.Lock()

    def client(port: int) -> None:
        while True:
            try:
                status, _ = ask(port, "POST", "/v1/predict", photo)
                outcome = str(status)
            except ConnectionRefusedError:
                outcome = "not accepted"
            except (OSError, http.client.HTTPException) as error:
                outcome = f"lost ({type(error).__name__})"
            with lock:
                outcomes[outcome] += 1
            if outcome != "200":
                return

    for _ in range(3):
        with running(engine) as server:
            threads = [threading.Thread(target=client, args=(server.port,)) for _ in range(16)]
            for thread in threads:
                thread.start()
            time.sleep(2)
            os.kill(server.pid, signal.SIGTERM)
            for thread in threads:
                thread.join()
    print(f"SIGTERM under 16 clients, 3 times: {dict(outcomes)}")


def mutated(engine: str, count: int) -> None:
    """Damaged images of many formats: bytes changed, parts removed, repeated or truncated."""
    rng = np.random.default_rng(0)
    seeds = []
    with Image.open(PHOTOS / "astronaut.jpg") as photo:
        for kind in ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "PPM", "JPEG2000"):
            out = io.BytesIO()
            photo.resize((64, 64)).save(out, kind)
            seeds.append(out.getvalue())
    uploads = [damaged(seeds[number % len(seeds)], rng) for number in range(count)]
    with running(engine) as server:
        _, statuses = load(server.port, 8, uploads, "/v1/predict?flip=false")
        alive = ask(server.port, "GET", "/readyz")[0] == 200
    print(
        f"{count:,} mutated uploads: {dict(sorted(statuses.items()))}; the server {'responds' if alive else 'is gone'}"
    )


def damaged(content: bytes, rng: np.random.Generator) -> bytes:
    """A copy with one or more kinds of damage."""
    data = bytearray(content)
    reach = len(data) if rng.random() < 0.5 else min(len(data), 200)  # often the header
    for _ in range(int(rng.integers(1, 9))):
        data[int(rng.integers(0, reach))] = int(rng.integers(0, 256))
    start, end = sorted(int(place) for place in rng.integers(0, len(data), 2))
    kind = rng.random()
    if kind < 0.15:
        del data[start:end]
    elif kind < 0.3:
        data[start:start] = data[start:end]
    elif kind < 0.45:
        del data[end:]
    return bytes(data) or b"\0"


def large(engine: str) -> None:
    """One photograph of 49 megapixels: its time, and the memory at the peak and afterwards."""
    out = io.BytesIO()
    with Image.open(PHOTOS / "astronaut.jpg") as photo:
        photo.resize((7000, 7000)).save(out, "JPEG", quality=85)
    with running(engine) as server:
        ask(server.port, "POST", "/v1/predict", out.getvalue())
        start = time.perf_counter()
        status, _ = ask(server.port, "POST", "/v1/predict", out.getvalue())
        seconds = time.perf_counter() - start
        time.sleep(1)
        highest, after = (megabytes(server.pid, name) for name in ("VmHWM", "VmRSS"))
    print(f"49 megapixels: status {status} after {seconds:.1f} s; {highest:.0f} MB at most, then {after:.0f}")


def memory(engine: str, count: int) -> None:
    """Resident memory over many requests: photographs, annotated copies, and an occasional file that is no image."""
    uploads = [*photographs(40, 256), b"no image"]
    with running(engine) as server:
        steps = []
        for step in range(20):
            path = "/v1/annotate?format=jpeg" if step % 5 == 4 else "/v1/predict?flip=false"
            batch = [uploads[number % len(uploads)] for number in range(count // 20)]
            load(server.port, 8, batch, path)
            steps.append(megabytes(server.pid, "VmRSS"))
        peak = megabytes(server.pid, "VmHWM")
    shown = ", ".join(f"{steps[index]:.0f}" for index in (0, 4, 9, 14, 19))
    print(f"{count:,} requests: {shown} MB resident after 5, 25, 50, 75 and 100 %; highest {peak:.0f} MB")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=SECTIONS)
    parser.add_argument("--engine", default="onnxruntime", choices=("onnxruntime", "openvino"))
    parser.add_argument("--requests", type=int, default=20_000, help="requests of the section memory")
    parser.add_argument("--uploads", type=int, default=10_000, help="uploads of the section mutated")
    arguments = parser.parse_args()
    engine: str = arguments.engine
    sections: dict[str, Callable[[], None]] = {
        "start": lambda: start_up(engine),
        "one": lambda: one_client(engine),
        "many": lambda: many_clients(engine),
        "camera": lambda: camera(engine),
        "stop": lambda: stop(engine),
        "mutated": lambda: mutated(engine, arguments.uploads),
        "large": lambda: large(engine),
        "memory": lambda: memory(engine, arguments.requests),
    }
    print(json.dumps({"engine": engine, "cores": os.cpu_count(), "date": time.strftime("%Y-%m-%d")}))
    for name in SECTIONS:
        if name in arguments.only:
            sections[name]()
            sys.stdout.flush()


if __name__ == "__main__":
    main()
