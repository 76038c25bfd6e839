"""Recovers a network from its exported file, so that shipped models can be explained, evaluated and fine-tuned."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, numpy_helper
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

import mftn.models  # noqa: F401 (registers the networks)
from mftn.errors import ModelError
from mftn.export.deployed import LUMA, Deployed
from mftn.models import Network, load_model
from mftn.models.checkpoint import build
from mftn.spec import ModelSpec

PARITY, PARITY_INT8 = 1e-3, 0.1
"""Largest difference of a probability between the file and the recovered network, which computes in float32."""

SEVERAL = "averaged"
"""The architecture of a file that averages several networks."""


def load_network(path: str | Path) -> Network:
    """Load a network with its description from a checkpoint of `mftn train` or an exported ONNX file, for evaluation.

    Raises:
        ModelError: The file cannot be read, or is neither of these.
    """
    return recover(path) if Path(path).suffix == ".onnx" else load_model(path)


def recover(path: str | Path) -> Network:
    """Recover the network from a file of `mftn export`; batch norms stay folded, and int8 becomes float32.

    Raises:
        ModelError: The file is not an export of this package, or the recovered network's outputs differ.
    """
    if not Path(path).is_file():
        raise ModelError(f"{path}: no such file")
    try:
        proto = onnx.load(path)
        description = {item.key: item.value for item in proto.metadata_props}["mftn"]
    except Exception as error:  # protobuf and onnx raise their own kinds
        raise ModelError(f"{path}: not a file of `mftn export` ({type(error).__name__})") from error
    tensors = {
        item.name.removesuffix(".half"): torch.from_numpy(numpy_helper.to_array(item).astype(np.float32))
        for item in proto.graph.initializer
        if item.data_type in (TensorProto.FLOAT, TensorProto.FLOAT16) or item.name.endswith(".int8")
    } | _dequantised(proto)
    for name in [name for name in tensors if name.endswith(".int8")]:
        base = name.removesuffix(".int8")
        tensors[base] = tensors.pop(name) * tensors.pop(f"{base}.scale")
    spec = ModelSpec.from_json(description, str(path))
    if spec.architecture == SEVERAL:
        names = [member.get("name") or member["architecture"] for member in spec.provenance["members"]]
        raise ModelError(f"{path}: averages several networks ({', '.join(names)}); this needs one of them only")
    if not spec.arguments:  # a file of an earlier version, with a shorter description
        arguments = {"num_classes": len(spec.labels), "in_chans": spec.channels, "img_size": spec.size[0]}
        mean, std = _normalisation(path, tensors, spec.channels)
        spec = replace(spec, arguments=arguments, mean=mean, std=std)
    model = build(spec)
    folded = _folded_names(model)
    model.load_state_dict({key: _find(key, wanted, tensors, folded) for key, wanted in model.state_dict().items()})
    for name, module in model.named_modules():
        if isinstance(module, _BatchNorm) and f"model.{name}.running_var" not in tensors:
            module.running_var -= module.eps  # type: ignore[operator,assignment]  # folded: so that it divides by 1
    _check(path, model.eval(), PARITY_INT8 if spec.precision == "int8" else PARITY)
    return model


@torch.no_grad()
def unfold(model: nn.Module, images: Iterable[Tensor]) -> None:
    """Give folded batch norms statistics again, so that the network can be fine-tuned; its outputs stay the same.

    A folded norm is the identity in evaluation mode. In training mode it would normalise activations that already have
    the learned scale, and the network would forget within an epoch. Here it gets the mean and variance of its input,
    and a bias and weight that undo them.

    Args:
        model: A network whose folded norms have a mean of 0 and divide by 1, as from `recover`.
        images: Batches of its input (B, C, H, W); a few thousand images like those it will be trained on.
    """
    sums: dict[_BatchNorm, Tensor] = {}

    def measure(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        x = inputs[0].double().flatten(2)  # (B, C, H·W)
        moments = torch.stack([torch.full_like(x[0, :, 0], x.shape[0] * x.shape[2]), x.sum((0, 2)), (x**2).sum((0, 2))])
        assert isinstance(norm, _BatchNorm)
        sums[norm] = sums.get(norm, torch.zeros_like(moments)) + moments  # (3, C)

    folded = [norm for norm in model.modules() if isinstance(norm, _BatchNorm) and not torch.any(norm.running_mean)]  # type: ignore[arg-type]
    hooks = [norm.register_forward_pre_hook(measure) for norm in folded]
    model.eval()
    for batch in images:
        model(batch)
    for hook in hooks:
        hook.remove()
    for norm, (count, total, squares) in sums.items():
        mean = total / count
        variance = (squares / count - mean**2).clamp_min(0)
        norm.bias.add_((mean * norm.weight).float())  # the norm divided by 1
        norm.weight.mul_((variance + norm.eps).sqrt().float())
        norm.running_mean, norm.running_var = mean.float(), variance.float()


def _dequantised(proto: onnx.ModelProto) -> dict[str, Tensor]:
    """The weights of an int8 file, by their original names."""
    stored = {item.name: item for item in proto.graph.initializer}
    found = {}
    for node in proto.graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] in stored:
            value, scale, zero = (numpy_helper.to_array(stored[name]).astype(np.float32) for name in node.input)
            if scale.ndim:
                axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 1)
                shape = [-1 if dimension == axis else 1 for dimension in range(value.ndim)]
                scale, zero = scale.reshape(shape), zero.reshape(shape)
            found[node.input[0].removesuffix("_quantized")] = torch.from_numpy((value - zero) * scale)
    return found


def _folded_names(model: nn.Module) -> dict[str, str]:
    """The exporter's name for the bias of a convolution with a folded batch norm, by the norm's name."""
    names, convolution = {}, ""
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d):
            convolution = name
        elif isinstance(module, _BatchNorm):
            names[name] = f"model.{convolution}.weight_bias"
    return names


def _find(key: str, wanted: Tensor, tensors: dict[str, Tensor], folded: dict[str, str]) -> Tensor:
    """The tensor of one parameter; the exporter renames the matrices of linear layers but keeps their order of use."""
    name = f"model.{key}"
    if name in tensors:
        return tensors[name]
    module, leaf = key.rsplit(".", 1)
    if leaf == "bias" and folded.get(module) in tensors:
        return tensors[folded[module]]
    if wanted.ndim == 2:
        unnamed = (other for other, value in tensors.items() if _is_transposed(other, value, wanted))
        if found := next(unnamed, None):
            return tensors.pop(found).T.contiguous()
    folded_norm = {"weight": 1.0, "running_mean": 0.0, "running_var": 1.0, "num_batches_tracked": 1.0}
    return torch.full_like(wanted, folded_norm.get(leaf, 0.0))


def _is_transposed(name: str, value: Tensor, wanted: Tensor) -> bool:
    return not name.startswith("model.") and value.shape == wanted.T.shape


def _normalisation(
    path: str | Path, tensors: dict[str, Tensor], channels: int
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation from the first convolution."""
    weight = tensors.get("normalise.weight", tensors.get("weight"))
    bias = tensors.get("normalise.bias", tensors.get("bias"))
    if weight is None or bias is None:
        raise ModelError(f"{path}: does not say how its input is normalised; export it again")
    luma = torch.tensor([LUMA]) if channels == 1 else torch.eye(3)
    std = luma.sum(dim=1) / (255 * weight.sum(dim=(1, 2, 3)))  # (C,)
    return tuple((-bias * std).tolist()), tuple(std.tolist())


def _check(path: str | Path, model: Network, tolerance: float) -> None:
    import onnxruntime

    crops = torch.randint(
        0, 256, (2, *model.described().size, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (expected,) = session.run(["probabilities"], {"images": crops.numpy()})
    with torch.no_grad():
        found = Deployed(model).eval()(crops).numpy()
    if not np.abs(found - expected).max() <= tolerance:  # also true for NaN
        raise ModelError(f"{path}: its network cannot be recovered; use the weights it was exported from")
