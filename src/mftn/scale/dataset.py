"""Prediction as a step of your own Ray Data pipeline."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mftn.errors import ConfigError
from mftn.limits import check_range
from mftn.output import arrow_schema
from mftn.recognize import Recognizer
from mftn.scale.listing import BYTES_COLUMNS, PATH_COLUMNS, find_items
from mftn.scale.reading import fetched, predictions_of
from mftn.scale.run import actor_pool, model_content, require_ray
from mftn.scale.settings import Settings
from mftn.scale.shards import Item, ItemKind, into_shards, shard_of, table_of
from mftn.scale.worker import load_recognizer
from mftn.sources import Kind, Source
from mftn.types import ROW_TYPES, Prediction

if TYPE_CHECKING:
    from ray.data import Dataset

BATCH_IMAGES = 64
"""Images per batch that a worker gets from a dataset."""

TABLE_ROWS = 1000
"""Rows after which a worker returns a table, however many faces an image has."""


def predict(
    source: Dataset | str | os.PathLike[str] | Sequence[str | os.PathLike[str] | Source],
    settings: Settings | None = None,
    *,
    column: str | None = None,
    keep: Sequence[str] = (),
    batch_images: int = BATCH_IMAGES,
    workers: int | None = None,
) -> Dataset:
    """Predict in a Ray Data pipeline: a lazy dataset with the rows of `mftn predict`, one per face.

    Nothing is written, and Ray recomputes the rows of a lost worker; `write` also survives the loss of the program
    itself. Rows come in the order in which they are computed, unless `preserve_order` is set in the dataset's execution
    options; within a batch they keep its order.

    Args:
        source: A dataset with a column of paths, addresses, file contents or images (arrays as returned by
            `ray.data.read_images`), one image per row; or sources as in `write`.
        settings: Options of the prediction; the defaults of `mftn predict` if None.
        column: The column; if None, the first of "path", "bytes", "image" and similar names.
        keep: Columns of the dataset that rows keep, such as an identifier.
        batch_images: Images per batch that a worker gets.
        workers: Largest number of workers; None for as many as the cluster has CPUs for.

    Raises:
        ConfigError: The dataset has no such column, rows already have one of `keep`, or a number is out of range.
        MissingExtraError: Ray is not installed.
    """
    require_ray()
    import ray

    check_range("batch_images", batch_images, 1)
    settings = (settings or Settings()).checked()
    known = (settings, model_content(settings), os.getcwd())  # noqa: PTH109
    options: dict[str, Any] = {"num_cpus": settings.threads, "fn_constructor_args": known}
    if isinstance(source, ray.data.Dataset):
        if taken := [name for name in keep if name in ROW_TYPES]:
            raise ConfigError(
                f"keep: rows already have {', '.join(taken)}; rename the dataset's with dataset.rename_columns"
            )
        column = column or _column(source.columns() or [])
        pool = actor_pool(10**9, settings.threads, workers)
        chosen = source.select_columns(list(dict.fromkeys([column, *keep])))
        return chosen.map_batches(
            DatasetWorker,
            batch_size=batch_images,
            fn_kwargs={"column": column, "keep": tuple(keep)},
            compute=pool,
            **options,
        )
    if column or keep:
        raise ConfigError("column and keep apply only to datasets; omit them")
    sources = [source] if isinstance(source, str | os.PathLike) else source
    shards = into_shards(find_items(sources, batch_images), batch_images)
    dataset = ray.data.from_arrow([table_of(shard) for shard in shards])
    pool = actor_pool(10**9, settings.threads, workers)
    return dataset.map_batches(ItemsWorker, batch_size=None, batch_format="pyarrow", compute=pool, **options)


def _column(names: Sequence[str]) -> str:
    found = next((name for name in (*PATH_COLUMNS, *BYTES_COLUMNS) if name in names), None)
    if found is None:
        raise ConfigError(f"the dataset has no column of images (it has {', '.join(names)}); set column=…")
    return found


class ItemsWorker:
    """An actor that turns shards into tables of rows.

    Args:
        settings: Options of the prediction.
        model: As in `load_recognizer`.
        folder: As in `load_recognizer`.
    """

    def __init__(self, settings: Settings, model: bytes | None, folder: str) -> None:
        self.settings = settings
        self.recognizer: Recognizer = load_recognizer(settings, model, folder)

    def __call__(self, table: Any) -> Iterator[Any]:
        """The rows of a shard, in tables of limited length."""
        found = predictions_of(shard_of(table), self.recognizer, self.settings, [])
        yield from _tables((prediction, {}) for prediction in found)


class DatasetWorker(ItemsWorker):
    """An actor that turns batches of a dataset into tables of rows."""

    def __call__(self, batch: dict[str, np.ndarray], column: str = "path", keep: tuple[str, ...] = ()) -> Iterator[Any]:
        """The rows of a batch, in tables of limited length."""
        kept = [{name: batch[name][number] for name in keep} for number in range(len(batch[column]))]
        yield from _tables(zip(self.recognizer.stream(_given(batch[column])), kept, strict=True))


def _given(values: np.ndarray) -> Iterator[Any]:
    """The images of a column: paths are read ahead, other values are used as they are."""
    if all(isinstance(value, str | None) for value in values):
        yield from map(_one_image, fetched([Item(ItemKind.IMAGE, value or "") for value in values]))
        return
    for value in values:
        yield value.get("bytes") or b"" if isinstance(value, dict) else value


def _one_image(source: Source) -> Source:
    """A source with one prediction: a row cannot represent several images."""
    if source.kind not in (Kind.FOLDER, Kind.GLOB):
        return source
    error = f"{source.path}: is a {source.kind}, not an image; give each of its files a row"
    return Source(source.path, Kind.IMAGE, error)


def _tables(predictions: Iterable[tuple[Prediction, dict[str, Any]]]) -> Iterator[Any]:
    """Predictions as Arrow tables, with the columns that are kept; none if there are no predictions."""
    import pyarrow as pa

    schema, rows, kept = arrow_schema(), list[dict[str, Any]](), list[dict[str, Any]]()

    def table() -> Any:
        made = pa.Table.from_pylist(rows, schema=schema)
        for name in kept[0] if kept else ():
            made = made.append_column(name, pa.array([each[name] for each in kept]))
        return made

    for prediction, columns in predictions:
        new = prediction.to_rows()
        rows += new
        kept += [columns] * len(new)
        if len(rows) >= TABLE_ROWS:
            yield table()
            rows.clear()
            kept.clear()
    if rows:
        yield table()
