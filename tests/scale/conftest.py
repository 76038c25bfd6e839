"""A cluster of two nodes on this machine, a store on loopback, and photographs to recognise."""

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image as PillowImage

from mftn.cli import main

SURROUNDINGS = {
    "RAY_AUTH_MODE": "disabled",  # otherwise Ray writes a token into the home folder
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_worker_niceness": "0",  # on a busy machine they would starve
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_EC2_METADATA_DISABLED": "true",
}
"""Of the nodes and their workers."""

QUICK = {"health_check_period_ms": 1000, "health_check_timeout_ms": 2000, "health_check_failure_threshold": 2}
"""A lost node is noticed in seconds."""


@dataclass
class TwoNodes:
    """A head without processors, and two nodes with one each.

    Attributes:
        cluster: Ray's.
        nodes: The two nodes.
    """

    cluster: Any
    nodes: list[Any]

    @property
    def address(self) -> str:
        return str(self.cluster.address)

    def add(self) -> None:
        self.nodes.append(self.cluster.add_node(num_cpus=1, object_store_memory=80_000_000))

    def lose(self) -> None:
        """End a node as a power failure would, with its workers."""
        self.cluster.remove_node(self.nodes.pop(), allow_graceful=False)


@pytest.fixture(scope="package")
def nodes() -> Iterator[TwoNodes]:
    """The cluster, to which the tests' process is connected.

    It ends with these tests, and so does Ray's handler of SIGTERM: forked processes would inherit it, and hang in it.
    """
    from ray.cluster_utils import Cluster

    before, on_sigterm = dict(os.environ), signal.getsignal(signal.SIGTERM)
    os.environ.update(SURROUNDINGS)
    import ray

    head = {"num_cpus": 0, "object_store_memory": 80_000_000, "include_dashboard": False, "_system_config": QUICK}
    made = TwoNodes(Cluster(initialize_head=True, head_node_args=head), [])
    made.add()
    made.add()
    ray.init(address=made.address, log_to_driver=False, logging_level="ERROR")
    yield made
    ray.shutdown()
    made.cluster.shutdown()
    signal.signal(signal.SIGTERM, on_sigterm)
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="session")
def faces(tmp_path_factory: pytest.TempPathFactory, photos: Path) -> Path:
    """A folder of 36 cut-outs of photographs, and four files that are none: empty, cut off, text, a broken link."""
    folder = tmp_path_factory.mktemp("faces")
    rng = np.random.default_rng(0)
    originals = [PillowImage.open(path).convert("RGB") for path in sorted(photos.glob("*.jpg"))]
    for number in range(36):
        photo = originals[number % len(originals)]
        side = min(photo.size) - int(rng.integers(0, 60))
        cut = photo.resize((200, 200), box=(photo.width - side, 0, photo.width, side))
        path = folder / f"{'ab'[number % 2]}" / f"{number:02}.jpg"
        path.parent.mkdir(exist_ok=True)
        cut.save(path, quality=90)
    whole = (folder / "a" / "00.jpg").read_bytes()
    (folder / "a" / "cut-off.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "text.png").write_text("not an image")
    (folder / "b" / "nowhere.jpg").symlink_to("nothing.jpg")
    return folder


@pytest.fixture(scope="session")
def expected(faces: Path, tmp_path_factory: pytest.TempPathFactory) -> pa.Table:
    """What `mftn predict` writes of the folder, with one thread."""
    return predicted([str(faces)], tmp_path_factory.mktemp("expected"))


def predicted(sources: list[str], folder: Path) -> pa.Table:
    """What `mftn predict` writes, with one thread."""
    assert main(["predict", *sources, "--threads", "1", "--output", str(folder / "rows.parquet")]) in (0, 1)
    return pq.read_table(folder / "rows.parquet")


@pytest.fixture(scope="session")
def server() -> Iterator[int]:
    """The port of an S3 server on loopback, which holds the bucket "photos"."""
    from moto.server import ThreadedMotoServer

    running = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    running.start()
    yield running.get_host_and_port()[1]
    running.stop()


@pytest.fixture(scope="session")
def store(server: int) -> str:
    """What follows an address of the store."""
    return f"?endpoint_override=127.0.0.1:{server}&scheme=http&region=us-east-1"


@pytest.fixture
def bucket(server: int, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The empty bucket, by an independent client."""
    import boto3

    for name, value in SURROUNDINGS.items():
        monkeypatch.setenv(name, value)
    s3 = boto3.resource("s3", endpoint_url=f"http://127.0.0.1:{server}", region_name="us-east-1")
    made = s3.create_bucket(Bucket="photos")
    made.objects.all().delete()
    return made
