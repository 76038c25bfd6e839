"""Images per second, peak memory and waiting time for data: MFTN compared with the bare timm backbone in one run.

    python benchmarks/train_speed.py                     # atto and base at 224×224
    python benchmarks/train_speed.py --sam --data DATA   # both of SAM's passes; how long a run waits for its data
    python benchmarks/train_speed.py --profile mftn_atto

Networks alternate step by step, so that noise on the machine affects all equally; results are medians over steps. On a
GPU, several batch sizes are measured in bf16, with the share of the GPU's measured matrix peak.
"""

import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import timm
import torch
import tyro
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from mftn.models import JointLoss, Logits
from mftn.train.config import OptimizerConfig
from mftn.train.optimizer import build_optimizer


@dataclass(frozen=True)
class Arguments:
    """What to measure.

    Attributes:
        sizes: ConvNeXt sizes.
        pixels: Side of the input in pixels.
        batch: Images per step on a CPU; on a GPU, powers of two from 16 upwards are measured.
        steps: Steps per network.
        sam: Use SAM's two passes.
        data: A prepared data set; if given, also measure how long training waits for it, with the recipe's workers.
        profile: Only print where the time of this network goes.
        memory: Only print the peak memory of this network (used in a separate process for each).
    """

    sizes: tuple[str, ...] = ("atto", "base")
    pixels: int = 224
    batch: int = 8
    steps: int = 7
    sam: bool = False
    data: Path | None = None
    profile: str = ""
    memory: str = ""


class Trainee:
    """A network that takes training steps on random images."""

    def __init__(self, name: str, batch: int, pixels: int, sam: bool) -> None:
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        torch.manual_seed(0)
        model: Any = timm.create_model(name, num_classes=8, drop_path_rate=0.25)
        self.model = model.to(self.device, memory_format=torch.channels_last).train()
        settings = OptimizerConfig(name="adam", sam_rho=0.05 if sam else 0.0)
        self.optimizer: Any = build_optimizer(nn.Sequential(self.model), settings)
        self.sam, self.loss_of = sam, JointLoss()
        x = torch.randn(batch, 3, pixels, pixels, device=self.device)
        self.x = x.contiguous(memory_format=torch.channels_last)  # (B, 3, H, W)
        self.y = torch.randint(8, (batch,), device=self.device)

    def loss(self) -> Tensor:
        """The loss of one forward pass."""
        with torch.autocast(self.device, torch.bfloat16, enabled=self.device == "cuda"):
            output = self.model(self.x)
            logits = output if isinstance(output, Logits) else Logits(output, output)
            loss: Tensor = self.loss_of(logits, self.y)
        return loss

    def step(self) -> float:
        """Seconds of one training step."""
        start = time.perf_counter()
        self.optimizer.zero_grad()
        self.loss().backward()  # type: ignore[no-untyped-call]
        if self.sam:
            self.optimizer.first_step(zero_grad=True)
            self.loss().backward()  # type: ignore[no-untyped-call]
            self.optimizer.second_step(zero_grad=True)
        else:
            self.optimizer.step()
        if self.device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - start

    def operations(self) -> float:
        """Floating-point operations of one step, where a backward pass counts as two forward passes.

        Only the forward pass is measured; torch's counter overestimates the backward pass of grouped convolutions.
        """
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            self.loss()
        return 3.0 * counter.get_total_flops() * (2 if self.sam else 1)


def compare(size: str, batch: int, arguments: Arguments) -> None:
    """Print one row each for the bare backbone, the baseline and MFTN."""
    names = (f"convnext_{size}", f"baseline_{size}", f"mftn_{size}")
    trainees = {name: Trainee(name, batch, arguments.pixels, arguments.sam) for name in names}
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(arguments.steps + 1):
        for name, trainee in trainees.items():
            took = trainee.step()
            if turn:  # the first step warms up
                seconds[name].append(took)
    bare = median(seconds[names[0]])
    operations = {name: trainee.operations() for name, trainee in trainees.items()}
    peak = _matrix_peak()
    for name in names:
        took = median(seconds[name])
        rate = operations[name] / took
        print(
            f"{name:15} batch {batch:3}: {batch / took:8.2f} images/s, {bare / took:.2f} of the bare backbone "
            f"(operations alone allow {operations[names[0]] / operations[name]:.2f}), "
            f"{rate / peak:.0%} of the measured matrix peak of {peak / 1e9:,.0f} GFLOP/s, "
            f"{_memory(name, batch, arguments)}"
        )


