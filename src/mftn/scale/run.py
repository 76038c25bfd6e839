"""A run: an autoscaling pool of actors turns the unfinished shards of a plan into parts of the output."""

from __future__ import annotations

import json
import os
import time
import uuid
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from mftn.engines import find_model
from mftn.engines.installed import is_shipped
from mftn.errors import MissingExtraError, OutputError
from mftn.files import json_text
from mftn.limits import check_range
from mftn.scale.plan import Plan, read_plan, write_plan
from mftn.scale.settings import Settings
from mftn.scale.shards import SHARD_IMAGES
from mftn.scale.storage import Store
from mftn.scale.summary import Share, Summary
from mftn.scale.worker import Outcome, ShardWorker, State, Work, read_counts
from mftn.sources import Source

MANIFEST = "_manifest.json"
ROUNDS = 3
"""Attempts at a shard that could not be read or written."""

MAX_UNWRITTEN = 10
"""Consecutive shards that cannot be written before a run ends."""


def write(
    sources: str | os.PathLike[str] | Sequence[str | os.PathLike[str] | Source],
    output: str | os.PathLike[str],
    settings: Settings | None = None,
    *,
    shard_images: int = SHARD_IMAGES,
    workers: int | None = None,
    null: bool = False,
    on_shard: Callable[[Outcome, int], object] | None = None,
) -> Summary:
    """Predict on all machines of a Ray cluster, into a folder of Parquet files, one per shard.

    The rows are those of `mftn predict`. A part appears when it is complete, so the folder can be read at any time. The
    same call continues a run that ended for any reason: finished shards are skipped. The sources are listed once; files
    added later are not read. An image that cannot be read is a row with `error`. A shard that loses three workers in a
    run is set aside until its file in OUTPUT/_mftn/aside is deleted.

    Ray is used if it is initialised, and otherwise started on this machine.

    Args:
        sources: As in `find_items`: files, folders, globs, Parquet files, tar files, and addresses of these in stores.
        output: A folder that all machines share, or the address of one in a store.
        settings: Options of the prediction; the defaults of `mftn predict` if None.
        shard_images: Images per shard, for the first run into a folder.
        workers: Largest number of workers; None for as many as the cluster has CPUs for.
        null: As in `find_sources`.
        on_shard: Called with the outcome of each shard, and the number of shards that are left.

    Raises:
        ConfigError: A number is out of range, or an earlier run into the folder had different sources or settings.
        OutputError: The output cannot be written.
        MissingExtraError: Ray is not installed.
        KeyboardInterrupt: Passed on; finished parts remain.
    """
    started = time.monotonic()
    require_ray()
    check_range("shard_images", shard_images, 1)
    if workers is not None:
        check_range("workers", workers, 1)
    sources = [sources] if isinstance(sources, str | os.PathLike) else list(sources)
    settings, store = (settings or Settings()).checked(), Store(os.fspath(output))
    provenance = settings.provenance()
    made_by = json.loads(provenance.to_json())
    plan = read_plan(store, sources, made_by, null=null) or write_plan(store, sources, made_by, shard_images, null=null)
    run = uuid.uuid4().hex[:12]
    work = Work(settings, model_content(settings), provenance, _absolute(store.address), run, plan.folder)
    parts, set_aside = set(store.names()), store.names("_mftn/aside")
    done = [number for number, entry in enumerate(plan.entries) if entry.part in parts]
    missing = [number for number, entry in enumerate(plan.entries) if entry.part not in parts]
    pending = [number for number in missing if plan.entries[number].name not in set_aside]
    outcomes = dict[int, Outcome]()
    for outcome in _rounds(plan, work, pending, workers):
        outcomes[outcome.number] = outcome
        if on_shard:
            left = len(pending) - sum(each.state is not State.UNFINISHED for each in outcomes.values())
            on_shard(outcome, left)
    before = _counts_before(store, plan, done)
    summary = _summary(store.address, plan, outcomes, before, set_aside, time.monotonic() - started)
    _write_manifest(store, plan, outcomes, before, summary)
    store.delete(f"_mftn/attempts/{run}")
    store.delete("_mftn/partial")
    return summary


def _rounds(plan: Plan, work: Work, pending: Sequence[int], workers: int | None) -> Iterator[Outcome]:
    """The outcomes of shards, in order of completion; unfinished shards are tried again.

    Raises:
        OutputError: Nothing can be written.
    """
    unwritten = 0
    for number in range(ROUNDS):
        left = list[int]()
        for outcome in _pass(plan, work, pending, workers, last=number == ROUNDS - 1):
            yield outcome
            unwritten = unwritten + 1 if outcome.note.startswith(OutputError.__name__) else 0
            if unwritten == MAX_UNWRITTEN:
                raise OutputError(outcome.note.partition(": ")[2])
            if outcome.state is State.UNFINISHED:
                left.append(outcome.number)
        if not left:
            return
        pending = left


