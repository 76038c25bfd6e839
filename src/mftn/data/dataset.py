"""What training and evaluation read: aligned crops of a prepared data set with their labels."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image as PillowImage
from torch import Tensor
from torch.utils.data import Dataset

from mftn.data.manifest import read_description, read_manifest
from mftn.data.records import Split
from mftn.data.votes import PROTOCOLS, Protocol, distributions, hard_labels
from mftn.errors import DataError
from mftn.labels import LABEL_SETS

IN_MEMORY = 2 * 1024**3
"""Splits whose crops take at most this many bytes are read once and kept; larger ones are read batch by batch."""


class FaceDataset(Dataset[tuple[Tensor, Tensor, int]]):
    """The crops of one split as bytes: in memory where they fit (28,558 grey crops of 96×96 take 263 MB).

    An item is the crop, uint8 (C, H, W), the distribution over classes (K,) and the class index.

    Args:
        folder: A prepared data set.
        split: Which split, as the manifest says.
        channels: 1 for grey, 3 for colour.
        protocol: Where raters voted: pictures that this protocol leaves out are left out here.
        unaligned: The same data set prepared without a detector, from which a random share of every batch comes.
        unaligned_share: That share, 0 to 1.

    Raises:
        DataError: The folder holds no manifest, or a crop is missing or unreadable.
    """

    def __init__(
        self,
        folder: str | Path,
        split: Split,
        channels: int = 1,
        protocol: Protocol = "argmax",
        unaligned: str | Path = "",
        unaligned_share: float = 0.0,
    ) -> None:
        self.folder, self.channels = Path(folder), channels
        self.unaligned, self.unaligned_share = Path(unaligned), unaligned_share
        if unaligned_share:
            read_manifest(unaligned, ["path"])  # says what to do where there is none
        rows = read_manifest(folder, ["path", "split", "label", "votes"]).to_pydict()
        chosen = [index for index, name in enumerate(rows["split"]) if name == split]
        if not chosen:
            raise DataError(f"{folder}: has no pictures in the split {split}")
        self.classes = LABEL_SETS[read_description(folder)["classes"]]
        self.votes: NDArray[np.int64] | None = None  # (n, columns)
        if rows["votes"][chosen[0]] is not None:
            votes = np.array([rows["votes"][index] for index in chosen], dtype=np.int64)
            labels = hard_labels(votes, protocol)
            targets = distributions(votes)
            self.votes = votes[labels >= 0]
        else:
            labels = np.array([self.classes.index(rows["label"][index]) for index in chosen])
            targets = np.eye(len(self.classes), dtype=np.float32)[labels]
        kept = labels >= 0
        self.paths = [rows["path"][index] for index, keep in zip(chosen, kept, strict=True) if keep]
        self.labels = torch.from_numpy(labels[kept])  # (n,)
        self.targets = torch.from_numpy(targets[kept])  # (n, K)
        first = self._read(0)
        fits = first.numel() * len(self.paths) <= IN_MEMORY
        self.crops = torch.stack([self._read(index) for index in range(len(self))]) if fits else None  # (n, C, H, W)
        self.others: Tensor | None = None  # (n, C, H, W)
        if unaligned_share and fits:
            self.others = torch.stack([self._read(index, self.unaligned) for index in range(len(self))])

    def protocols(self) -> dict[str, NDArray[np.int64]]:
        """The class of every picture by each protocol, -1 where it leaves one out; "label" where nobody voted."""
        if self.votes is None:
            return {"label": self.labels.numpy()}
        return {protocol: hard_labels(self.votes, protocol) for protocol in PROTOCOLS}

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, int]:
        return self.read([index])[0], self.targets[index], int(self.labels[index])

    def __getitems__(self, indices: list[int]) -> tuple[Tensor, Tensor, Tensor]:
        """A batch at once, which the data loader asks for where it is offered."""
        crops = self.read(indices)
        if self.unaligned_share:
            for place in (torch.rand(len(indices)) < self.unaligned_share).nonzero().ravel().tolist():
                index = indices[place]
                crops[place] = self.others[index] if self.others is not None else self._read(index, self.unaligned)
        return crops, self.targets[indices], self.labels[indices]

    def batches(self, size: int) -> Iterator[Tensor]:
        """All crops in order, (B, C, H, W) at a time."""
        for start in range(0, len(self), size):
            yield self.read(list(range(start, min(start + size, len(self)))))

    def read(self, indices: list[int]) -> Tensor:
        """Crops, uint8 (B, C, H, W)."""
        return self.crops[indices] if self.crops is not None else torch.stack([self._read(i) for i in indices])

    def _read(self, index: int, folder: Path | None = None) -> Tensor:
        path = (folder or self.folder) / self.paths[index]
        try:
            with PillowImage.open(path) as file:
                pixels = np.array(file.convert("L" if self.channels == 1 else "RGB"))
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error}); prepare the data set again") from error
        return torch.from_numpy(pixels.reshape(*pixels.shape[:2], self.channels)).permute(2, 0, 1)
