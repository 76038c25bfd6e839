"""Workers, nodes, the program itself and the store are lost in the middle of a run: no row is lost or doubled."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mftn.scale import write
from mftn.scale.storage import PATIENCE_S, patiently

sys.path.insert(0, str(Path(__file__).parents[1]))
from outages import Relay

SHARD = 5


def meanwhile(action: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=action, daemon=True)
    thread.start()
    return thread


def wait_for(found: Callable[[], Any]) -> Any:
    """What a function finds, as soon as it is true."""
    for _ in range(30_000):
        if value := found():
            return value
        time.sleep(0.002)
    raise TimeoutError


def parts(output: Path) -> list[Path]:
    return sorted(output.glob("*.parquet"))


def attempts(output: Path) -> list[Path]:
    return sorted(output.glob("_mftn/attempts/*/*"))


def content(path: Path) -> str:
    """A file's text; empty if it is gone or not written yet."""
    try:
        return path.read_text()
    except FileNotFoundError:
        return ""


def test_a_killed_worker_costs_nothing_and_a_shard_that_kills_three_is_set_aside(
    nodes: Any, faces: Path, expected: pa.Table, tmp_path: Path
) -> None:
    output, killed, most = tmp_path / "out", Counter[str](), {"00000002": 1, "00000004": 3}
    ended = threading.Event()

    def kill() -> None:
        seen = set[Path]()
        while not ended.wait(0.002):
            for attempt in attempts(output):
                number = attempt.name[:8]
                if attempt not in seen and killed[number] < most.get(number, 0) and (text := content(attempt)):
                    seen.add(attempt)
                    killed[number] += 1
                    os.kill(json.loads(text)["pid"], signal.SIGKILL)

    killer = meanwhile(kill)
    summary = write(faces, output, shard_images=SHARD)
    ended.set()
    killer.join()
    assert killed == most
    (name,) = summary.set_aside
    assert name.startswith("00000004") and not summary.complete and not summary.unfinished
    assert f"set aside: {name}: 3 workers were lost while processing it" in str(summary)
    assert len(pq.read_table(output)) == len(expected) - SHARD  # each of its images has one face or none
    again = write(faces, output, shard_images=SHARD)
    assert (again.shards, again.before, list(again.set_aside)) == (0, 7, [name])
    (output / "_mftn" / "aside" / name).unlink()
    assert write(faces, output, shard_images=SHARD).complete and pq.read_table(output).equals(expected)


def test_a_lost_node_costs_nothing(nodes: Any, faces: Path, expected: pa.Table, tmp_path: Path) -> None:
    output = tmp_path / "out"

    def lose() -> None:
        wait_for(lambda: parts(output))
        nodes.lose()

    loser = meanwhile(lose)
    try:
        summary = write(faces, output, shard_images=SHARD)
    finally:
        loser.join()
        nodes.add()
    assert summary.complete and pq.read_table(output).equals(expected)


PROGRAM = """
import sys, ray
from mftn.scale import write
ray.init(address=sys.argv[1], log_to_driver=False)
write(sys.argv[2], sys.argv[3], shard_images=int(sys.argv[4]))
"""


@pytest.mark.parametrize("way", [signal.SIGKILL, signal.SIGINT])
def test_a_run_whose_program_is_killed_goes_on(
    nodes: Any, faces: Path, expected: pa.Table, tmp_path: Path, way: signal.Signals
) -> None:
    output = tmp_path / "out"
    command = [sys.executable, "-c", PROGRAM, nodes.address, str(faces), str(output), str(SHARD)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as program:
        wait_for(lambda: parts(output))
        program.send_signal(way)
    assert program.returncode != 0
    summary = write(faces, output, shard_images=SHARD)
    assert summary.complete and summary.before >= 1 and summary.shards >= 1
    assert pq.read_table(output).equals(expected)


def test_an_outage_of_the_store_is_waited_for(
    nodes: Any, faces: Path, server: int, bucket: Any, expected: pa.Table
) -> None:
    for path in sorted((faces / "a").glob("*.jpg")):
        bucket.upload_file(str(path), f"faces/{path.name}")
    with Relay(server) as relay:
        options = f"?endpoint_override=127.0.0.1:{relay.port}&scheme=http&region=us-east-1"

        def cut() -> None:
            wait_for(lambda: list(bucket.objects.filter(Prefix="out/0")))
            relay.down()
            time.sleep(3)
            relay.up()

        cutter = meanwhile(cut)
        summary = write(f"s3://photos/faces{options}", f"s3://photos/out{options}", shard_images=3)
        cutter.join()
    assert summary.complete and (summary.images, summary.failures) == (19, 1) and summary.seconds > 3
    found = [
        row
        for each in bucket.objects.filter(Prefix="out/0")
        for row in pq.read_table(pa.BufferReader(each.get()["Body"].read())).to_pylist()
    ]
    known = {Path(row["source"]).name: row for row in expected.to_pylist() if "/a/" in row["source"]}
    assert [Path(row["source"]).name for row in found] == sorted(known)
    assert all(row["p_happiness"] == known[Path(row["source"]).name]["p_happiness"] for row in found)


def test_patience_ends_and_is_not_wasted() -> None:
    calls = []

    def fail(error: OSError) -> None:
        calls.append(error)
        raise error

    refused = OSError("When reading information for key 'a' in bucket 'b': AWS Error ACCESS_DENIED during HeadObject")
    for error in (FileNotFoundError(2, "gone"), OSError(28, "No space left on device"), refused):
        with pytest.raises(OSError, match=str(error.args[-1])):
            patiently(lambda error=error: fail(error))  # type: ignore[misc]
    assert len(calls) == 3 and PATIENCE_S >= 60
    with pytest.raises(OSError, match="unreachable"):
        patiently(lambda: fail(OSError("unreachable")), patience=1.2)
    assert len(calls) == 5