def _pass(plan: Plan, work: Work, pending: Sequence[int], workers: int | None, last: bool) -> Iterator[Outcome]:
    """Try each shard once. There is one block per shard: an actor gets the next one when it has finished."""
    if not pending:
        return
    import ray

    rows = [{"number": number, "name": plan.entries[number].name, "last": last} for number in pending]
    with quiet_context():
        dataset = ray.data.from_items(rows, override_num_blocks=len(rows))
        outcomes = dataset.map(
            ShardWorker,
            fn_constructor_args=(work,),
            num_cpus=work.settings.threads,
            compute=actor_pool(len(rows), work.settings.threads, workers),
        )
        for row in outcomes.iter_rows():
            yield Outcome(**row | {"state": State(row["state"])})


def actor_pool(tasks: int, threads: int, workers: int | None) -> Any:
    """A pool that begins with the cluster's CPUs and grows with it; two tasks per actor, so that one is always queued.

    Args:
        tasks: Number of tasks; more actors would be idle.
        threads: CPUs of an actor.
        workers: Largest number of actors; None for no limit.
    """
    import ray

    if not ray.is_initialized():
        ray.init()
    max_size = min(tasks, workers or tasks)
    free = int(ray.cluster_resources().get("CPU", 1) // threads)
    initial_size = max(1, min(max_size, free))
    return ray.data.ActorPoolStrategy(
        min_size=1, max_size=max_size, initial_size=initial_size, max_tasks_in_flight_per_actor=2
    )


@contextmanager
def quiet_context() -> Iterator[None]:
    """Ray Data without its own progress bars, for datasets that are created in the block."""
    from ray.data import DataContext

    with warnings.catch_warnings():  # copying touches deprecated attributes
        warnings.simplefilter("ignore", DeprecationWarning)
        context = DataContext.get_current().copy()
    context.enable_progress_bars = False
    with DataContext.current(context):
        yield


def require_ray() -> None:
    """Check that Ray is installed.

    Raises:
        MissingExtraError: It is not installed.
    """
    try:
        import ray.data  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("Prediction on many machines", "ray") from error


def model_content(settings: Settings) -> bytes | None:
    """The content of a model's file, for machines that do not have it; None for a shipped model."""
    file = find_model(settings.model)
    return None if is_shipped(file) else file.read_bytes()


def _absolute(address: str) -> str:
    return address if "://" in address else os.path.abspath(address)  # noqa: PTH100


def _summary(
    address: str,
    plan: Plan,
    outcomes: dict[int, Outcome],
    before: dict[int, dict[str, int]],
    set_aside: Sequence[str],
    seconds: float,
) -> Summary:
    in_order = [outcomes[number] for number in sorted(outcomes)]
    finished = [outcome for outcome in in_order if outcome.state is State.DONE]
    notes = {state: {outcome.name: outcome.note for outcome in in_order if outcome.state is state} for state in State}
    nodes = dict[str, Share]()
    for outcome in finished:
        share = nodes.get(outcome.node, Share(0, 0.0))
        nodes[outcome.node] = Share(share.images + outcome.images, share.seconds + outcome.seconds)
    return Summary(
        output=address,
        images=sum(outcome.images for outcome in finished),
        faces=sum(outcome.faces for outcome in finished),
        failures=sum(outcome.failures for outcome in finished),
        seconds=seconds,
        shards=len(finished),
        before=len(before),
        failures_before=sum(counts["failures"] for counts in before.values()),
        nodes=nodes,
        set_aside=dict.fromkeys(set_aside, "by an earlier run") | notes[State.SET_ASIDE],
        unfinished=notes[State.UNFINISHED],
        notes=tuple(filter(None, notes[State.DONE].values())),
        unread=plan.unread,
    )


def _counts_before(store: Store, plan: Plan, done: Sequence[int]) -> dict[int, dict[str, int]]:
    """Images, faces and failures of the shards that earlier runs finished."""
    with ThreadPoolExecutor(16) as pool:
        counts = pool.map(lambda number: read_counts(store, plan.entries[number].part), done)
        return dict(zip(done, counts, strict=True))


def _write_manifest(
    store: Store, plan: Plan, outcomes: dict[int, Outcome], before: dict[int, dict[str, int]], summary: Summary
) -> None:
    """Describe the output: its provenance, and its parts of all runs with their counts."""
    counts = before | {
        number: {name: getattr(outcome, name) for name in ("images", "faces", "failures")}
        for number, outcome in outcomes.items()
        if outcome.state is State.DONE
    }
    manifest = {
        **plan.made_by,
        "sources": plan.sources,
        "unread": plan.unread,
        "complete": summary.complete,
        "set_aside": summary.set_aside,
        "unfinished": summary.unfinished,
        "parts": [{"file": plan.entries[number].part, **counts[number]} for number in sorted(counts)],
    }
    store.put(MANIFEST, json_text(manifest, indent=1).encode())
