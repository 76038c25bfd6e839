"""Which images make up each training batch."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

from mftn.data.dataset import CropIndex


class BatchSampler(Sampler[list[CropIndex]]):
    """One process's share of the batches of an epoch.

    The order depends only on the seed and the epoch. Every process draws the same whole batches and takes its share of
    each, so the number of processes does not change the steps, and an epoch can be entered at any step.

    Args:
        labels: (n,) class indices.
        batch_size: Images per step, over all processes; a last incomplete batch is dropped.
        seed: Seed of the order.
        balance: 0 draws every image once per epoch; otherwise n are drawn with replacement, weighted by the
            count^(−balance) of their class: 1 draws every class equally often.
        unaligned_share: Share of images whose crop comes from the unaligned copy of the data set.
        rank: Index of this process.
        processes: Number of processes.
    """

    def __init__(
        self,
        labels: NDArray[np.int64],
        batch_size: int,
        seed: int,
        balance: float = 0.0,
        unaligned_share: float = 0.0,
        rank: int = 0,
        processes: int = 1,
    ) -> None:
        self.labels, self.batch_size, self.seed = labels, batch_size, seed
        self.balance, self.unaligned_share = balance, unaligned_share
        self.rank, self.processes = rank, processes
        self.epoch, self.first_step = 0, 0

    def enter(self, epoch: int, step: int = 0) -> None:
        """Start the next iteration at this step of this epoch; both count from 0."""
        self.epoch, self.first_step = epoch, step

    def __len__(self) -> int:
        """Steps of a whole epoch."""
        return len(self.labels) // self.batch_size

    def __iter__(self) -> Iterator[list[CropIndex]]:
        order = self._order()
        for step in range(self.first_step, len(self)):
            batch = order[step * self.batch_size : (step + 1) * self.batch_size]
            yield batch[self.rank :: self.processes]

    def _order(self) -> list[CropIndex]:
        """The epoch's crops; a run can be resumed only while these draws stay as they are."""
        n, rng = len(self.labels), np.random.default_rng((self.seed, self.epoch))
        if self.balance:
            weights = np.bincount(self.labels)[self.labels] ** -float(self.balance)  # (n,)
            order = rng.choice(n, n, p=weights / weights.sum())
        else:
            order = rng.permutation(n)
        aligned = rng.random(n) >= self.unaligned_share
        return list(map(CropIndex, order.tolist(), aligned.tolist()))
