"""Average the weights of networks trained one from another, and calibrate the result.

    python tools/average_weights.py OUT DATA WEIGHTS... [--logit-adjustment 0.15]

Source: Wortsman et al., Model soups, 2022. DATA is the prepared data set they were trained on: its validation split
gives the temperature, its training split the shares of the classes for the adjustment (see `mftn train --help`).
"""

import argparse
from pathlib import Path

import torch

from mftn.data.dataset import FaceDataset
from mftn.models import load_model, save_model
from mftn.train.calibrate import calibrate


def main() -> None:
    """Write the averaged network and print its validation figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("data")
    parser.add_argument("weights", nargs="+", type=Path)
    parser.add_argument("--logit-adjustment", type=float, default=0.0)
    arguments = parser.parse_args()
    networks = [load_model(path) for path in arguments.weights]
    if arguments.logit_adjustment and any(network.described().logit_adjustment for network in networks):
        parser.error("some of the weights are adjusted already: omit --logit-adjustment")
    states = [network.state_dict() for network in networks]
    model = networks[0]
    means = {name: torch.stack([state[name].double() for state in states]).mean(dim=0) for name in states[0]}
    model.load_state_dict(means)  # which casts
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    save_model(model, arguments.out, model.spec)
    labels = FaceDataset(arguments.data, "train", in_memory=False).labels
    valid = FaceDataset(arguments.data, "valid", channels=model.described().channels)
    counts = labels.bincount(minlength=len(model.described().labels))
    validation = calibrate(arguments.out, valid, arguments.logit_adjustment, counts)
    print("\n".join(validation.lines()))


if __name__ == "__main__":
    main()
