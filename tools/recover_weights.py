"""Turn an exported model back into a checkpoint for further training.

    python tools/recover_weights.py MODEL DATA OUT.safetensors

MODEL is an installed model or an exported file, DATA a prepared data set. Every eighth of its training images (at most
4,096) is used to recompute the statistics of the batch norms that the export folded away.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from mftn.data.dataset import FaceDataset
from mftn.engines.installed import find_model
from mftn.export.deployed import Normalise
from mftn.export.onnx import crop_batches
from mftn.export.recover import load_network, unfold
from mftn.models import save_model

MOST, STEP = 4096, 8


def main() -> None:
    """Recover, unfold, save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    network = load_network(find_model(options.model))
    spec = network.described()
    faces, normalise = FaceDataset(options.data, "train", channels=spec.channels), Normalise(spec)

    def images() -> Iterator[Tensor]:
        for crops in crop_batches(spec, faces, range(0, len(faces), STEP)[:MOST]):
            yield normalise(torch.from_numpy(crops))  # (B, C, H, W)

    unfold(network, images())
    save_model(network, options.out, spec)
    print(options.out)


if __name__ == "__main__":
    main()
