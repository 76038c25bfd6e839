"""Runs of several processes, and runs that are killed: each in processes of its own."""

import csv
import json
import os
import shutil
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from mftn.train.config import load_config
from mftn.train.setup import make_model

SETTINGS = """
data: {{folder: {data}, view: 1.0, soft_targets: true}}
model: {{architecture: mftn_atto, channels: 1, size: 32}}
optimizer: {{name: adam, lr: 0.0003, sam_rho: {rho}, warmup_epochs: 0}}
augmentation: {{flip: 0.0}}
batch_size: 24
epochs: 4
ema_decay: 0.9
accelerator: cpu
"""


def start(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
    )


@pytest.mark.parametrize("recipe", ["ferplus", "ferplus_mobile", "ferplus_facenet"])
def test_batch_norm_over_several_gpus_leaves_the_network_what_it_was(recipe: str) -> None:
    config = replace(load_config(recipe), init_from="", precision="fp32")

    def built(processes: int) -> torch.nn.Module:
        fabric: Any = SimpleNamespace(world_size=processes, device=torch.device("cuda"), to_device=lambda model: model)
        return make_model(config, fabric).eval()

    alone, several = built(1), built(2)
    x = torch.randn(2, 1, config.model.size, config.model.size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(several(x), alone(x))
    assert several.state_dict().keys() == alone.state_dict().keys()
    assert any(isinstance(module, torch.nn.SyncBatchNorm) for module in several.modules())


@pytest.mark.parametrize("rho", [0.0, 0.05])
def test_two_processes_give_the_loss_curve_of_one(prepared: Path, tmp_path: Path, rho: float) -> None:
    (tmp_path / "run.yaml").write_text(SETTINGS.format(data=prepared, rho=rho))
    logs = []
    for processes in (1, 2):
        out = tmp_path / f"run{processes}"
        common = ["-m", "mftn", "train", "--config", str(tmp_path / "run.yaml"), "--out", str(out)]
        done = start([*common, "--devices", str(processes), "--accumulate", str(3 - processes)])
        assert done.returncode == 0, done.stderr
        logs.append(list(csv.DictReader((out / "log.csv").open())))
        assert done.stdout.count("validation, argmax protocol, 8 images") == 1  # only the first process speaks
    for alone, shared in zip(*logs, strict=True):
        for column in ("train_loss", "train_loss_backbone", "train_loss_mstn"):
            assert float(alone[column]) == pytest.approx(float(shared[column]), abs=1e-5)
        assert alone["valid_images"] == shared["valid_images"] == "8"
        assert float(alone["valid_accuracy"]) == pytest.approx(float(shared["valid_accuracy"]), abs=1e-9)


SECOND_READS = """
import dataclasses, sys, time
from pathlib import Path
import mftn.data.dataset, mftn.train.loop as loop
from mftn.data.sampler import BatchSampler
from mftn.train.config import load_config

mftn.data.dataset.IN_MEMORY = 0
loop.MAX_UNREADABLE = float(sys.argv[3])
calibrate, second_is_done = loop.calibrate, Path(sys.argv[2]).with_name("second_is_done")

def late(*arguments):
    while not second_is_done.exists():
        time.sleep(0.1)
    return calibrate(*arguments)

loop.calibrate = late
config = dataclasses.replace(load_config(sys.argv[1]), out=Path(sys.argv[2]), devices=2, epochs=1)
data = mftn.data.dataset.FaceDataset(config.data.folder, "train")
sampler = BatchSampler(data.labels.numpy(), 24, config.seed, rank=1, processes=2)
(config.data.folder / data.paths[next(iter(sampler))[0].image]).write_bytes(b"")
loop.train(config)
second_is_done.touch()  # by the first to return, which must not be the first process
"""


@pytest.mark.parametrize(("most", "status"), [("0.05", 0), ("0.01", 1)])
def test_what_the_second_process_cannot_read_is_known_to_the_first_which_ends_by_itself(
    prepared: Path, tmp_path: Path, most: str, status: int
) -> None:
    shutil.copytree(prepared, tmp_path / "data")
    (tmp_path / "run.yaml").write_text(SETTINGS.format(data=tmp_path / "data", rho=0.0))
    (tmp_path / "run.py").write_text(SECOND_READS)
    done = start([str(tmp_path / "run.py"), str(tmp_path / "run.yaml"), str(tmp_path / "run"), most])
    assert done.returncode == status, done.stderr
    if status:
        assert done.stderr.count("1 of 24 training images cannot be read") == 2
    else:
        assert len(json.loads((tmp_path / "run" / "metrics.json").read_text())["unreadable"]) == 1


@pytest.mark.slow
def test_two_machines_give_the_loss_curve_of_one(prepared: Path, tmp_path: Path) -> None:
    """Two torchrun launchers that find each other by address, as on two machines; here both are on loopback."""
    (tmp_path / "run.yaml").write_text(SETTINGS.format(data=prepared, rho=0.0).replace("epochs: 4", "epochs: 2"))
    train = ["-m", "mftn", "train", "--config", str(tmp_path / "run.yaml")]
    alone = start([*train, "--out", str(tmp_path / "alone"), "--accumulate", "2"])
    assert alone.returncode == 0, alone.stderr
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    launch = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1"]
    launch += ["--master-addr", "127.0.0.1", "--master-port", str(port)]
    machines = [
        subprocess.Popen(
            [*launch, "--node-rank", str(rank), *train, "--out", str(tmp_path / "both"), "--nodes", "2"],
            env=os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        )
        for rank in (0, 1)
    ]
    for machine in machines:
        assert machine.wait(300) == 0, machine.communicate()[1]
    logs = [list(csv.DictReader((tmp_path / out / "log.csv").open())) for out in ("alone", "both")]
    for one, two in zip(*logs, strict=True):
        assert float(one["train_loss"]) == pytest.approx(float(two["train_loss"]), abs=1e-5)
        assert float(one["valid_accuracy"]) == pytest.approx(float(two["valid_accuracy"]), abs=1e-9)


KILLER = """
import dataclasses, os, random, signal, sys, time
from pathlib import Path
import torch
from safetensors.torch import load_file
from mftn.train.config import load_config
from mftn.train.loop import train

recipe, out, kills = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
config = dataclasses.replace(load_config(recipe), out=out, save_minutes=0.0)
begun = out.with_name("begun")
random.seed(0)

def in_child(work):
    pid = os.fork()
    if pid == 0:
        try:
            work()
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    return pid

def run():
    train(config, resume=(out / "config.json").exists(), on_step=lambda report: begun.touch())

def look():
    for path in out.glob("*.safetensors"):
        load_file(path)
    if (out / "state.pt").exists():
        torch.load(out / "state.pt", weights_only=True)

for _ in range(kills):
    begun.unlink(missing_ok=True)
    pid = in_child(run)
    while not begun.exists():
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            sys.exit(f"ended by itself with {status}")
        time.sleep(0.01)
    time.sleep(random.uniform(0, 0.4))
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    if os.waitpid(in_child(look), 0)[1]:
        sys.exit("a file is broken")
if os.waitpid(in_child(run), 0)[1]:
    sys.exit("the last run failed")
"""


def test_twenty_kills_leave_whole_files_and_change_nothing(prepared: Path, tmp_path: Path) -> None:
    text = SETTINGS.format(data=prepared, rho=0.0).replace("mftn_atto", "baseline_atto")
    (tmp_path / "run.yaml").write_text(text.replace("epochs: 4", "epochs: 10").replace("size: 24", "size: 4"))
    for kills in (20, 0):
        done = start(["-c", KILLER, str(tmp_path / "run.yaml"), str(tmp_path / f"killed{kills}"), str(kills)])
        assert done.returncode == 0, done.stderr
    killed, straight = (load_file(tmp_path / f"killed{kills}" / "last.safetensors") for kills in (20, 0))
    assert all((killed[key] == straight[key]).all() for key in straight)
