"""Run a network on a data set: from crops to its input and its logits."""

from collections.abc import Callable, Sequence

import numpy as np
import torch

from mftn.data.dataset import FaceDataset
from mftn.data.transforms import Preprocess
from mftn.errors import ConfigError
from mftn.models import Logits, Network
from mftn.spec import ModelSpec

TEMPLATE_TOLERANCE = 0.02
"""How far landmarks may be from where the network expects them, as a fraction of the input's side."""


def preprocess_for(spec: ModelSpec, dataset: FaceDataset) -> Preprocess:
    """Preprocessing from a data set's crops to a network's input, as its description says.

    The network's view of a crop follows from the landmarks of both.

    Raises:
        ConfigError: The crops are framed so that no central view suits the network, or its input is not square.
    """
    height, width = spec.size
    if height != width:
        raise ConfigError(f"{spec.name or spec.architecture}: its input is {height}×{width}; prepared crops are square")
    crop, wanted = dataset.template - 0.5, np.asarray(spec.template) - 0.5  # (5, 2), from the centre
    view = float((crop * wanted).sum() / (wanted * wanted).sum())
    if np.abs(crop / view - wanted).max() > TEMPLATE_TOLERANCE:
        raise ConfigError(
            f"{dataset.folder}: its crops are framed differently from the network's input; prepare the data set again "
            "with the other --framing"
        )
    return Preprocess(height, view, spec.mean, spec.std).eval()


@torch.no_grad()
def predict_logits(
    model: Network,
    dataset: FaceDataset,
    preprocess: Preprocess,
    batch_size: int = 256,
    indices: Sequence[int] | None = None,
    flip: bool = False,
    aligned: bool = True,
    on_batch: Callable[[int], None] | None = None,
) -> Logits:
    """The logits (n, K) of the images, in order, in float32 on the CPU.

    Args:
        model: The network; it is left in evaluation mode.
        dataset: The images.
        preprocess: From crops to the network's input; it is left in evaluation mode.
        batch_size: Images at a time.
        indices: Which images; all by default, and there may be none.
        flip: Flip every image horizontally.
        aligned: If false, use the crops of the unaligned copy of the data set.
        on_batch: Called with the number of images done since its last call.

    Raises:
        DataError: A crop is missing or unreadable.
    """
    model.eval()
    preprocess.eval()
    device = next(model.parameters()).device
    none = torch.zeros(0, model.num_classes)
    batches = [Logits(none, none, none if len(model.heads()) > 1 else None)]
    for crops in dataset.batches(batch_size, indices, aligned):
        x = preprocess(crops.to(device)).contiguous(memory_format=torch.channels_last)  # (B, C, H, W)
        batches.append(_on_cpu(model(x.flip(3) if flip else x)))
        if on_batch:
            on_batch(len(crops))
    mstn = [logits.mstn for logits in batches if logits.mstn is not None]
    return Logits(
        torch.cat([logits.fused for logits in batches]),
        torch.cat([logits.backbone for logits in batches]),
        torch.cat(mstn) if mstn else None,
    )


def _on_cpu(logits: Logits) -> Logits:
    mstn = None if logits.mstn is None else logits.mstn.float().cpu()
    return Logits(logits.fused.float().cpu(), logits.backbone.float().cpu(), mstn)
