"""Validation, split over all processes."""

import numpy as np
import torch
from lightning_fabric import Fabric

from mftn.data.dataset import FaceDataset
from mftn.data.transforms import Preprocess
from mftn.errors import MFTNError
from mftn.evaluate import metrics
from mftn.evaluate.inference import predict_logits
from mftn.models import Network
from mftn.train.run_folder import Row


def validate(fabric: Fabric, model: Network, valid_set: FaceDataset, preprocess: Preprocess, epoch: int) -> Row:
    """Accuracy and macro recall; each image is evaluated by one process, and a process may have none.

    Args:
        fabric: The processes and device.
        model: The network to evaluate.
        valid_set: The validation split.
        preprocess: Converts crops to the network's input.
        epoch: The current epoch, counted from 1.

    Raises:
        MFTNError: Logits are not finite.
    """
    rank, processes = fabric.global_rank, fabric.world_size
    if processes > 1:
        for buffer in model.buffers():
            buffer.copy_(fabric.broadcast(buffer))
    mine = range(rank, len(valid_set), processes)
    logits = predict_logits(model, valid_set, preprocess, indices=mine).fused
    labels = valid_set.labels[list(mine)]
    counts = metrics.confusion_counts(labels.numpy(), logits.argmax(dim=1).numpy(), logits.shape[1])
    lost = int((~logits.isfinite()).any(dim=1).sum())
    if processes > 1:
        own = torch.tensor([*counts.ravel(), lost], device=fabric.device)
        *cells, lost = fabric.all_reduce(own, reduce_op="sum").tolist()  # type: ignore[union-attr]
        counts = np.array(cells).reshape(counts.shape)
    if lost:  # known to every process at the same time, so that none waits for another
        raise MFTNError(
            f"the network gives non-finite logits for {lost:,} validation images after epoch {epoch}; "
            "lower --optimizer.lr and start again"
        )
    return {
        "valid_images": int(counts.sum()),
        "valid_accuracy": metrics.accuracy(counts),
        "valid_macro_recall": metrics.macro_recall(counts),
    }
