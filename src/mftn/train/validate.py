"""Validation, shared by all processes."""

import numpy as np
import torch
from lightning_fabric import Fabric

from mftn.data.dataset import FaceDataset
from mftn.data.transforms import Preprocess
from mftn.errors import MFTNError
from mftn.evaluate import metrics
from mftn.evaluate.predict import predict_logits
from mftn.models import Network
from mftn.train.run_folder import Row


def validate(fabric: Fabric, model: Network, valid_set: FaceDataset, preprocess: Preprocess, epoch: int) -> Row:
    """Accuracy and macro recall; each process has its share of the images, each image once, and may have none.

    Args:
        fabric: Where it runs.
        model: What is evaluated.
        valid_set: The validation split.
        preprocess: From crops to the network's input.
        epoch: The epoch at hand, counted from 1.

    Raises:
        MFTNError: Logits are no numbers.
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
    if lost:  # known to every process at once, so that none waits for another
        raise MFTNError(
            f"the network gives no finite logits for {lost:,} validation images after epoch {epoch}; "
            "lower --optimizer.lr and start anew"
        )
    return {
        "valid_images": int(counts.sum()),
        "valid_accuracy": metrics.accuracy(counts),
        "valid_macro_recall": metrics.macro_recall(counts),
    }
