"""Export to ONNX: crops in, calibrated probabilities out.

The file maps uint8 crops (B, H, W, 3) named "images" to float32 "probabilities" (B, K): grey conversion,
normalisation, both heads, their sum, the temperature and the softmax are all included. Its metadata contains, under
"mftn", the model's full description as JSON (`ModelSpec`).
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from onnx import helper
from torch import nn

from mftn.data.dataset import FaceDataset
from mftn.errors import ConfigError, ModelError
from mftn.evaluate.inference import preprocess_for
from mftn.export.deployed import Averaged, Deployed
from mftn.export.int8 import quantise
from mftn.export.recover import SEVERAL, load_network
from mftn.export.storage import as_bytes, as_half, store_small
from mftn.files import write_bytes
from mftn.runtime import Session
from mftn.spec import ModelSpec, Precision

MAX_ACCURACY_LOSS = 0.003
"""Largest loss of accuracy allowed for int8, 0 to 1."""

MAX_DIFFERENCE: dict[Precision, float] = {"fp32": 1e-3, "fp16": 0.02}
"""Largest difference of a probability from the network's; the 8-bit formats may differ by any finite number."""

CALIBRATION_FACES = 512
"""Number of faces for int8 calibration."""


@dataclass(frozen=True, slots=True)
class Export:
    """The result of an export.

    Attributes:
        megabytes: Size of the file.
        parity: Largest difference of a probability between file and network, on validation faces or else on noise.
        faces: Validation faces compared; 0 without a data set.
        agreement: Share of them with the same predicted expression.
        lost: Accuracy of the network minus the file's.
    """

    megabytes: float
    parity: float
    faces: int = 0
    agreement: float = 1.0
    lost: float = 0.0


