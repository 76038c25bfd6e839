"""Writes the model card of a run: README.md with scores, settings and how to use the weights."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from huggingface_hub import EvalResult, ModelCardData

from mftn.data.manifest import read_description
from mftn.evaluate.figures import confusion_matrix
from mftn.figures import new_figure, save_figure
from mftn.files import write_text
from mftn.labels import LABEL_SETS
from mftn.train.calibrate import Validation
from mftn.train.config import TrainConfig
from mftn.train.run_folder import Row

_CARD = """---
{metadata}
---

# {architecture} on {data}

Recognises {classes} from an aligned face of {size}×{size} pixels, {channels}.

## Data

{data}: {licence}
Trained on its training split. Epoch {epoch} of {epochs} was chosen on its validation split, on which the figures below
were also measured: expect somewhat lower accuracy on independent data. {unreadable}

## Figures

{accuracies}

| expression | recall | validation images |
|---|---|---|
{recalls}

![confusion matrix](confusion.png)
![curves](curves.png)

Probabilities are calibrated by temperature scaling (T = {temperature:.3f}), fitted on the same split for the mean
over a face and its horizontal flip, as in `mftn predict`; the figures above are without the flip.

## Intended use and limits

Research on expressions, and counting visible expressions with people's consent. An expression is not a feeling; the
labels record what raters saw. Data sets of this kind show some ages, skin tones and cultures far more than others, and
rare classes are recognised least well: see the table. Not for judging people.

## Use

```python
from mftn.models import load_model

network = load_model("best.safetensors")
print(network.spec)  # labels, size, mean, std, template, temperature
```

`mftn export best.safetensors --out model.onnx` writes a file for `mftn predict --model`. `config.json` contains every
setting, `environment.json` the versions, the machine and the data's fingerprint.
"""


def write_card(out: Path, config: TrainConfig, validation: Validation, rows: list[Row]) -> None:
    """Write README.md and confusion.png into the run folder, from the validation scores of the best checkpoint."""
    labels = LABEL_SETS[config.model.num_classes]
    about = read_description(config.data.folder)
    scores = validation.scores.get(config.data.protocol) or validation.scores["label"]
    counts = np.array(scores.confusion)
    figure = new_figure(4.6, 4.4)
    confusion_matrix(figure.subplots(), counts, labels, f"{config.model.architecture}, validation")
    save_figure(figure, out / "confusion.png")
    recalls = zip(labels, scores.recall, counts.sum(axis=1), strict=True)
    sizes = [row for row in rows if row["size"] == config.model.size]
    skipped = len(validation.unreadable)
    write_text(
        out / "README.md",
        _CARD.format(
            metadata=_metadata(config, about, validation),
            architecture=config.model.architecture,
            data=about.get("title") or about.get("name") or config.data.folder.name,
            licence=about.get("licence") or "ask its owners for the terms.",
            classes=", ".join(labels),
            size=config.model.size,
            channels="grey" if config.model.channels == 1 else "colour",
            epoch=int(max(sizes, key=lambda row: row["valid_accuracy"])["epoch"]),
            epochs=config.epochs,
            accuracies="\n".join(f"- {line}" for line in validation.lines()),
            recalls="\n".join(
                f"| {name} | {f'{recall:.1%}' if count else '–'} | {count:,} |" for name, recall, count in recalls
            ),
            temperature=validation.temperature,
            unreadable=f"{skipped} training images could not be read." if skipped else "",
        ),
    )


def _metadata(config: TrainConfig, about: Mapping[str, Any], validation: Validation) -> str:
    """The card's YAML for model hubs: the model, and its scores with their data set and protocol."""
    name = str(about.get("name") or config.data.folder.name)
    found = [
        EvalResult(
            task_type="image-classification",
            task_name="facial expression recognition",
            dataset_type=name,
            dataset_name=f"{about.get('title') or name}, {'labels' if protocol == 'label' else f'{protocol} protocol'}",
            dataset_split="validation",
            dataset_config=protocol,
            metric_type=kind,
            metric_config=average,
            metric_name=f"{average or ''} {kind}, {scores.images:,} images, the split that chose the epoch".lstrip(),
            metric_value=round(value, 4),
        )
        for protocol, scores in validation.scores.items()
        for kind, average, value in (("accuracy", None, scores.accuracy), ("recall", "macro", scores.macro_recall))
        if np.isfinite(value)
    ]
    data = ModelCardData(
        model_name=f"{config.model.architecture}-{name}",
        eval_results=found,
        library_name="mftn",
        pipeline_tag="image-classification",
        tags=["facial-expression-recognition", config.model.architecture],
    )
    return data.to_yaml()
