"""A network's answers on a data set."""

from collections.abc import Callable, Sequence

import numpy as np
import torch

from mftn.data.dataset import FaceDataset
from mftn.data.transforms import Preprocess
from mftn.errors import ConfigError
from mftn.models import Logits, Network
from mftn.spec import ModelSpec

TOLERANCE = 0.02
"""How far, in sides of the input, landmarks may lie from where the network expects them."""


def preprocess_for(spec: ModelSpec, dataset: FaceDataset) -> Preprocess:
    """From a data set's crops to the input of a network, as its description says.

    The network's view of a crop follows from where both have the landmarks.

    Raises:
        ConfigError: The crops are framed so that no central view of them suits the network.
    """
    crop, wanted = dataset.template - 0.5, np.asarray(spec.template) - 0.5  # (5, 2), from the centre
    view = float((crop * wanted).sum() / (wanted * wanted).sum())
    if np.abs(crop / view - wanted).max() > TOLERANCE:
        raise ConfigError(
            f"{dataset.folder}: its crops are framed otherwise than the network's input; prepare the data set again "
            "with the other --framing"
        )
    return Preprocess(spec.size[0], view, spec.mean, spec.std).eval()


@torch.no_grad()
def predict_logits(
    model: Network,
    dataset: FaceDataset,
    preprocess: Preprocess,
    batch_size: int = 256,
    indices: Sequence[int] | None = None,
    mirrored: bool = False,
    on_batch: Callable[[int], None] | None = None,
) -> Logits:
    """The logits (n, K) of every picture once, in order, in float32 on the CPU.

    Args:
        model: It is left in evaluation mode.
        dataset: The images.
        preprocess: From crops to the network's input; it is left in evaluation mode.
        batch_size: Pictures at a time.
        indices: Which images; all by default, and there may be none.
        mirrored: Show mirror images.
        on_batch: Called with the number of pictures done since its last call.

    Raises:
        DataError: A crop is missing or unreadable.
    """
    model.eval()
    preprocess.eval()
    device = next(model.parameters()).device
    none = torch.zeros(0, model.num_classes)
    batches = [Logits(none, none, none if len(model.heads()) > 1 else None)]
    for crops in dataset.batches(batch_size, indices):
        x = preprocess(crops.to(device)).contiguous(memory_format=torch.channels_last)  # (B, C, H, W)
        answer: Logits = model(x.flip(3) if mirrored else x)
        mstn = None if answer.mstn is None else answer.mstn.float().cpu()
        batches.append(Logits(answer.fused.float().cpu(), answer.backbone.float().cpu(), mstn))
        if on_batch:
            on_batch(len(crops))
    mstns = [logits.mstn for logits in batches if logits.mstn is not None]
    return Logits(
        torch.cat([logits.fused for logits in batches]),
        torch.cat([logits.backbone for logits in batches]),
        torch.cat(mstns) if mstns else None,
    )
