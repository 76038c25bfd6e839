"""The temperature of a network, and its figures on the validation split."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mftn.data.dataset import FaceDataset
from mftn.evaluate import metrics
from mftn.evaluate.calibration import fit_temperature
from mftn.evaluate.predict import predict_logits, preprocess_for
from mftn.files import write_text
from mftn.models import MFTN, Baseline, load_model, save_model


def calibrate(
    path: Path, valid_set: FaceDataset, adjustment: float = 0.0, counts: Tensor | None = None
) -> dict[str, Any]:
    """Fit the temperature of a weights file on the validation split and store it there with the figures.

    It is that of the mean with the mirror image, as `mftn predict` answers.

    Args:
        path: The weights file.
        valid_set: The validation split.
        adjustment: τ of post-hoc logit adjustment (Menon et al., Long-tail learning via logit adjustment, 2021): adds
            τ·log(share) to every class's calibrated logit; a file that has it already is left as it is.
        counts: (K,) pictures of every class in the training split, for the shares.

    Returns:
        The figures, of every picture shown once, also written to metrics.json beside the file.
    """
    model, config = load_model(path)
    preprocess = preprocess_for(config, valid_set)
    seen, mirrored = (predict_logits(model, valid_set, preprocess, mirrored=mirror).fused for mirror in (False, True))
    logits = torch.stack([seen, mirrored])  # (2, n, K), averaged as `mftn predict` does
    temperature = fit_temperature(logits, valid_set.labels)
    if adjustment and counts is not None and "logit_adjustment" not in config:
        shift = temperature * adjustment * (counts.clamp(min=1) / counts.sum()).log()  # (K,)
        shift_logits(model, shift)
        logits = logits + shift
        config["logit_adjustment"] = adjustment
        temperature = fit_temperature(logits, valid_set.labels)
    config["temperature"] = temperature
    probabilities = (logits[0] / temperature).softmax(dim=1).numpy()
    figures: dict[str, Any] = {"images": len(valid_set), "temperature": temperature}
    for protocol, labels in valid_set.protocols().items():
        kept = labels >= 0
        confusion = metrics.confusion_counts(labels[kept], probabilities[kept].argmax(axis=1), logits.shape[2])
        figures[protocol] = {
            "images": int(kept.sum()),
            "accuracy": metrics.accuracy(confusion),
            "interval": metrics.wilson_interval(int(np.trace(confusion)), int(kept.sum())),
            "macro_recall": metrics.macro_recall(confusion),
            "recall": metrics.recall_per_class(confusion).tolist(),
            "calibration_error": metrics.expected_calibration_error(probabilities[kept], labels[kept]),
            "confusion": confusion.tolist(),
        }
    config["validation"] = figures
    save_model(model, path, config)
    write_text(path.with_name("metrics.json"), json.dumps(figures, indent=1))
    return figures


@torch.no_grad()
def shift_logits(model: Baseline, shift: Tensor) -> None:
    """Add `shift` (K,) to the fused logits, by equal parts in the biases of the heads."""
    heads: list[Any] = [model.get_classifier(), *([model.mstn.head] if isinstance(model, MFTN) else [])]
    for head in heads:
        head.bias += shift / len(heads)
