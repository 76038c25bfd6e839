"""Average the weights of successively fine-tuned networks, and calibrate the result.

    python tools/average_weights.py OUT DATA WEIGHTS... [--logit-adjustment 0.15]

Source: Wortsman et al., Model soups, 2022. DATA is the prepared data set they were trained on: the temperature is
fitted on its validation split, and the adjustment uses the class shares of its training split (see `mftn train
--help`).
"""

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from mftn.data.dataset import FaceDataset
from mftn.files import file_identity
from mftn.models import Network, load_model, save_model
from mftn.train.calibrate import calibrate

ALIKE = ("architecture", "labels", "size", "template", "channels", "mean", "std", "logit_adjustment")
"""Fields of the description that must be equal for an average of the weights to be meaningful."""


def differences(first: Network, other: Network) -> list[str]:
    """Which of `ALIKE` differ, and whether the weights have different shapes."""
    found = [name for name in ALIKE if getattr(first.described(), name) != getattr(other.described(), name)]
    return found if _shapes(first) == _shapes(other) else [*found, "shape of weights"]


def _shapes(network: Network) -> dict[str, torch.Size]:
    return {name: value.shape for name, value in network.state_dict().items()}


def main() -> None:
    """Write the averaged network and print its validation figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("data")
    parser.add_argument("weights", nargs="+", type=Path)
    parser.add_argument("--logit-adjustment", type=float, default=0.0)
    arguments = parser.parse_args()
    if arguments.out.exists() and file_identity(arguments.out) in map(file_identity, arguments.weights):
        parser.error(f"{arguments.out}: is one of the inputs; choose another name")
    networks = [load_model(path) for path in arguments.weights]
    if arguments.logit_adjustment and any(network.described().logit_adjustment for network in networks):
        parser.error("some of the weights are already adjusted: omit --logit-adjustment")
    for path, network in zip(arguments.weights, networks, strict=True):
        if others := differences(networks[0], network):
            differ = "differ from those" if len(others) > 1 else "differs from that"
            parser.error(f"{path}: its {' and '.join(others)} {differ} of {arguments.weights[0]}")
    states = [network.state_dict() for network in networks]
    model = networks[0]
    means = {name: torch.stack([state[name].double() for state in states]).mean(dim=0) for name in states[0]}
    model.load_state_dict(means)  # casts back to the original types
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    labels = FaceDataset(arguments.data, "train", in_memory=False).labels
    valid = FaceDataset(arguments.data, "valid", channels=model.described().channels)
    counts = labels.bincount(minlength=len(model.described().labels))
    with TemporaryDirectory(dir=arguments.out.parent) as folder:  # so that a run next to OUT keeps its metrics.json
        made = Path(folder) / arguments.out.name
        save_model(model, made, model.spec)
        validation = calibrate(made, valid, arguments.logit_adjustment, counts)
        made.replace(arguments.out)
    print("\n".join(validation.lines()))


if __name__ == "__main__":
    main()
