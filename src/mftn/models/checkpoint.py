"""Weights in and out: safetensors of our own, released checkpoints, timm and MS-Celeb backbones.

Nothing is skipped silently: whatever does not fit is named, tensor by tensor.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from mftn.errors import ModelError
from mftn.files import write_bytes
from mftn.models.mftn import Network
from mftn.spec import ModelSpec, Part

_CONTAINERS = ("state_dict", "model", "model_state_dict", "net", "weights")
_RELEASED_CONVNEXT = (  # the released code names its backbone as the first ConvNeXt code did
    (r"^downsample_layers\.0\.", "stem."),
    (r"^downsample_layers\.(\d)\.", r"stages.\1.downsample."),
    (r"^stages\.(\d+)\.(\d+)\.", r"stages.\1.blocks.\2."),
    (r"\.dwconv\.", ".conv_dw."),
    (r"\.pwconv(\d)\.", r".mlp.fc\1."),
    (r"^norm\.", "head.norm."),
    (r"^head\.(weight|bias)$", r"head.fc.\1"),
)


def load_checkpoint(model: Network, path: str | Path, part: Part = "all") -> None:
    """Load weights from a file into a network, converting the key names of other code.

    Understood are our own safetensors, the release's keys (`backbone.*`, `mstn.*`) and bare backbones
    (`stem.*`, `stages.*`, with or without `net.` or `module.` before). Pickles are read as plain tensors only.

    Args:
        model: The network; unchanged if anything does not fit.
        path: A `.safetensors` file, or a PyTorch checkpoint.
        part: What to load. With "backbone" and "trunk" the rest of the model keeps its weights, and the
            rest of a whole checkpoint is what the caller chose to omit.

    Raises:
        ModelError: The file cannot be read, or tensors are missing, unexpected or of another shape.
    """
    found = convert(read_tensors(path), model)
    wanted = model.state_dict()
    if part != "all":
        found = {key: tensor for key, tensor in found.items() if key.startswith("backbone.")}
        wanted = {key: tensor for key, tensor in wanted.items() if key.startswith("backbone.")}
    if part == "trunk":
        classifier = classifier_keys(model)
        found = {key: tensor for key, tensor in found.items() if key not in classifier}
        wanted = {key: tensor for key, tensor in wanted.items() if key not in classifier}

    problems = [f"missing: {key} {tuple(wanted[key].shape)}" for key in wanted.keys() - found.keys()]
    problems += [f"unexpected: {key} {tuple(found[key].shape)}" for key in found.keys() - wanted.keys()]
    problems += [
        f"other shape: {key} is {tuple(found[key].shape)}, the network has {tuple(wanted[key].shape)}"
        for key in wanted.keys() & found.keys()
        if found[key].shape != wanted[key].shape
    ]
    if problems:
        raise ModelError(f"{path}: does not fit the network ({len(problems)} tensors): {'; '.join(sorted(problems))}")
    model.load_state_dict(found, strict=False)


def load_timm(model: Network, name: str) -> None:
    """Load the trunk of the backbone from a timm model's published weights, fetched where they are not cached.

    Args:
        model: The network; its classifiers and its MsTN keep their weights.
        name: As timm writes it, such as convnext_base.fb_in22k, hf-hub:owner/model or local-dir:/folder.

    Raises:
        ModelError: The weights cannot be had, or are of another network.
    """
    channels = model.pretrained_cfg["input_size"][0]
    try:
        source = timm.create_model(name, pretrained=True, num_classes=model.num_classes, in_chans=channels)
    except Exception as error:  # the hub, the network and timm raise many kinds
        raise ModelError(f"{name}: timm's weights cannot be loaded ({type(error).__name__}: {error})") from error
    found = {f"backbone.{key}": value for key, value in source.state_dict().items()}
    kept = classifier_keys(model)
    wanted = {key: value for key, value in model.state_dict().items() if key.startswith("backbone.")}
    if {key: value.shape for key, value in found.items()} != {key: value.shape for key, value in wanted.items()}:
        raise ModelError(f"{name}: not the network that is trained; choose one of the same size")
    model.load_state_dict({key: value for key, value in found.items() if key not in kept}, strict=False)


def read_tensors(path: str | Path) -> dict[str, Tensor]:
    """All tensors of a checkpoint file by name; containers such as `state_dict` are unwrapped.

    Raises:
        ModelError: The file is missing, is neither format, or is a pickle that holds code.
    """
    path = Path(path)
    if not path.is_file():
        raise ModelError(f"{path}: no such file")
    if path.suffix == ".safetensors":
        try:
            with safe_open(path, "pt") as file:
                return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
        except SafetensorError as error:
            raise ModelError(f"{path}: not a complete safetensors file ({error})") from error
    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises pickle, zip, key and runtime errors here
        raise ModelError(
            f"{path}: refused. Only plain tensors are read, in safetensors or a PyTorch file without code; "
            f"convert it to safetensors where you trust it ({type(error).__name__})"
        ) from error
    for name in _CONTAINERS:
        if isinstance(content, Mapping) and isinstance(content.get(name), Mapping):
            content = content[name]
    tensors = {str(key): value for key, value in content.items()} if isinstance(content, Mapping) else {}
    unexpected = [key for key, value in tensors.items() if not isinstance(value, Tensor)]
    if not tensors or unexpected:
        raise ModelError(f"{path}: holds no mapping of names to tensors (found {unexpected[:5] or 'none'})")
    return tensors


def convert(tensors: Mapping[str, Tensor], model: Network) -> dict[str, Tensor]:
    """Rename tensors of other code to this package's names (`backbone.*` as in timm, `mstn.*`)."""
    named = {re.sub(r"^(module\.|_orig_mod\.|weights\.)+", "", key): value for key, value in tensors.items()}
    if not any(key.startswith(("backbone.", "mstn.")) for key in named):  # a bare backbone
        named = {"backbone." + key.removeprefix("net."): value for key, value in named.items()}
    if any(key.startswith("backbone.downsample_layers.") for key in named):
        named = {_released_key(key): value for key, value in named.items()}
    wanted = model.state_dict()
    return {key: _as_convolution(value, wanted.get(key)) for key, value in named.items()}


