"""The model card of a run: README.md with figures, settings and how to use the weights."""

from pathlib import Path
from typing import Any

import numpy as np

from mftn.data.manifest import read_description
from mftn.evaluate.figures import confusion_matrix, new_figure, save_figure
from mftn.files import write_text
from mftn.labels import LABEL_SETS
from mftn.train.config import TrainConfig
from mftn.train.run_folder import Row

_CARD = """---
library_name: mftn
pipeline_tag: image-classification
tags: [facial-expression-recognition, {architecture}]
---

# {architecture} on {data}

Recognises {classes} from an aligned face of {size}×{size} pixels, {channels}.

## Data

{data}: {licence}
Trained on its training split; epoch {epoch} of {epochs} was chosen on its validation split, on which the figures below
are measured too: expect somewhat less on data that chose nothing. {unreadable}

## Figures

{accuracies}

| expression | recall | validation pictures |
|---|---|---|
{recalls}

![confusion matrix](confusion.png)
![curves](curves.png)

Probabilities are calibrated by temperature scaling (T = {temperature:.3f}), fitted on the same split for the mean
of a face and its mirror image, as `mftn predict` answers; the figures above are of every face shown once.

## Intended use and limits

Research on expressions, and counting shown expressions where people have agreed to it. An expression is not a feeling;
the labels are what raters saw. Data sets of this kind show some ages, skin tones and cultures far more than others, and
rare classes are recognised worst: see the table. Not for judging people.

## Use

```python
from mftn.models import load_model

network = load_model("best.safetensors")
print(network.spec)  # labels, size, mean, std, template, temperature
```

`mftn export best.safetensors --out model.onnx` makes the file that `mftn predict --model` takes.
`config.json` holds every setting, `environment.json` the versions, the machine and the data's fingerprint.
"""


def write_card(out: Path, config: TrainConfig, figures: dict[str, Any], rows: list[Row]) -> None:
    """Write README.md and confusion.png into the run folder, from the validation figures of the best weights."""
    labels = LABEL_SETS[config.model.num_classes]
    about = read_description(config.data.folder)
    protocols = {name: row for name, row in figures.items() if isinstance(row, dict)}
    chosen = protocols.get(config.data.protocol) or protocols["label"]
    counts = np.array(chosen["confusion"])
    figure = new_figure(4.6, 4.4)
    confusion_matrix(figure.subplots(), counts, labels, f"{config.model.architecture}, validation")
    save_figure(figure, out / "confusion.png")

    lines = []
    for name, row in protocols.items():
        low, high = row["interval"]
        lines.append(
            f"- {'labels' if name == 'label' else name + ' protocol'}, {row['images']:,} pictures: accuracy "
            f"{row['accuracy']:.2%} (95 % interval {low:.1%} to {high:.1%}), macro recall {row['macro_recall']:.1%}, "
            f"expected calibration error {row['calibration_error']:.3f}"
        )
    recalls = zip(labels, np.array(chosen["recall"], dtype=float), counts.sum(axis=1), strict=True)
    sizes = [row for row in rows if row["size"] == config.model.size]
    unreadable = figures.get("unreadable", [])
    write_text(
        out / "README.md",
        _CARD.format(
            architecture=config.model.architecture,
            data=about.get("title") or about.get("name") or config.data.folder.name,
            licence=about.get("licence") or "ask its owners for the terms.",
            classes=", ".join(labels),
            size=config.model.size,
            channels="grey" if config.model.channels == 1 else "colour",
            epoch=int(max(sizes, key=lambda row: row["valid_accuracy"])["epoch"]),
            epochs=config.epochs,
            accuracies="\n".join(lines),
            recalls="\n".join(
                f"| {name} | {f'{recall:.1%}' if count else '–'} | {count:,} |" for name, recall, count in recalls
            ),
            temperature=figures["temperature"],
            unreadable=f"{len(unreadable)} training pictures could not be read." if unreadable else "",
        ),
    )
