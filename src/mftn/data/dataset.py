"""What training reads: aligned crops of a prepared data set with their labels."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image as PillowImage
from torch import Tensor
from torch.utils.data import Dataset

from mftn.data import ferplus
from mftn.data.records import Split
from mftn.errors import DataError


class FaceDataset(Dataset[tuple[Tensor, Tensor, int]]):
    """The crops of one split, in memory as bytes (28,558 grey crops of 96×96 take 263 MB).

    An item is the crop, uint8 (C, H, W), the distribution over classes (K,) and the class index.

    Args:
        folder: A prepared data set.
        split: Which split.
        channels: 1 for grey, 3 for colour.
        protocol: Pictures that this protocol leaves out are left out here.

    Raises:
        DataError: The folder holds no manifest, or a crop is missing or unreadable.
    """

    def __init__(
        self, folder: str | Path, split: Split, channels: int = 1, protocol: ferplus.Protocol = "argmax"
    ) -> None:
        import pyarrow.parquet as pq

        manifest = Path(folder) / "manifest.parquet"
        if not manifest.is_file():
            raise DataError(f"{manifest}: missing; make it with `mftn prepare`")
        rows = pq.read_table(manifest, columns=["path", "votes"], filters=[("split", "=", split)])
        if not rows.num_rows:
            raise DataError(f"{manifest}: has no pictures in the split {split}")
        votes: NDArray[np.int64] = np.array(rows["votes"].to_pylist(), dtype=np.int64)  # (n, columns)
        labels = ferplus.hard_labels(votes, protocol)
        targets = ferplus.distributions(votes)
        kept = labels >= 0
        self.paths = [path for path, keep in zip(rows["path"].to_pylist(), kept, strict=True) if keep]
        self.votes = votes[kept]
        self.labels = torch.from_numpy(labels[kept])  # (n,)
        self.targets = torch.from_numpy(targets[kept])  # (n, K)
        self.crops = torch.stack([_read_crop(Path(folder) / path, channels) for path in self.paths])  # (n, C, H, W)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, int]:
        return self.crops[index], self.targets[index], int(self.labels[index])

    def __getitems__(self, indices: list[int]) -> tuple[Tensor, Tensor, Tensor]:
        """A batch at once, which the data loader asks for where it is offered."""
        chosen = torch.as_tensor(indices)
        return self.crops[chosen], self.targets[chosen], self.labels[chosen]


def _read_crop(path: Path, channels: int) -> Tensor:
    try:
        with PillowImage.open(path) as file:
            pixels = np.array(file.convert("L" if channels == 1 else "RGB"))
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error}); prepare the data set again") from error
    return torch.from_numpy(pixels.reshape(*pixels.shape[:2], channels)).permute(2, 0, 1)
