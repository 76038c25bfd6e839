"""Store a training run's moving average in half precision: half the size, and still usable as initial weights.

python tools/keep_checkpoint.py runs/accurate/ferplus_facenet/last.safetensors OUT.safetensors
"""

import sys

import torch

from mftn.models import load_model, save_model


def main(source: str, out: str) -> None:
    """Write the checkpoint with its description, and print its architecture and epoch."""
    network = load_model(source)
    save_model(network, out, network.spec, torch.float16)
    print(f"{out}: {network.described().architecture}, epoch {network.described().provenance['epoch']}")


if __name__ == "__main__":
    main(*sys.argv[1:])