def export_onnx(
    weights: str | Path | Sequence[str | Path],
    out: str | Path,
    name: str,
    precision: Precision = "fp32",
    data: str | Path | None = None,
) -> Export:
    """Write an ONNX file from a checkpoint or an export, and compare it with the network.

    Args:
        weights: A safetensors file with its description, or a file this function wrote; or several, whose predictions
            the file averages.
        out: The ONNX file to write.
        name: The model's name in the metadata.
        precision: fp16 stores the weights in half precision and int8-weights in 8 bits with a scale per channel; both
            compute in float32. int8 computes convolutions and matrix products in 8 bits, calibrated on training faces
            of `data`.
        data: A prepared data set; if given, file and network are also compared on its validation faces.

    Raises:
        ModelError: The weights are not from this package; the file's outputs are not finite, or differ by more than
            `MAX_DIFFERENCE`; or int8 loses more than `MAX_ACCURACY_LOSS` of the accuracy.
        ConfigError: int8 without a data set to calibrate on, or networks that cannot be averaged.
    """
    if precision == "int8" and data is None:
        raise ConfigError("int8 is calibrated on faces: give a prepared data set with --data")
    paths = [weights] if isinstance(weights, str | Path) else weights
    models = [load_network(path) for path in paths]
    spec = replace(common_spec([model.described() for model in models]), name=name, precision=precision)
    deployed = (Averaged(models, spec.size) if len(models) > 1 else Deployed(models[0])).eval()
    height, width = spec.size
    # Two images: with one, the exporter would treat the batch size as a constant.
    crops = torch.randint(0, 256, (2, height, width, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    program = torch.onnx.export(
        deployed, (crops,), input_names=["images"], output_names=["probabilities"],
        dynamic_shapes={"images": {0: torch.export.Dim("batch")}}, dynamo=True, verbose=False,
    )  # fmt: skip
    assert program is not None
    proto = program.model_proto
    for node in proto.graph.node:
        del node.metadata_props[:]  # stack traces with paths of the exporting machine
    if precision in ("fp16", "int8-weights"):
        constants = dict(deployed.named_buffers())  # such as the matrices for resizing crops
        store_small(proto, as_half if precision == "fp16" else as_bytes, constants.keys())
    if precision == "int8":
        assert data is not None
        proto = quantise(proto, dataset_crops(spec, FaceDataset(data, "train", spec.channels), CALIBRATION_FACES))
    helper.set_model_props(proto, {"mftn": spec.to_json()})
    content = proto.SerializeToString()
    result = compare(deployed, spec, content, crops.numpy(), data)
    if problem := wrong_with(result, precision, data):
        raise ModelError(f"{', '.join(map(str, paths))}: {problem}")
    write_bytes(Path(out), content)
    return result


def wrong_with(result: Export, precision: Precision, data: str | Path | None) -> str:
    """Why a file must not be written, and what to do; empty if nothing is wrong with it."""
    if not math.isfinite(result.parity):
        return "its probabilities are not finite numbers; nothing was written. Train the network again"
    if result.parity > (most := MAX_DIFFERENCE.get(precision, math.inf)):
        advice = "Export it as fp32" if precision == "fp16" else "Export it with another version of torch"
        return (
            f"{precision} changes a probability by {result.parity:.2g}, over the {most:g} allowed; "
            f"nothing was written. {advice}"
        )
    if precision == "int8" and result.lost > MAX_ACCURACY_LOSS:
        return (
            f"int8 loses {100 * result.lost:.2f} points of accuracy on {data}, over the "
            f"{100 * MAX_ACCURACY_LOSS:.1f} allowed; nothing was written. Export it as fp16"
        )
    return ""


def common_spec(specs: Sequence[ModelSpec]) -> ModelSpec:
    """The description of a file that averages several networks; a single network's description is unchanged.

    Its crops have the size of the largest network's, and its general temperature is the geometric mean of theirs.

    Raises:
        ConfigError: Their classes or their alignment differ.
    """
    first, *others = sorted(specs, key=lambda spec: math.prod(spec.size), reverse=True)
    if not others:
        return first
    for other in others:
        if other.labels != first.labels or other.template != first.template:
            what = "have different classes, or list them in a different order"
            if other.labels == first.labels:
                what = "align faces differently"
            raise ConfigError(f"{first.name or first.architecture} and {other.name or other.architecture} {what}")
    return ModelSpec(
        SEVERAL,
        first.labels,
        first.size,
        first.template,
        channels=max(spec.channels for spec in specs),
        general_temperature=math.prod(spec.general_temperature for spec in specs) ** (1 / len(specs)),
        licence="; ".join(dict.fromkeys(spec.licence for spec in specs if spec.licence)),
        provenance={"members": [asdict(spec) for spec in specs]},
    )


def compare(
    deployed: nn.Module, spec: ModelSpec, content: bytes, crops: NDArray[np.uint8], data: str | Path | None
) -> Export:
    """Compare a file's outputs with the network's, on given crops and on the validation faces of a data set."""
    session = Session(content, 0)

    def run(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        outputs = [session.run(["probabilities"], {"images": images[i : i + 64]})[0] for i in range(0, len(images), 64)]
        return np.concatenate(outputs)

    @torch.no_grad()
    def network(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        return torch.cat([deployed(part) for part in torch.from_numpy(images).split(64)]).numpy()

    result = Export(len(content) / 1e6, float(np.abs(run(crops) - network(crops)).max()))
    if data is None:
        return result
    faces = FaceDataset(data, "valid", spec.channels)
    images, labels = dataset_crops(spec, faces, len(faces)), np.array(faces.classes)[faces.labels]
    ours, exact = run(images), network(images)
    named, expected = (np.array(spec.labels)[found.argmax(axis=1)] for found in (ours, exact))
    return replace(
        result,
        faces=len(faces),
        parity=float(np.abs(ours - exact).max()),
        agreement=float(np.mean(named == expected)),
        lost=float(np.mean(expected == labels) - np.mean(named == labels)),
    )


def dataset_crops(spec: ModelSpec, faces: FaceDataset, number: int) -> NDArray[np.uint8]:
    """Evenly spaced crops of a data set, cropped as for prediction, (n, H, W, 3)."""
    chosen = np.linspace(0, len(faces) - 1, min(number, len(faces))).astype(int).tolist()
    return np.concatenate(list(crop_batches(spec, faces, chosen)))


def crop_batches(
    spec: ModelSpec, faces: FaceDataset, indices: Sequence[int] | None = None, aligned: bool = True
) -> Iterator[NDArray[np.uint8]]:
    """A data set's crops, cropped as for prediction, up to 256 at a time, (n, H, W, 3)."""
    plain = preprocess_for(replace(spec, mean=(0.0,), std=(1 / 255,)), faces)
    for part in faces.batches(256, indices, aligned):
        crops = plain(part).round().byte().permute(0, 2, 3, 1)  # (n, H, W, C)
        yield crops.expand(-1, -1, -1, 3).contiguous().numpy()
