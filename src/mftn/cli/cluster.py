"""`mftn predict --cluster`: prediction on all machines of a Ray cluster, written to a folder of Parquet files."""

from __future__ import annotations

import logging
import os
import re
import socket
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from mftn.cli import exit_status
from mftn.cli.messages import LOG, command_line, counted
from mftn.cli.options import refuse
from mftn.cli.progress import progress_bars
from mftn.errors import ConfigError, MFTNError
from mftn.scale import Settings, write
from mftn.scale.run import require_ray
from mftn.scale.worker import Outcome
from mftn.sources import advice, describe

if TYPE_CHECKING:
    from mftn.cli.predict import Arguments

UNUSED = ("save_images", "save_crops", "save_video", "save_timeline", "overwrite", "strict", "top")
"""Options that have no effect on a cluster."""


def run_on_cluster(arguments: Arguments) -> int:
    """Predict on the cluster, and return the exit status."""
    _check(arguments)
    assert arguments.output
    shared = {field.name for field in fields(Settings)}
    values = {name: value for name, value in (vars(arguments) | vars(arguments.video)).items() if name in shared}
    settings = Settings(**values | {"threads": arguments.threads or 1})
    done = left = 0
    require_ray()
    with _connected(arguments.cluster or "auto"), progress_bars() as bars:
        task = bars.add_task("shards", total=None)

        def on_shard(outcome: Outcome, still: int) -> None:
            nonlocal done, left
            done, left = done + 1, still
            LOG.debug(f"{outcome.name}: {outcome.state}, {outcome.images} images on {outcome.node} {outcome.note}")
            bars.update(task, completed=done, total=done + left)

        try:
            summary = write(
                arguments.sources,
                stored_or_local(arguments.output),
                settings,
                null=arguments.null,
                on_shard=on_shard,
            )
        except KeyboardInterrupt as stop:
            again = command_line(["mftn", *sys.argv[1:]])
            LOG.info(f"interrupted after {counted(done, 'shard')} of this run, which are kept; continue with: {again}")
            return exit_status(stop)
        except OSError as error:
            if isinstance(error, MFTNError) or error.filename:
                raise
            raise MFTNError(
                f"a store cannot be used: {error}; check the addresses, and run the same command again to continue"
            ) from error
    if summary.unread:
        unread = Counter(summary.unread)
        LOG.warning(f"not read: {describe(unread)}; {advice(unread)}")
    for line in str(summary).splitlines():
        LOG.info(line)
    return 0 if summary.complete and not summary.failures + summary.failures_before else 1


def stored_or_local(output: Path) -> str:
    """An output as it was given: `Path` drops one of the slashes of an address, and two of those of file:///."""
    address = re.sub(r"(^|=)([a-z][a-z0-9+.-]+):/(?!/)", r"\1\2://", str(output), flags=re.IGNORECASE)
    return re.sub(r"^file:/+", "/", address, flags=re.IGNORECASE)


def _check(arguments: Arguments) -> None:
    """Refuse options that a cluster does not support."""
    if not arguments.sources:
        raise ConfigError("no source: name a folder, a list, or an address such as s3://bucket/photos")
    if not arguments.output:
        raise ConfigError("--cluster writes a folder of Parquet files: add --output FOLDER")
    if arguments.format not in ("auto", "parquet") or arguments.output.is_file():
        raise ConfigError(f"--cluster writes a folder of Parquet files; {arguments.output} is not one; omit --format")
    for options in (arguments, arguments.video):
        refuse(options, UNUSED, "has no effect with --cluster")


@contextmanager
def _connected(cluster: str) -> Iterator[None]:
    """Connect to an existing cluster, or to a local one that lasts as long as the command."""
    if cluster.startswith("ray://"):
        raise ConfigError(f"{cluster}: run the command on a machine of the cluster, or by `ray job submit`")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # Ray warns of every worker that could be restarted
    import ray

    logging.getLogger("ray.data").setLevel(logging.ERROR)
    local = {"include_dashboard": False} if cluster == "local" else {}
    host, _, port = cluster.rpartition(":")
    try:
        if host and port.isdecimal():  # without a cluster Ray would wait for minutes
            socket.create_connection((host, int(port)), timeout=5).close()
        ray.init(address=cluster, log_to_driver=False, logging_level=logging.ERROR, **local)
    except (OSError, ValueError, RuntimeError) as error:
        raise ConfigError(
            f"--cluster {cluster}: there is no Ray cluster ({error}); start one with `ray start --head`, or use "
            "--cluster local"
        ) from error
    try:
        yield
    finally:
        ray.shutdown()
