"""Fits the temperatures of a network and computes its scores on the validation split."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from mftn.data.dataset import FaceDataset
from mftn.evaluate.calibration import fit_general_temperature, fit_temperature
from mftn.evaluate.inference import predict_logits, preprocess_for
from mftn.evaluate.results import to_json
from mftn.evaluate.scores import Scores
from mftn.files import write_text
from mftn.models import Network, load_model, save_model


@dataclass(frozen=True, slots=True)
class Validation:
    """A checkpoint's results on the validation split; the content of a run's metrics.json.

    Attributes:
        images: Number of images in the split.
        temperature: The temperature fitted on it.
        scores: Scores without the horizontal flip, by protocol, or by "label" if there are no votes.
        unreadable: Training images that were skipped because they could not be read.
    """

    images: int
    temperature: float
    scores: dict[str, Scores]
    unreadable: tuple[str, ...] = ()

    def to_json(self) -> dict[str, object]:
        """The content of metrics.json."""
        scores: dict[str, object] = to_json(self.scores)
        return {"images": self.images, "temperature": self.temperature, **scores, "unreadable": list(self.unreadable)}

    @classmethod
    def read(cls, path: Path) -> "Validation":
        """Read the metrics.json of a run."""
        values = json.loads(path.read_text(encoding="utf-8"))
        images, temperature, unreadable = (values.pop(name) for name in ("images", "temperature", "unreadable"))
        scores = {protocol: Scores.from_json(row) for protocol, row in values.items()}
        return cls(images, temperature, scores, tuple(unreadable))

    def lines(self) -> list[str]:
        """One line per protocol."""
        return [
            f"{'labels' if protocol == 'label' else f'{protocol} protocol'}, {scores}"
            for protocol, scores in self.scores.items()
        ]


def calibrate(
    path: Path,
    valid_set: FaceDataset,
    adjustment: float = 0.0,
    counts: Tensor | None = None,
    unreadable: Sequence[str] = (),
    device: torch.device | str = "cpu",
) -> Validation:
    """Fit a checkpoint's temperatures on the validation split and store them with the scores in the checkpoint.

    They are fitted for the mean over the image and its horizontal flip, as in `mftn predict`.

    Args:
        path: The checkpoint; metrics.json is written next to it.
        valid_set: The validation split.
        adjustment: τ of post-hoc logit adjustment (Menon et al., Long-tail learning via logit adjustment, 2021), which
            adds τ·log(share) to every class's calibrated logit; a checkpoint that already has one keeps it.
        counts: Training images per class, (K,), for the shares.
        unreadable: Training images that were skipped.
        device: Device of the network.
    """
    model = load_model(path).to(device)
    spec = model.described()
    preprocess = preprocess_for(spec, valid_set).to(device)
    views = [predict_logits(model, valid_set, preprocess, flip=flip).fused for flip in (False, True)]
    model.cpu()
    logits = torch.stack(views)  # (2, n, K), averaged as `mftn predict` does
    temperature = fit_temperature(logits, valid_set.labels)
    if adjustment and counts is not None and not spec.logit_adjustment:
        shift = temperature * adjustment * (counts.clamp(min=1) / counts.sum()).log()  # (K,)
        shift_logits(model, shift)
        logits = logits + shift
        spec = replace(spec, logit_adjustment=adjustment)
        temperature = fit_temperature(logits, valid_set.labels)
    both = (logits / temperature).softmax(dim=2)  # (2, n, K)
    general = fit_general_temperature(both.mean(dim=0), valid_set.labels)
    probabilities = both[0].numpy()
    scores = {
        protocol: Scores.of(probabilities[labels >= 0], labels[labels >= 0])
        for protocol, labels in valid_set.protocols().items()
    }
    validation = Validation(len(valid_set), temperature, scores, tuple(unreadable))
    provenance = {**spec.provenance, "validation": validation.to_json()}
    spec = replace(spec, temperature=temperature, general_temperature=general, provenance=provenance)
    save_model(model, path, spec)
    write_text(path.with_name("metrics.json"), json.dumps(validation.to_json(), indent=1))
    return validation


@torch.no_grad()
def shift_logits(model: Network, shift: Tensor) -> None:
    """Add `shift` (K,) to the fused logits, split equally between the biases of the heads."""
    heads = model.heads()
    for head in heads:
        head.bias += shift / len(heads)  # type: ignore[operator]
