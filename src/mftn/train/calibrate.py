"""The temperature of a network, and its figures on the validation split."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mftn.data.dataset import FaceDataset
from mftn.evaluate.calibration import fit_temperature
from mftn.evaluate.predict import predict_logits, preprocess_for
from mftn.evaluate.scores import Scores
from mftn.files import write_text
from mftn.models import Network, load_model, save_model


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
    model = load_model(path)
    spec = model.described()
    preprocess = preprocess_for(spec, valid_set)
    seen, mirrored = (predict_logits(model, valid_set, preprocess, mirrored=mirror).fused for mirror in (False, True))
    logits = torch.stack([seen, mirrored])  # (2, n, K), averaged as `mftn predict` does
    temperature = fit_temperature(logits, valid_set.labels)
    if adjustment and counts is not None and not spec.logit_adjustment:
        shift = temperature * adjustment * (counts.clamp(min=1) / counts.sum()).log()  # (K,)
        shift_logits(model, shift)
        logits = logits + shift
        spec = replace(spec, logit_adjustment=adjustment)
        temperature = fit_temperature(logits, valid_set.labels)
    probabilities = (logits[0] / temperature).softmax(dim=1).numpy()
    figures: dict[str, Any] = {"images": len(valid_set), "temperature": temperature}
    for protocol, labels in valid_set.protocols().items():
        figures[protocol] = asdict(Scores.of(probabilities[labels >= 0], labels[labels >= 0]))
    provenance = {**spec.provenance, "validation": figures}
    save_model(model, path, replace(spec, temperature=temperature, provenance=provenance))
    write_text(path.with_name("metrics.json"), json.dumps(figures, indent=1))
    return figures


@torch.no_grad()
def shift_logits(model: Network, shift: Tensor) -> None:
    """Add `shift` (K,) to the fused logits, by equal parts in the biases of the heads."""
    heads = model.heads()
    for head in heads:
        head.bias += shift / len(heads)  # type: ignore[operator]
