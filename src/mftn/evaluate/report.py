"""From weights and a prepared split to a report: metrics.json, CSVs, figures, and one page that holds them all."""

import base64
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray

from mftn.data.dataset import FaceDataset
from mftn.data.manifest import read_description
from mftn.data.records import Split
from mftn.data.votes import Protocol
from mftn.errors import DataError
from mftn.evaluate import explain, figures, metrics, robustness
from mftn.evaluate.predict import preprocess_for
from mftn.evaluate.predictions import FLIPPED, FUSED, Predictions, cache_key, predict_split, read_predictions
from mftn.files import write_csv, write_text
from mftn.models import Network

AGREEMENT = (0.0, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
FRACTIONS = (0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 0.9, 1.0)
"""Shares of places removed in the deletion curves."""


@dataclass(frozen=True, slots=True)
class Options:
    """How much is measured beside the whole split's metrics.

    Attributes:
        robustness_images: Pictures that are damaged, drawn with the seed; 0 leaves it out.
        deletion_images: Pictures of the deletion curves; 0 leaves them and the maps out.
        embedding_images: Pictures of the embedding plots; 0 leaves them out.
        seed: Of the draws and the damage.
    """

    robustness_images: int = 500
    deletion_images: int = 200
    embedding_images: int = 1000
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Model:
    """A network of the report.

    Attributes:
        name: In tables and figures.
        file: Its weights, or the predictions that another report kept.
        network: In evaluation mode, with its description; None for kept predictions, which show no more than metrics.
    """

    name: str
    file: Path
    network: Network | None


class Report:
    """A report in the making; `write` makes it all.

    Args:
        models: What is measured.
        folder: A prepared data set.
        split: Which split.
        out: The folder to write.
        protocol: Where raters voted: which pictures count, and their class.
        options: How much is measured.
        on_progress: Called with what is being done, the pictures or steps done since the last call, and their total.

    Raises:
        DataError: The data set is missing, or the pictures do not add up to the manifest's.
    """

    def __init__(
        self,
        models: Sequence[Model],
        folder: Path,
        split: Split,
        out: Path,
        protocol: Protocol = "argmax",
        options: Options = Options(),
        on_progress: Callable[[str, int, int], None] | None = None,
    ) -> None:
        self.models = models
        self.networks = {model.name: model.network for model in models if model.network is not None}
        self.folder, self.split, self.out, self.protocol, self.options = folder, split, out, protocol, options
        self.on_progress = on_progress or (lambda _what, _done, _total: None)
        self.data = {
            channels: FaceDataset(folder, split, channels, protocol, in_memory=False)
            for channels in {network.described().channels for network in self.networks.values()} or {1}
        }
        self.dataset = next(iter(self.data.values()))
        self.about = read_description(folder)
        self.classes = tuple(self.dataset.classes)
        expected = self.about["pictures"][split]
        if len(self.dataset) + self.dataset.excluded != expected:
            raise DataError(
                f"{folder}: the manifest has {len(self.dataset) + self.dataset.excluded:,} pictures in {split}, "
                f"but dataset.json says {expected:,}; prepare the data set again"
            )
        self.labels = self.dataset.labels.numpy()
        self.found: dict[str, Any] = {}
        self.pictures: dict[str, str] = {}

    def write(self) -> Path:
        """Measure, draw, and return the page."""
        self.out.mkdir(parents=True, exist_ok=True)
        predictions = [self._predict(model) for model in self.models]
        self.found = {"data": self._data(), "models": {}, "pairs": []}
        for answers in predictions:
            self.found["models"][answers.name] = self._measure(answers)
        self._compare(predictions)
        self._draw(predictions)
        if self.options.robustness_images and self.networks:
            self._robustness()
        if self.options.deletion_images and self.networks:
            self._explanations(predictions)
        if self.options.embedding_images:
            self._embeddings()
        self._published()
        self._write_tables()
        write_text(self.out / "metrics.json", json.dumps(_plain(self.found), indent=1))
        page = self.out / "report.html"
        write_text(page, self._page())
        return page

    def _predict(self, model: Model) -> Predictions:
        key = cache_key(model.file, self.dataset, self.split, self.protocol)
        if model.network is None:
            return read_predictions(model.name, model.file, key)
        dataset = self._dataset(model.network)

        def on_batch(done: int) -> None:
            self.on_progress(f"predictions of {model.name}", done, 2 * len(dataset))

        cache = self.out / "predictions" / f"{_file_name(model.name)}.parquet"
        return predict_split(model.name, model.network, dataset, cache, key, on_batch)

    def _dataset(self, network: Network) -> FaceDataset:
        return self.data[network.described().channels]

    def _data(self) -> dict[str, Any]:
        return {
            "folder": self.folder.name,
            "title": self.about.get("title") or self.folder.name,
            "split": self.split,
            "protocol": self.protocol if self.dataset.votes is not None else "labels",
            "images": len(self.dataset),
            "left_out": self.dataset.excluded,
            "in_manifest": len(self.dataset) + self.dataset.excluded,
            "classes": list(self.classes),
            "per_class": np.bincount(self.labels, minlength=len(self.classes)).tolist(),
        }

    def _measure(self, answers: Predictions) -> dict[str, Any]:
        measured: dict[str, Any] = {
            **answers.about,
            "temperature": answers.temperature,
            "classes_left_out": [name for name in answers.labels if name not in self.classes],
            "classes_missing": [name for name in self.classes if name not in answers.labels],
            "answers": {},
        }
        for answer in answers.logits:
            rows = {}
            for protocol, labels in self.dataset.protocols().items():
                kept = labels >= 0
                rows[protocol] = self._figures(answers.probabilities(self.classes, answer)[kept], labels[kept])
                if answer not in (FUSED, FLIPPED):
                    rows[protocol]["calibration_error"] = None  # the temperature is that of the sum
            measured["answers"][answer] = rows
        if self.dataset.votes is not None:
            votes = self.dataset.votes[:, : len(self.classes)]
            probabilities = answers.probabilities(self.classes)
            measured["agreement"] = metrics.agreement_curve(
                self.dataset.votes, self.labels, probabilities.argmax(axis=1), AGREEMENT
            )
            measured["divergence"] = metrics.mean_divergence(self.dataset.targets.double().numpy(), probabilities)
            measured["raters"] = float(np.median(votes.sum(axis=1)))
        return measured

    def _figures(self, probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> dict[str, Any]:
        counts = metrics.confusion_counts(labels, probabilities.argmax(axis=1), len(self.classes))
        right = int(np.trace(counts))
        seed = self.options.seed
        return {
            "images": len(labels),
            "accuracy": metrics.accuracy(counts),
            "wilson": metrics.wilson_interval(right, len(labels)),
            "bootstrap": metrics.bootstrap_interval(counts, metrics.accuracy, seed=seed),
            "macro_recall": metrics.macro_recall(counts),
            "macro_recall_interval": metrics.bootstrap_interval(counts, metrics.macro_recall, seed=seed),
            "macro_f1": metrics.macro_f1(counts),
            "kappa": metrics.cohen_kappa(counts),
            "top2": metrics.top_k_accuracy(probabilities, labels, 2),
            "calibration_error": metrics.expected_calibration_error(probabilities, labels),
            "precision": metrics.precision_per_class(counts),
            "recall": metrics.recall_per_class(counts),
            "f1": metrics.f1_per_class(counts),
            "confusion": counts,
        }

    def _right(self, answers: Predictions) -> NDArray[np.bool_]:
        right: NDArray[np.bool_] = answers.scores(self.classes).argmax(axis=1) == self.labels
        return right

    def _compare(self, predictions: Sequence[Predictions]) -> None:
        """Every two models on the same pictures; differences are those of the later model over the earlier."""
        for place, first in enumerate(predictions):
            for second in predictions[place + 1 :]:
                pair = self._right(first), self._right(second)
                self.found["pairs"].append(
                    {"first": first.name, "second": second.name}
                    | metrics.paired_difference(*pair, seed=self.options.seed)
                    | metrics.mcnemar(*pair)
                )

    def _draw(self, predictions: Sequence[Predictions]) -> None:
        main = self._main_protocol()
        matrices = {n: np.asarray(m["answers"][FUSED][main]["confusion"]) for n, m in self.found["models"].items()}
        self._save("confusion", figures.confusion_panel(matrices, self.classes))
        curves = {p.name: metrics.reliability(p.probabilities(self.classes), self.labels) for p in predictions}
        self._save("reliability", figures.reliability_diagram(curves))
        if self.dataset.votes is not None:
            agreement = {name: model["agreement"] for name, model in self.found["models"].items()}
            self._save("agreement", figures.agreement_plot(agreement))

    def _main_protocol(self) -> str:
        return self.protocol if self.dataset.votes is not None else "label"

    def _sample(self, count: int) -> list[int]:
        """Pictures drawn with the seed, in order."""
        rng = np.random.default_rng(self.options.seed)
        chosen = rng.choice(len(self.dataset), min(count, len(self.dataset)), replace=False)
        return [int(index) for index in np.sort(chosen)]

    def _robustness(self) -> None:
        indices = self._sample(self.options.robustness_images)
        labels = self.labels[indices]
        results: dict[str, dict[str, list[tuple[float, float]]]] = {}
        for model, network in self.networks.items():

            def on_step(model: str = model) -> None:
                self.on_progress(f"robustness of {model}", 1, robustness.steps())

            curves: dict[str, list[tuple[float, float]]] = {}
            for name, strength, logits in robustness.measure(
                network, self._dataset(network), indices, self.options.seed, on_step
            ):
                answers = Predictions(model, network.described().labels, 1.0, {}, {FUSED: logits})
                right = float((answers.scores(self.classes).argmax(axis=1) == labels).mean())
                curves.setdefault(name, []).append((strength, right))
            undamaged = curves.pop(robustness.UNDAMAGED.name)
            results[model] = {name: undamaged + points for name, points in curves.items()}
            damaged = [right for points in curves.values() for _, right in points]
            self.found["models"][model]["robustness"] = {
                "images": len(indices),
                "undamaged": undamaged[0][1],
                "mean": float(np.mean(damaged)),
                "by_corruption": {name: float(np.mean([r for _, r in points])) for name, points in curves.items()},
                "curves": curves,
            }
        units = {corruption.name: corruption.unit for corruption in robustness.CORRUPTIONS}
        self._save("robustness", figures.robustness_curves(results, units))

    def _explanations(self, predictions: Sequence[Predictions]) -> None:
        indices = self._sample(self.options.deletion_images)
        curves = {}
        for model, network in self.networks.items():
            parts = []
            for start in range(0, len(indices), 50):
                x = self._input(network, indices[start : start + 50])
                found = explain.explain(network, x)
                parts.append(explain.deletion_curves(network, x, found, FRACTIONS, network.described().temperature))
                self.on_progress(f"deletion curves of {model}", len(x), len(indices))
            curves[model] = {order: np.concatenate([part[order] for part in parts]).mean(0) for order in parts[0]}
            self.found["models"][model]["deletion"] = {
                "images": len(indices),
                "fractions": FRACTIONS,
                "curves": curves[model],
                "area": {order: float(np.trapezoid(values, FRACTIONS)) for order, values in curves[model].items()},
            }
        self._save("deletion", figures.deletion_plot(FRACTIONS, curves))
        self._grid(predictions)

    def _grid(self, predictions: Sequence[Predictions]) -> None:
        """One picture a class: of those that all models get right, the one of median confidence of the first model."""
        confidence = predictions[0].probabilities(self.classes).max(axis=1)
        right = np.all([self._right(answers) for answers in predictions], axis=0)
        chosen, columns = [], []
        for name in figures.PUBLISHED_ORDER:
            if name not in self.classes:
                continue
            candidates = np.flatnonzero(right & (self.labels == self.classes.index(name)))
            if len(candidates):
                ordered = candidates[np.argsort(confidence[candidates], kind="stable")]
                chosen.append(int(ordered[len(ordered) // 2]))
                columns.append(name)
        if not chosen:
            return
        rows: dict[str, Sequence[NDArray[Any]]] = {}
        for model, network in self.networks.items():
            found = explain.explain(network, self._input(network, chosen))
            before = f"{model}, " if len(self.networks) > 1 else ""
            for kind, maps in (("", found.maps), (" attention", found.attention)):
                for name, values in maps.items():
                    if name == "fused" and len(maps) == 2:
                        continue  # a baseline's one head again
                    rows[f"{before}{name}{kind}"] = list(values.numpy())
        self.found["explained"] = [self.dataset.paths[index] for index in chosen]
        self._save("explanations", figures.explanation_grid(self._faces(chosen), columns, rows))

    def _faces(self, indices: list[int]) -> list[NDArray[np.uint8]]:
        """What the first network sees of the crops."""
        view = preprocess_for(next(iter(self.networks.values())).described(), self.dataset).view
        crops = self.dataset.read(indices)
        side = crops.shape[-1]
        margin = max(round((1 - view) / 2 * side), 0)
        inner = crops[..., margin : side - margin, margin : side - margin]
        return [face.permute(1, 2, 0).squeeze(2).numpy() for face in inner]

    def _input(self, network: Network, indices: list[int]) -> torch.Tensor:
        dataset = self._dataset(network)
        x: torch.Tensor = preprocess_for(network.described(), dataset)(dataset.read(indices))
        return x

    def _embeddings(self) -> None:
        from sklearn.decomposition import PCA
        from sklearn.manifold import TSNE

        indices = self._sample(self.options.embedding_images)
        if len(indices) < 10:
            return
        for model, network in self.networks.items():
            parts = []
            for start in range(0, len(indices), 100):
                x = self._input(network, indices[start : start + 100])
                with torch.no_grad():
                    parts.append(network.embeddings(x))
                self.on_progress(f"embeddings of {model}", len(x), len(indices))
            features = {name: torch.cat([part[name] for part in parts]).numpy() for name in parts[0]}
            near = min(30.0, (len(indices) - 1) / 3)
            methods = {
                "PCA": PCA(2, random_state=self.options.seed),
                "t-SNE": TSNE(2, perplexity=near, init="pca", random_state=self.options.seed),
            }
            points = {
                method: {name: maker.fit_transform(values) for name, values in features.items()}
                for method, maker in methods.items()
            }
            plot = figures.embedding_plot(points, self.labels[indices], self.classes)
            self._save(f"embeddings_{_file_name(model)}", plot)

    def _published(self) -> None:
        known = json.loads((files("mftn.evaluate") / "published.json").read_text(encoding="utf-8"))
        name = str(self.about.get("name", ""))
        key = f"{name}-{len(self.classes)}" if name == "affectnet" else name
        if key in known["accuracy"]:
            diagonals = {
                row: [values[known["diagonal_order"].index(label)] for label in self.classes]
                for row, values in known["diagonal"].get(key, {}).items()
            }
            self.found["published"] = {"source": known["source"], **known["accuracy"][key], "recall": diagonals}

    def _save(self, name: str, figure: Figure) -> None:
        paths = [self.out / "figures" / f"{name}.{kind}" for kind in ("png", "pdf")]
        paths[0].parent.mkdir(exist_ok=True)
        figures.save_figure(figure, *paths)
        self.pictures[name] = "data:image/png;base64," + base64.b64encode(paths[0].read_bytes()).decode()

    def _write_tables(self) -> None:
        summary, per_class, damaged = [], [], []
        for name, model in self.found["models"].items():
            for answer, protocols in model["answers"].items():
                for protocol, row in protocols.items():
                    scalars = {k: v for k, v in row.items() if not isinstance(v, np.ndarray | tuple)}
                    low, high = row["wilson"]
                    bounds = {"wilson_low": low, "wilson_high": high}
                    summary.append({"model": name, "answer": answer, "protocol": protocol, **scalars, **bounds})
            row = model["answers"][FUSED][self._main_protocol()]
            for place, label in enumerate(self.classes):
                values = {key: float(row[key][place]) for key in ("precision", "recall", "f1")}
                images = self.found["data"]["per_class"][place]
                per_class.append({"model": name, "expression": label, "images": images, **values})
            for corruption, points in model.get("robustness", {}).get("curves", {}).items():
                damaged += [
                    {"model": name, "corruption": corruption, "strength": strength, "accuracy": accuracy}
                    for strength, accuracy in points
                ]
        for file, rows in (("summary", summary), ("per_class", per_class), ("robustness", damaged)):
            if rows:
                write_csv(self.out / f"{file}.csv", rows)

    def _page(self) -> str:
        from jinja2 import Environment

        environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
        environment.filters |= {"percent": _percent, "span": _span}
        template = environment.from_string((files("mftn.evaluate") / "report.html.j2").read_text(encoding="utf-8"))
        return template.render(
            found=self.found, pictures=self.pictures, main=self._main_protocol(), fused=FUSED, options=self.options
        )


def _percent(value: float | None, digits: int = 1) -> str:
    return "–" if value is None or math.isnan(value) else f"{100 * value:.{digits}f} %"


def _span(bounds: Sequence[float]) -> str:
    return f"{100 * bounds[0]:.1f}–{100 * bounds[1]:.1f}"


def _plain(value: Any) -> Any:
    """JSON's own types; a number that is none becomes null."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _file_name(name: str) -> str:
    return re.sub(r"[^\w.-]+", "_", name)
