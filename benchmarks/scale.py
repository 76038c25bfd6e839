"""Prediction on many machines: speed of two nodes, overhead per image, and memory and time for millions of images.

`speed` compares two nodes of one core each, both on this machine, with `Recognizer.stream` on one of these cores, on
the photographs of benchmarks/folder.py. If the machine is busy, the CPU time per image over all processes is more
meaningful than images per second. `memory` measures the program that starts a run for a table of paths: they are really
listed, planned and scheduled, but the workers are stand-ins that write parts without rows:

python benchmarks/scale.py speed [--images 3000]
python benchmarks/scale.py memory [--paths 10000000]
"""

import argparse
import json
import multiprocessing
import os
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from statistics import mean, median
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parent))
from folder import make_folder

from mftn.scale import Settings, write
from mftn.scale.worker import Outcome, ShardWorker, counted, load_recognizer

os.environ.setdefault("RAY_AUTH_MODE", "disabled")  # otherwise Ray writes a token into the home folder
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_worker_niceness", "0")  # same as in the processes it is compared with
STORE_BYTES = 100_000_000
WARM_UP = 60
"""Images processed before a measurement."""


class StandIn(ShardWorker):
    """A worker without a network: writes parts without rows, so that only everything else is measured."""

    def __init__(self, work: Any) -> None:
        super().__init__(replace(work, settings=replace(work.settings, detector="none")))

    def _recognise(self, outcome: Outcome, last: bool) -> tuple[Outcome, bytes]:  # noqa: ARG002
        from mftn.scale.plan import read_shard

        shard = read_shard(self.store, outcome.number)
        return counted(outcome, {"images": shard.size, "faces": 0, "failures": 0}), b"a stand-in"


@contextmanager
def cluster(cores: list[int]) -> Iterator[None]:
    """Connect this process to a head without CPUs and a node on each of these cores."""
    import ray
    from ray.cluster_utils import Cluster

    every = os.sched_getaffinity(0)
    head = {"num_cpus": 0, "object_store_memory": STORE_BYTES, "include_dashboard": False}
    made = Cluster(initialize_head=True, head_node_args=head)
    for core in cores:
        os.sched_setaffinity(0, {core})  # a node's workers inherit it
        made.add_node(num_cpus=1, object_store_memory=STORE_BYTES)
    os.sched_setaffinity(0, every)
    ray.init(address=made.address, log_to_driver=False, logging_level="ERROR")
    try:
        yield
    finally:
        ray.shutdown()
        made.shutdown()


class Rate(NamedTuple):
    """Images per second, and CPU milliseconds per image."""

    images: float
    cost: float


def stream_rate(folder: str, core: int, ready: Any, rates: Any) -> None:
    """The rate of `Recognizer.stream` with one thread, in a process on one core."""
    os.sched_setaffinity(0, {core})
    recognizer = load_recognizer(Settings(), None, ".")
    paths = sorted(str(path) for path in Path(folder).iterdir())
    for _ in recognizer.stream(paths[:WARM_UP]):
        pass
    ready.wait()
    start, busy = time.perf_counter(), time.process_time()
    done = sum(1 for _ in recognizer.stream(paths))
    rates.put(Rate(done / (time.perf_counter() - start), 1000 * (time.process_time() - busy) / done))


def stream_rates(folder: Path, cores: list[int]) -> list[Rate]:
    """The rates of processes that run simultaneously, one on each core."""
    context = multiprocessing.get_context("spawn")
    ready, rates = context.Barrier(len(cores)), context.Queue()
    processes = [context.Process(target=stream_rate, args=(str(folder), core, ready, rates)) for core in cores]
    for process in processes:
        process.start()
    found = [rates.get() for _ in processes]
    for process in processes:
        process.join()
    return found


def busy_seconds() -> float:
    """CPU seconds of this process and of all that it has started, including Ray's (on Linux)."""
    stats = dict[int, list[str]]()
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has ended
            stats[int(path.parent.name)] = path.read_text().rpartition(")")[2].split()
    ours, new = set[int](), {os.getpid()}
    while new:
        ours |= new
        new = {pid for pid, stat in stats.items() if int(stat[1]) in new}
    # Processes that have ended count towards the process that waited for them
    return sum(int(time) for pid in ours for time in stats[pid][11:15]) / os.sysconf("SC_CLK_TCK")


