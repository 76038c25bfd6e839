"""Is MFTN better than its baseline? Compares the runs of tools/compare_baseline.sh image by image.

    python benchmarks/baseline.py DATA RUNS [--against baseline]

DATA is the prepared FERPlus, RUNS a folder with runs named VARIANT-SEED. Each run's last weights (no epoch is selected)
are evaluated, without flips, on the validation images without a copy in the training split. Prints, for both protocols
and every variant, the accuracy of each seed and their mean, and the difference from the reference over the seeds that
both have: for each seed with the p-value of McNemar's exact test, and their mean with a 95 % interval from a bootstrap
over both seeds and images.
"""

import argparse
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mftn.data.dataset import FaceDataset
from mftn.evaluate.inference import predict_logits, preprocess_for
from mftn.evaluate.metrics import mcnemar
from mftn.models import load_model

Right = NDArray[np.bool_]
SAMPLES = 10_000


def paired_interval(first: NDArray[Any], second: NDArray[Any]) -> tuple[float, float]:
    """95 % bootstrap interval of the mean of second − first, (seeds, n) each, resampling both seeds and images."""
    rng = np.random.default_rng(0)
    differences = second.astype(float) - first.astype(float)
    seeds, images = differences.shape
    means = []
    for _ in range(SAMPLES):
        by_image = differences[rng.integers(0, seeds, seeds)].mean(axis=0)  # (n,)
        means.append(by_image[rng.integers(0, images, images)].mean())
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--against", default="baseline")
    options = parser.parse_args()
    faces = FaceDataset(options.data, "valid", without_copies_of="train")
    protocols = faces.protocols()
    right: dict[str, dict[str, dict[str, Right]]] = {name: defaultdict(dict) for name in protocols}
    for metrics in sorted(options.runs.glob("*/metrics.json")):  # written when a run is finished
        variant, seed = metrics.parent.name.rsplit("-", 1)
        network = load_model(metrics.with_name("last.safetensors"))
        logits = predict_logits(network, faces, preprocess_for(network.described(), faces)).fused.numpy()
        for protocol, labels in protocols.items():
            kept = labels >= 0
            right[protocol][variant][seed] = logits[kept].argmax(axis=1) == labels[kept]
    for protocol, variants in right.items():
        reference = variants.get(options.against, {})  # empty while its first run is unfinished
        print(f"\n{protocol} protocol, {(protocols[protocol] >= 0).sum():,} images")
        print(f"| variant | accuracy by seed | mean | minus {options.against}, by seed (p) | mean (95 % interval) |")
        print("|---|---|---|---|---|")
        for variant, runs in variants.items():
            by_seed = ", ".join(f"{found.mean():.2%}" for found in runs.values())
            mean = np.mean([found.mean() for found in runs.values()])
            both = sorted(runs.keys() & reference.keys())
            first, second = (np.array([each[seed] for seed in both]) for each in (reference, runs))  # (seeds, n)
            cells = ["", ""]
            if variant != options.against and both:
                tests = [mcnemar(*pair)["p"] for pair in zip(first, second, strict=True)]
                gains = 100 * (second.mean(axis=1) - first.mean(axis=1))
                low, high = paired_interval(first, second)
                cells = [
                    ", ".join(f"{gain:+.2f} ({p:.2g})" for gain, p in zip(gains, tests, strict=True)),
                    f"{gains.mean():+.2f} ({100 * low:+.2f} to {100 * high:+.2f})",
                ]
            print(f"| {variant} | {by_seed} | {mean:.2%} | {cells[0]} | {cells[1]} |", flush=True)


if __name__ == "__main__":
    main()
