"""From a checkpoint and a prepared split to a report: metrics.json, CSVs, figures, and one page with everything."""

import json
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mftn.data.records import Split
from mftn.data.votes import Protocol
from mftn.errors import DataError, OutputError
from mftn.evaluate.drawing import draw, file_names, save
from mftn.evaluate.groups.request import GroupRequest
from mftn.evaluate.measure import Options, Progress, measure
from mftn.evaluate.predictions import FUSED, Predictions, cache_key, predict_split, read_predictions
from mftn.evaluate.results import Results, to_json
from mftn.evaluate.split import EvaluatedSplit
from mftn.figures import text_as_written
from mftn.files import file_identity, write_csv, write_text
from mftn.models import Network
from mftn.pages import render_page
from mftn.result_folder import ResultFolder

if TYPE_CHECKING:
    from mftn.evaluate.groups.report import GroupReport

INDEX = "metrics.json"
"""The file that lists the others."""

ALWAYS = ("report.html", INDEX, "summary.csv", "per_class.csv")
"""Files that every report has."""

OUTPUT = re.compile(r"[\w-]+\.csv|groups\.(html|json|png|pdf)|figures/[^/]+\.(png|pdf)")
"""Tables, figures and pages of groups as they are listed in metrics.json."""

__all__ = ["Model", "Options", "Report", "write_report"]


@dataclass(frozen=True, slots=True)
class Model:
    """A model in the report.

    Attributes:
        name: Name in tables and figures.
        file: Its checkpoint, or the predictions that another report stored.
        network: In evaluation mode, with its description; None for stored predictions, which allow only metrics.
    """

    name: str
    file: Path
    network: Network | None


@dataclass(frozen=True, slots=True)
class Report:
    """A written report.

    Attributes:
        page: The page with everything.
        results: What was measured.
        groups: Results by group, if requested; they have a page of their own.
    """

    page: Path
    results: Results
    groups: "GroupReport | None" = None


def write_report(
    models: Sequence[Model],
    folder: Path,
    split: Split,
    out: Path,
    protocol: Protocol = "argmax",
    options: Options | None = None,
    on_progress: Progress = lambda _what, _done, _total: None,
    groups: GroupRequest | None = None,
) -> Report:
    """Measure, draw and write.

    Args:
        models: The models to measure.
        folder: A prepared data set.
        split: The split.
        out: The folder to write to.
        protocol: Where raters voted: which images count, and their class.
        options: How much is measured.
        on_progress: Called with the progress.
        groups: The people in the images, whose groups are compared.

    Raises:
        OutputError: The folder has a file with a report's name that no report wrote, or predictions that are a source.
        DataError: The data set is missing, an image cannot be read, or the images do not add up to the manifest's.
    """
    options = options or Options()
    networks = {model.name: model.network for model in models if model.network is not None}
    channels = {network.described().channels for network in networks.values()}
    images = EvaluatedSplit(folder, split, protocol, channels)
    caches = {
        name: out / "predictions" / f"{file}.parquet" for name, file in file_names(m.name for m in models).items()
    }
    _check_caches(models, caches)
    predictions = [_predict(model, images, caches[model.name], on_progress) for model in models]
    by_group = _compare_groups(groups, images, predictions) if groups else None
    results = measure(images, predictions, networks, options, on_progress)
    with text_as_written():
        figures = draw(results, images, predictions, networks, options, on_progress)
    written = {f"{name}.csv": rows for name, rows in tables(results).items() if rows}
    outputs = [*written, *(f"figures/{name}.{kind}" for name in figures for kind in ("png", "pdf")), *ALWAYS[:2]]
    results_folder = ResultFolder(out, INDEX)
    results_folder.begin(outputs)
    if by_group:
        from mftn.evaluate.groups.report import OUTPUTS

        outputs += OUTPUTS
    outputs = results_folder.remove_others(outputs, OUTPUT)
    write_text(out / INDEX, json.dumps({**to_json(results), "files": outputs}, indent=1))
    with text_as_written():
        drawn = save(figures, out / "figures")
    for name, rows in written.items():
        write_csv(out / name, rows)
    page = out / "report.html"
    write_text(page, render(results, drawn, options))
    if by_group:
        by_group.write(out)
    return Report(page, results, by_group)


