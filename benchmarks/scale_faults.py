"""Faults during runs on two nodes, at ten random times each: is any row lost or duplicated?

Every run has one fault, at a random time after the first worker has begun. If the program itself is killed or the run
is incomplete, the same command is run again. The rows are compared with those of an undisturbed run by the SHA-256 of
the sorted rows. The store is moto's S3 server behind a relay on the loopback interface. A full disk is simulated by a
tmpfs that only one node sees, in place of its folder for partial files; mounting it needs root:

python benchmarks/scale_faults.py [--faults actor node driver disk store] [--times 10] [--images 240]
"""

import argparse
import hashlib
import json
import logging
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from folder import make_folder
from outages import Relay

from mftn.errors import MFTNError
from mftn.scale import Summary, write

SURROUNDINGS = {
    "RAY_AUTH_MODE": "disabled",  # otherwise Ray writes a token into the home folder
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_worker_niceness": "0",  # otherwise workers would starve on a busy machine
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_EC2_METADATA_DISABLED": "true",
}
STORE_BYTES = 100_000_000
SHARD_IMAGES = 10
OUTAGE_S = 20.0
PROGRAM = """
import sys, ray
from mftn.scale import write
ray.init(address=sys.argv[1], log_to_driver=False, logging_level="ERROR")
write(sys.argv[2], sys.argv[3], shard_images=int(sys.argv[4]))
"""