def write_rates(folder: Path, cores: list[int], shard_images: int) -> tuple[float, Rate]:
    """Images per second of a run including its start, and its rate once all nodes work (from their second shards)."""
    times = list[tuple[float, Outcome]]()
    costs = list[tuple[int, float]]()  # images so far and CPU seconds, once all nodes have begun
    with cluster(cores), tempfile.TemporaryDirectory() as work:
        start = time.perf_counter()
        for output in ("warm", "out"):  # the first run fills the system's file cache
            times.clear()
            costs.clear()

            def on_shard(outcome: Outcome, _: int) -> None:
                times.append((time.perf_counter(), outcome))
                if len({outcome.node for _, outcome in times}) == len(cores):
                    costs.append((sum(outcome.images for _, outcome in times), busy_seconds()))

            start = time.perf_counter()
            write(folder, Path(work) / output, shard_images=shard_images, on_shard=on_shard)
        whole = sum(outcome.images for _, outcome in times) / (time.perf_counter() - start)
    steady = 0.0
    for node in {outcome.node for _, outcome in times}:
        own = [(moment, outcome.images) for moment, outcome in times if outcome.node == node]
        steady += sum(images for _, images in own[1:]) / (own[-1][0] - own[0][0])
    return whole, Rate(steady, 1000 * (costs[-1][1] - costs[0][1]) / (costs[-1][0] - costs[0][0]))


def measure_speed(images: int, shard_images: int, repeats: int) -> None:
    """Print the rates and their ratios."""
    cores = sorted(os.sched_getaffinity(0))[:2]
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work) / "photos"
        make_folder(folder, images)
        found: dict[str, list[Rate]] = {"stream": [], "both": [], "one node": [], "two nodes": []}
        whole = list[float]()
        for _ in range(repeats):
            found["stream"] += stream_rates(folder, cores[:1])
            each = stream_rates(folder, cores)
            found["both"].append(Rate(sum(rate.images for rate in each), mean(rate.cost for rate in each)))
            print(json.dumps(found), flush=True)
            started, rate = write_rates(folder, cores, shard_images)
            whole.append(started)
            found["two nodes"].append(rate)
            print(json.dumps(found), flush=True)
            found["one node"].append(write_rates(folder, cores[:1], shard_images)[1])
    print(json.dumps(found))
    stream, both, one, two = (
        Rate(*(median(values) for values in zip(*rates, strict=True))) for rates in found.values()
    )
    for name, rate in (("stream on one core", stream), ("stream on both", both), ("one node", one), ("two nodes", two)):
        print(f"{name}: {rate.images:.1f} images/s, {rate.cost:.1f} ms of CPU time per image")
    print(f"two nodes with their start: {median(whole):.1f} images/s")
    print(f"two nodes, of twice one core: {two.images / (2 * stream.images):.2f} by images/s, ", end="")
    print(f"{stream.cost / two.cost:.2f} by CPU time; of both at once: {two.images / both.images:.2f}")
    print(f"overhead: {two.cost - both.cost:.1f} ms of CPU time per image ({two.cost / both.cost - 1:.1%})")


def measure_memory(paths: int, shard_images: int) -> None:
    """Print the memory and time of the program for a table with the given number of paths."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from mftn.scale import run

    run.ShardWorker = StandIn  # type: ignore[misc, attr-defined]
    schema = pa.schema([("path", pa.string())])
    with tempfile.TemporaryDirectory() as work:
        table = Path(work) / "paths.parquet"
        with pq.ParquetWriter(table, schema) as writer:
            for first in range(0, paths, 100_000):
                numbers = range(first, min(first + 100_000, paths))
                names = [f"s3://photographs/{number // 10_000:05}/{number:09}.jpg" for number in numbers]
                writer.write_table(pa.table({"path": names}, schema))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
        moments = list[float]()
        with cluster(sorted(os.sched_getaffinity(0))[:2]):
            begun = time.perf_counter()
            write(
                table,
                Path(work) / "out",
                shard_images=shard_images,
                on_shard=lambda *_: moments.append(time.perf_counter()),
            )
            seconds = time.perf_counter() - begun
            size = sum(file.stat().st_size for file in (Path(work) / "out/_mftn").rglob("*") if file.is_file())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    print(f"{paths:,} paths in {len(moments):,} shards: peak memory {peak:.0f} MB ({before:.0f} MB before the run)")
    print(
        f"listed and planned in {moments[0] - begun:.0f} s with the start of the workers, {size / 1e6:.0f} MB of plan"
    )
    rate = (len(moments) - 1) / (moments[-1] - moments[0])
    print(f"scheduled, stand-ins included, at {rate:.0f} shards/s; {seconds:.0f} s in all")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("speed", "memory"))
    parser.add_argument("--images", type=int, default=3000)
    parser.add_argument("--paths", type=int, default=10_000_000)
    parser.add_argument("--shard-images", type=int, default=0, help="0 for 100 (speed) and 1,000 (memory)")
    parser.add_argument("--repeats", type=int, default=1)
    arguments = parser.parse_args()
    if arguments.what == "speed":
        measure_speed(arguments.images, arguments.shard_images or 100, arguments.repeats)
    else:
        measure_memory(arguments.paths, arguments.shard_images or 1000)


if __name__ == "__main__":
    main()