def _check_caches(models: Sequence[Model], caches: Mapping[str, Path]) -> None:
    """Refuse to replace predictions of an earlier report that are an input of this one."""
    sources = {file_identity(model.file) for model in models} - {None}
    for model in models:
        if model.network is not None and file_identity(caches[model.name]) in sources:
            raise OutputError(
                f"{caches[model.name]}: is a source, and the predictions of {model.name} would replace it; "
                "choose another folder (--out)"
            )


def _compare_groups(request: GroupRequest, images: EvaluatedSplit, predictions: Sequence[Predictions]) -> "GroupReport":
    from mftn.evaluate.groups.report import GroupReport

    sources = images.sources()
    if len(set(sources)) < len(sources):
        twice = next(source for source, count in Counter(sources).items() if count > 1)
        raise DataError(f"{images.folder}: {twice} has several faces; groups need one face per image")
    labels = dict(zip(sources, (images.classes[label] for label in images.labels), strict=True))

    def named(found: Predictions) -> dict[str, str | None]:
        best = found.scores(images.classes).argmax(axis=1)
        return dict(zip(sources, (images.classes[index] for index in best), strict=True))

    return GroupReport.of({found.name: named(found) for found in predictions}, request, labels)


def _predict(model: Model, split: EvaluatedSplit, cache: Path, on_progress: Progress) -> Predictions:
    key = cache_key(model.file, split.dataset, split.split, split.protocol)
    if model.network is None:
        return read_predictions(model.name, model.file, key)
    dataset = split.dataset_of(model.network)

    def on_batch(done: int) -> None:
        on_progress(f"predictions of {model.name}", done, 2 * len(dataset))

    return predict_split(model.name, model.network, dataset, cache, key, on_batch)


def tables(results: Results) -> dict[str, list[dict[str, object]]]:
    """The rows of summary.csv, per_class.csv and robustness.csv."""
    summary: list[dict[str, object]] = []
    per_class: list[dict[str, object]] = []
    corrupted: list[dict[str, object]] = []
    for name, model in results.models.items():
        for output, protocols in model.outputs.items():
            for protocol, scores in protocols.items():
                values = {field: getattr(scores, field) for field in scores.__dataclass_fields__}
                scalars = {key: value for key, value in values.items() if not isinstance(value, np.ndarray | tuple)}
                bounds = {"wilson_low": scores.interval[0], "wilson_high": scores.interval[1]}
                summary.append({"model": name, "output": output, "protocol": protocol, **scalars, **bounds})
        main = model.outputs[FUSED][results.main]
        for k, label in enumerate(results.data.classes):
            shares = {key: float(getattr(main, key)[k]) for key in ("precision", "recall", "f1")}
            per_class.append({"model": name, "expression": label, "images": results.data.per_class[k], **shares})
        for corruption, points in (model.robustness.curves if model.robustness else {}).items():
            corrupted += [
                {"model": name, "corruption": corruption, "strength": strength, "accuracy": accuracy}
                for strength, accuracy in points
            ]
    return {"summary": summary, "per_class": per_class, "robustness": corrupted}


def render(results: Results, drawn: Mapping[str, str], options: Options) -> str:
    """Render the page with its figures."""
    return render_page(
        "mftn.evaluate",
        "report.html.j2",
        {"percent": _percent, "span": _span, "number": _number},
        found=results,
        figures=drawn,
        main=results.main,
        fused=FUSED,
        options=options,
        inf=math.inf,
    )


def _percent(value: float | None, digits: int = 1) -> str:
    return "–" if value is None or math.isnan(value) else f"{100 * value:.{digits}f} %"


def _number(value: float | None) -> str:
    return "–" if value is None or math.isnan(value) else f"{value:.3f}"


def _span(bounds: Sequence[float]) -> str:
    return "–" if math.isnan(bounds[0]) else f"{100 * bounds[0]:.1f}–{100 * bounds[1]:.1f}"