class Nodes:
    """A head without CPUs and two nodes with one CPU each; nodes can be removed and added."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        quick = {"health_check_period_ms": 1000, "health_check_timeout_ms": 2000, "health_check_failure_threshold": 2}
        head = {"num_cpus": 0, "object_store_memory": STORE_BYTES, "include_dashboard": False, "_system_config": quick}
        self.cluster = Cluster(initialize_head=True, head_node_args=head)
        self.nodes = [self._new(), self._new()]

    def _new(self) -> Any:
        return self.cluster.add_node(num_cpus=1, object_store_memory=STORE_BYTES)

    def lose(self) -> bool:
        """Remove a node abruptly, as in a power failure."""
        self.cluster.remove_node(self.nodes.pop(random.randrange(2)), allow_graceful=False)
        return True

    def restore(self) -> None:
        """Add nodes until there are two again."""
        while len(self.nodes) < 2:
            self.nodes.append(self._new())


def digest(tables: Iterator[pa.Table]) -> tuple[int, str]:
    """The number of rows, and the SHA-256 of the sorted rows."""
    rows = sorted(json.dumps(row, sort_keys=True) for table in tables for row in table.to_pylist())
    return len(rows), hashlib.sha256("\n".join(rows).encode()).hexdigest()


def parts(output: Path) -> Iterator[pa.Table]:
    """The Parquet parts in a folder."""
    return (pq.read_table(path) for path in sorted(output.glob("*.parquet")))


def attempts(output: Path) -> list[Path]:
    """The marker files of shards that workers have begun."""
    return list(output.glob("_mftn/attempts/*/*"))


@contextmanager
def later(action: Callable[[], bool], begun: Callable[[], Any], seconds: float) -> Iterator[list[bool]]:
    """Run an action during the block, `seconds` after `begun` is true; the list gets its result if it ran in time."""
    hit, ended = list[bool](), threading.Event()

    def act() -> None:
        while not begun() and not ended.wait(0.1):
            pass
        if not ended.wait(seconds):
            hit.append(action())

    thread = threading.Thread(target=act, daemon=True)
    thread.start()
    yield hit
    ended.set()
    thread.join()


def kill_worker(output: Path) -> bool:
    """Kill -9 the worker that most recently began a shard; return whether there was one."""
    marks = list[Any]()
    for path in attempts(output):
        with suppress(FileNotFoundError, ValueError):  # it is being written or deleted
            marks.append(json.loads(path.read_text()))
    with suppress(ProcessLookupError, ValueError):
        os.kill(max(marks, key=lambda mark: mark["time"])["pid"], signal.SIGKILL)
        return True
    return False


def run_program(nodes: Nodes, folder: Path, output: Path, seconds: float) -> bool:
    """Start a run and kill its program `seconds` after a worker has begun; return whether it was still running."""
    command = [sys.executable, "-c", PROGRAM, nodes.cluster.address, str(folder), str(output), str(SHARD_IMAGES)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as program:
        while program.poll() is None and not attempts(output):
            time.sleep(0.1)
        time.sleep(seconds)
        running = program.poll() is None
        program.kill()
    return running


def until_complete(again: Callable[[], Summary]) -> int:
    """Run again until the output is complete; return the number of runs."""
    for number in range(1, 6):
        try:
            if again().complete:
                return number
        except MFTNError as error:
            print(f"  {error}")
    raise SystemExit("not complete after five runs")


@contextmanager
def full_disk(nodes: Nodes, output: Path, seconds: float) -> Iterator[None]:
    """Replace a node by one whose disk is full from `seconds` after a worker has begun."""
    partial = output / "_mftn" / "partial"
    partial.mkdir(parents=True)
    nodes.lose()
    begun = f"until ls {output}/_mftn/attempts/*/* >/dev/null; do kill -0 $$ && sleep 0.1 || exit; done"
    fill = f"mount -t tmpfs -o size=4k none {partial} && head -c 4096 /dev/zero > {partial}/full"
    start = f"{Path(sys.executable).parent}/ray start --address={nodes.cluster.address} --num-cpus=1 --block"
    script = f"({begun}; sleep {seconds}; {fill}) & exec {start} --object-store-memory={STORE_BYTES}"
    node = subprocess.Popen(
        ["unshare", "--mount", "sh", "-c", script], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        import ray

        while ray.cluster_resources().get("CPU") != 2:
            time.sleep(0.1)
        yield
    finally:
        node.terminate()
        node.wait()
        nodes.restore()


def try_local(nodes: Nodes, fault: str, folder: Path, output: Path, longest: float) -> tuple[float, int] | None:
    """A run into a folder with a fault at a random time: the time, and further runs; None if the run ended before."""
    moment, notes = random.uniform(0, longest), list[str]()

    def again() -> Summary:
        return write(folder, output, shard_images=SHARD_IMAGES, on_shard=lambda outcome, _: notes.append(outcome.note))

    if fault == "driver":
        return (moment, until_complete(again)) if run_program(nodes, folder, output, moment) else None
    if fault == "disk":
        with full_disk(nodes, output, moment):
            further = until_complete(again) - 1
        return (moment, further) if any(note.startswith("OutputError") for note in notes) else None
    with later(nodes.lose if fault == "node" else lambda: kill_worker(output), lambda: attempts(output), moment) as hit:
        further = until_complete(again) - 1
    nodes.restore()
    return (moment, further) if hit == [True] else None


def try_store(folder: Path, server: int, longest: float) -> tuple[float, int, tuple[int, str]] | None:
    """A run with a temporary outage of the store: the time, further runs, the rows; None if the run ended before."""
    import boto3

    s3 = boto3.resource("s3", endpoint_url=f"http://127.0.0.1:{server}", region_name="us-east-1")
    bucket = s3.create_bucket(Bucket="photos")
    bucket.objects.all().delete()
    for path in sorted(folder.iterdir()):
        bucket.upload_file(str(path), f"photos/{path.name}")
    moment = random.uniform(0, longest)
    with Relay(server) as relay:
        options = f"?endpoint_override=127.0.0.1:{relay.port}&scheme=http&region=us-east-1"

        def cut() -> bool:
            relay.down()
            time.sleep(OUTAGE_S)
            relay.up()
            return True

        def again() -> Summary:
            return write(f"s3://photos/photos{options}", f"s3://photos/out{options}", shard_images=SHARD_IMAGES)

        with later(cut, lambda: list(bucket.objects.filter(Prefix="out/_mftn/attempts/")), moment) as hit:
            further = until_complete(again) - 1
    if not hit:
        return None
    names = sorted(each.key for each in bucket.objects.filter(Prefix="out/0"))
    table = pa.concat_tables(pq.read_table(pa.BufferReader(bucket.Object(name).get()["Body"].read())) for name in names)
    local = [source.replace("s3://photos/photos", str(folder)) for source in table["source"].to_pylist()]
    return moment, further, digest(iter([table.set_column(0, "source", pa.array(local))]))


def main() -> None:
    """Run, and print a line per fault."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    known = ("actor", "node", "driver", "disk", "store")
    parser.add_argument("--faults", nargs="+", choices=known, default=known)
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--images", type=int, default=240)
    arguments = parser.parse_args()
    random.seed(0)
    os.environ.update(SURROUNDINGS)
    import ray
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    nodes = Nodes()
    ray.init(address=nodes.cluster.address, log_to_driver=False, logging_level="CRITICAL")
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work) / "photos"
        make_folder(folder, arguments.images)
        begun = list[float]()
        write(
            folder,
            Path(work) / "undisturbed",
            shard_images=SHARD_IMAGES,
            on_shard=lambda outcome, _: begun.append(time.monotonic() - outcome.seconds),
        )
        longest = time.monotonic() - min(begun)
        expected = digest(parts(Path(work) / "undisturbed"))
        print(f"undisturbed: {expected[0]} rows, sha256 {expected[1][:16]}, {longest:.0f} s of work", flush=True)
        for fault in arguments.faults:
            further, equal, moments = list[int](), 0, list[float]()
            while len(moments) < arguments.times:
                output = Path(work) / f"{fault}{random.randrange(10**9)}"
                if fault == "store":
                    stored = try_store(folder, server.get_host_and_port()[1], longest)
                    tried, found = stored and stored[:2], stored and stored[2]
                else:
                    tried = try_local(nodes, fault, folder, output, longest)
                    found = digest(parts(output)) if tried else None
                if tried:
                    moments.append(tried[0])
                    further.append(tried[1])
                    equal += found == expected
                    print(f"  {fault} at {tried[0]:.1f} s: {'equal' if found == expected else found}", flush=True)
            times = ", ".join(f"{moment:.1f}" for moment in sorted(moments))
            print(
                f"{fault}: {equal} of {arguments.times} equal; further runs {sorted(further)}; at {times} s", flush=True
            )
    ray.shutdown()
    nodes.cluster.shutdown()
    server.stop()


if __name__ == "__main__":
    main()