def _memory(name: str, batch: int, arguments: Arguments) -> str:
    command = [sys.executable, __file__, "--memory", name, "--batch", str(batch), "--pixels", str(arguments.pixels)]
    done = subprocess.run([*command, *(["--sam"] if arguments.sam else [])], capture_output=True, text=True, check=True)
    return f"{int(done.stdout) / 1e6:,.0f} MB at most"


def _peak_memory() -> int:
    """Peak memory in bytes; getrusage would include memory from before this process executed the program."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def _matrix_peak() -> float:
    """Operations per second of a large matrix product in the training precision."""
    device, n = ("cuda", 8192) if torch.cuda.is_available() else ("cpu", 2048)
    a = torch.randn(n, n, device=device, dtype=torch.bfloat16 if device == "cuda" else torch.float32)
    best = float("inf")
    for _ in range(5):
        start = time.perf_counter()
        a @ a
        if device == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - start)
    return 2.0 * n**3 / best


def data_wait(folder: Path, pixels: int, size: str, sam: bool) -> None:
    """Print the share of time in an epoch's first steps spent waiting for the loader, with the recipe's workers."""
    from torch.utils.data import DataLoader

    from mftn.data.dataset import FaceDataset
    from mftn.data.sampler import BatchSampler
    from mftn.data.transforms import Preprocess
    from mftn.train.config import load_config

    config = load_config("raf_db_paper")
    dataset = FaceDataset(folder, "train", channels=3)
    sampler = BatchSampler(dataset.labels.numpy(), 8, 0)
    loader = DataLoader(dataset, batch_sampler=sampler, num_workers=config.data.workers, collate_fn=_same)
    preprocess = Preprocess(pixels, 1.0, config.data.mean, config.data.std, config.augmentation).train()
    trainee = Trainee(f"mftn_{size}", 8, pixels, sam)
    waited = augmented = worked = 0.0
    clock = time.perf_counter()
    for number, batch in enumerate(loader):
        arrived = time.perf_counter()
        trainee.x = preprocess(batch.crops.to(trainee.device)).contiguous(memory_format=torch.channels_last)
        trainee.y = batch.labels.to(trainee.device)
        ready = time.perf_counter()
        took = trainee.step()
        if number:  # the first batch starts the workers
            waited, augmented, worked = waited + arrived - clock, augmented + ready - arrived, worked + took
        clock = time.perf_counter()
        if number == 8:
            break
    total = waited + augmented + worked
    where = "in memory" if dataset.crops is not None else "on disk"
    print(
        f"mftn_{size} on {len(dataset):,} crops {where}, {config.data.workers} workers: waits for data "
        f"{waited / total:.1%} of the time, augments {augmented / total:.1%}"
    )


def _same(batch: Any) -> Any:
    return batch


def main(arguments: Arguments) -> None:
    """Measure and print."""
    if arguments.memory:
        trainee = Trainee(arguments.memory, arguments.batch, arguments.pixels, arguments.sam)
        for _ in range(2):
            trainee.step()
        print(torch.cuda.max_memory_allocated() if trainee.device == "cuda" else _peak_memory())
        return
    if arguments.profile:
        trainee = Trainee(arguments.profile, arguments.batch, arguments.pixels, arguments.sam)
        trainee.step()
        with torch.profiler.profile() as profile:
            trainee.step()
        print(profile.key_averages().table(sort_by="self_cpu_time_total", row_limit=25, max_name_column_width=50))
        return
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {torch.get_num_threads()} threads"
    print(
        f"{device}, torch {torch.__version__}, {'SAM' if arguments.sam else 'plain steps'}, {arguments.pixels} pixels"
    )
    batches = [16, 32, 64, 128, 256] if torch.cuda.is_available() else [arguments.batch]
    for size in arguments.sizes:
        for batch in batches:
            compare(size, batch, arguments)
        if arguments.data:
            data_wait(arguments.data, arguments.pixels, size, arguments.sam)


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