def _released_key(key: str) -> str:
    if not key.startswith("backbone."):
        return key
    key = key.removeprefix("backbone.")
    for pattern, replacement in _RELEASED_CONVNEXT:
        key = re.sub(pattern, replacement, key)
    return "backbone." + key


def _as_convolution(tensor: Tensor, wanted: Tensor | None) -> Tensor:
    """timm's small ConvNeXts hold a Linear's weight as a 1×1 convolution."""
    if wanted is not None and tensor.ndim == 2 and wanted.shape == (*tensor.shape, 1, 1):
        return tensor[:, :, None, None]
    return tensor


def classifier_keys(model: Network) -> set[str]:
    """Names of the parameters of the backbone's classifier."""
    classifier = {id(tensor) for tensor in model.get_classifier().parameters()}
    return {name for name, parameter in model.named_parameters() if id(parameter) in classifier}


def save_model(model: nn.Module, path: str | Path, spec: ModelSpec | None, dtype: torch.dtype | None = None) -> None:
    """Write weights and what is needed to build the network again, atomically, as safetensors.

    Args:
        model: The network.
        path: The file to write.
        spec: The network's description, which `load_model` needs; None for bare weights.
        dtype: Store floating-point tensors in this type, such as torch.float16; as they are by default.
    """
    tensors = {
        key: value.detach().to("cpu", dtype if value.is_floating_point() else None).contiguous()
        for key, value in model.state_dict().items()
    }
    content = save(tensors, metadata={"mftn": spec.to_json()} if spec else None)
    write_bytes(Path(path), content)


def read_spec(path: str | Path) -> ModelSpec | None:
    """The description that `save_model` wrote into a file; None for bare weights.

    Raises:
        ModelError: The file is no safetensors file, or its description is incomplete.
    """
    if not Path(path).is_file():
        raise ModelError(f"{path}: no such file")
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
    except SafetensorError as error:
        raise ModelError(f"{path}: not a complete safetensors file ({error})") from error
    return ModelSpec.from_json(metadata["mftn"], str(path)) if "mftn" in metadata else None


def load_model(path: str | Path) -> Network:
    """Build the network a file describes and load its weights.

    Returns:
        The network in evaluation mode, in float32, with the file's description as `spec`.

    Raises:
        ModelError: As `read_spec`, `build` and `load_checkpoint`; the file holds bare weights.
    """
    spec = read_spec(path)
    if spec is None:
        raise ModelError(f"{path}: holds weights but no description of the network; use load_checkpoint")
    model = build(spec)
    load_checkpoint(model, path)
    return model.eval()


def build(spec: ModelSpec) -> Network:
    """The network that a description names, with random weights.

    Raises:
        ModelError: timm knows no such architecture, or it does not take the arguments; it is none of this package's
            networks; an argument names weights to fetch or to read.
    """
    arguments = own_weights_only({"architecture": spec.architecture, **spec.arguments}, "its description")
    try:
        model = timm.create_model(arguments.pop("architecture"), **arguments)
    except (RuntimeError, TypeError, ValueError) as error:
        raise ModelError(f"{spec.architecture}: cannot be built with {dict(spec.arguments)} ({error})") from error
    if not isinstance(model, Network):
        raise ModelError(f"{spec.architecture}: is no network of this package")
    model.spec = spec
    return model


def own_weights_only(arguments: Mapping[str, Any], source: str) -> dict[str, Any]:
    """A builder's arguments from a file, with which timm fetches and reads no weights besides the file's own.

    Otherwise whoever wrote the file chose an address that this program opens, or a file that it reads. That the network
    once began with timm's pretrained weights is left out: the file has those that came of them.

    Args:
        arguments: Those of `timm.create_model`, and mappings of them such as `backbone_args`.
        source: What holds them, for messages.

    Raises:
        ModelError: There is one; the message names it.
    """
    kept: dict[str, Any] = {}
    for name, value in arguments.items():
        if name == "pretrained":
            continue
        if name.startswith("pretrained") or name in ("checkpoint_path", "cache_dir"):
            raise ModelError(f"{source} has the argument {name}, and weights come from the file alone; remove it")
        if isinstance(value, str) and ":" in value:  # hf-hub:OWNER/NAME and local-dir:FOLDER
            raise ModelError(f"{source} names {value} as its {name}, and networks are built from plain names alone")
        kept[name] = own_weights_only(value, source) if isinstance(value, Mapping) else value
    return kept
