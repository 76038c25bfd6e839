"""A split of a prepared data set on which networks are measured."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch

from mftn.data.dataset import FaceDataset
from mftn.data.manifest import read_description, read_manifest
from mftn.data.records import Split
from mftn.data.votes import Protocol
from mftn.errors import DataError
from mftn.evaluate.inference import preprocess_for
from mftn.evaluate.results import DataSummary
from mftn.models import Network


class EvaluatedSplit:
    """The images of a split, in grey or colour as each network needs them.

    Args:
        folder: A prepared data set.
        split: The split.
        protocol: Where raters voted: which images count, and their class.
        channels: Numbers of channels that the networks need.

    Raises:
        DataError: The data set is missing, or the images do not add up to the manifest's.
    """

    def __init__(self, folder: Path, split: Split, protocol: Protocol, channels: Iterable[int]) -> None:
        self.folder, self.split, self.protocol = folder, split, protocol
        self.about = read_description(folder)
        self._data = {
            number: FaceDataset(folder, split, number, protocol, in_memory=False) for number in set(channels) or {1}
        }
        self.dataset = next(iter(self._data.values()))
        self.classes = tuple(self.dataset.classes)
        self.labels = self.dataset.labels.numpy()
        found, expected = len(self.dataset) + self.dataset.excluded, self.about["images"].get(split, 0)
        if found != expected:
            raise DataError(
                f"{folder}: the manifest has {found:,} images in {split}, but dataset.json says {expected:,}; "
                "prepare the data set again"
            )

    @property
    def main(self) -> str:
        """The protocol that the labels follow."""
        return self.protocol if self.dataset.votes is not None else "label"

    def dataset_of(self, network: Network) -> FaceDataset:
        """The images with the network's channels."""
        return self._data[network.described().channels]

    def input_of(self, network: Network, indices: list[int]) -> torch.Tensor:
        """Chosen images as the network sees them, (B, C, H, W)."""
        dataset = self.dataset_of(network)
        x: torch.Tensor = preprocess_for(network.described(), dataset)(dataset.read(indices))
        return x

    def sample(self, count: int, seed: int) -> list[int]:
        """Indices of images drawn with the seed, in ascending order."""
        rng = np.random.default_rng(seed)
        chosen = rng.choice(len(self.dataset), min(count, len(self.dataset)), replace=False)
        return [int(index) for index in np.sort(chosen)]

    def sources(self) -> list[str]:
        """The image that each crop was cut from, by its name in the manifest."""
        rows = read_manifest(self.folder, ["path", "source"]).to_pydict()
        source_of = dict(zip(rows["path"], rows["source"], strict=True))
        return [source_of[path] for path in self.dataset.paths]

    def summary(self) -> DataSummary:
        """The split's summary for the report."""
        return DataSummary(
            folder=self.folder.name,
            title=self.about.get("title") or self.folder.name,
            split=self.split,
            protocol=self.protocol if self.dataset.votes is not None else "labels",
            images=len(self.dataset),
            excluded=self.dataset.excluded,
            in_manifest=len(self.dataset) + self.dataset.excluded,
            classes=self.classes,
            per_class=np.bincount(self.labels, minlength=len(self.classes)).tolist(),
        )
