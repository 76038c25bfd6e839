"""What is shipped for clusters is valid as far as can be told without one."""

import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from mftn.cli import main

CLUSTERS = Path(__file__).parents[2] / "examples" / "cluster"


def test_ray_takes_its_cluster() -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = yaml.safe_load((CLUSTERS / "ray-up.yaml").read_text())
    validate_config(prepare_config(config))
    assert config["available_node_types"][config["head_node_type"]]["resources"] == {"CPU": 0}


def test_containers_of_kuberay_have_what_they_name() -> None:
    job = yaml.safe_load((CLUSTERS / "kuberay.yaml").read_text())
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    cluster = job["spec"]["rayClusterSpec"]
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    for (container,) in (group["template"]["spec"]["containers"] for group in groups):
        assert container["resources"]["limits"] == container["resources"]["requests"]
    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"


def test_the_script_for_slurm_is_shell() -> None:
    subprocess.run(["bash", "-n", CLUSTERS / "slurm.sh"], check=True)


@pytest.mark.parametrize("name", ["kuberay.yaml", "slurm.sh"])
def test_their_commands_are_taken(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[Any] = []
    monkeypatch.setattr("mftn.cli.predict.run", lambda arguments: taken.append(arguments) or 0)
    (command,) = re.findall(r"(?:entrypoint:|--) mftn (predict .*)", (CLUSTERS / name).read_text())
    assert main(shlex.split(command)) == 0 and taken[0].cluster == "auto"
