"""Loading and saving weights: our own safetensors, released checkpoints, timm and MS-Celeb backbones.

Nothing is skipped silently: tensors that do not fit are counted, and the first are named, in the error.
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

NAMED = 10
"""Most tensors that an error message names."""

_CONTAINERS = ("state_dict", "model", "model_state_dict", "net", "weights")
_RELEASED_CONVNEXT = (  # the released code uses the key names of the original ConvNeXt code
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

    Supports our own safetensors, the release's keys (`backbone.*`, `mstn.*`) and bare backbones (`stem.*`, `stages.*`,
    optionally prefixed with `net.` or `module.`). Pickles may hold plain tensors only.

    Args:
        model: The network; unchanged if anything does not fit.
        path: A `.safetensors` file, or a PyTorch checkpoint.
        part: What to load. With "backbone" and "trunk" the rest of the model keeps its weights, and the
            rest of a full checkpoint is ignored.

    Raises:
        ModelError: The file cannot be read, or tensors are missing, unexpected or of a different shape.
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
        f"different shape: {key} is {tuple(found[key].shape)}, the network has {tuple(wanted[key].shape)}"
        for key in wanted.keys() & found.keys()
        if found[key].shape != wanted[key].shape
    ]
    if problems:
        more = f"; and {len(problems) - NAMED:,} more" if len(problems) > NAMED else ""
        less = ", or load only their trunk (--init-part trunk in training)" if part != "trunk" else ""
        raise ModelError(
            f"{path}: does not fit the network ({len(problems):,} tensors): "
            f"{'; '.join(sorted(problems)[:NAMED])}{more}; "
            f"choose weights of the same architecture, channels and classes{less}"
        )
    model.load_state_dict(found, strict=False)


def load_timm(model: Network, name: str) -> None:
    """Load the trunk of the backbone from a timm model's published weights, downloading them if they are not cached.

    Args:
        model: The network; its classifiers and its MsTN keep their weights.
        name: A timm name, such as convnext_base.fb_in22k, hf-hub:owner/model or local-dir:/folder.

    Raises:
        ModelError: The weights are not available, or belong to a different network.
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
        raise ModelError(f"{name}: does not match the backbone being trained; choose one of the same size")
    model.load_state_dict({key: value for key, value in found.items() if key not in kept}, strict=False)


def read_tensors(path: str | Path) -> dict[str, Tensor]:
    """All tensors of a checkpoint file by name; containers such as `state_dict` are unwrapped.

    Raises:
        ModelError: The file is missing, is in neither format, or is a pickle that contains code.
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
            f"{path}: refused. Only plain tensors are read, from safetensors or a PyTorch file without code; "
            f"convert it to safetensors in an environment you trust ({type(error).__name__})"
        ) from error
    for name in _CONTAINERS:
        if isinstance(content, Mapping) and isinstance(content.get(name), Mapping):
            content = content[name]
    tensors = {str(key): value for key, value in content.items()} if isinstance(content, Mapping) else {}
    unexpected = [key for key, value in tensors.items() if not isinstance(value, Tensor)]
    if not tensors or unexpected:
        raise ModelError(f"{path}: does not contain a mapping of names to tensors (found {unexpected[:5] or 'none'})")
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
    """Reshape a Linear's weight where the network has a 1×1 convolution, as timm's small ConvNeXts do."""
    if wanted is not None and tensor.ndim == 2 and wanted.shape == (*tensor.shape, 1, 1):
        return tensor[:, :, None, None]
    return tensor


def classifier_keys(model: Network) -> set[str]:
    """Names of the parameters of the backbone's classifier."""
    classifier = {id(tensor) for tensor in model.get_classifier().parameters()}
    return {name for name, parameter in model.named_parameters() if id(parameter) in classifier}


def save_model(model: nn.Module, path: str | Path, spec: ModelSpec | None, dtype: torch.dtype | None = None) -> None:
    """Atomically write the weights, and what is needed to rebuild the network, as safetensors.

    Args:
        model: The network.
        path: The file to write.
        spec: The network's description, which `load_model` needs; None for bare weights.
        dtype: Store floating-point tensors in this type, such as torch.float16; by default their own.
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
        ModelError: The file is not a safetensors file, or its description is incomplete.
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
        ModelError: As in `read_spec`, `build` and `load_checkpoint`, or the file holds bare weights.
    """
    spec = read_spec(path)
    if spec is None:
        raise ModelError(f"{path}: holds weights but no description of the network; use load_checkpoint")
    model = build(spec)
    load_checkpoint(model, path)
    return model.eval()


def build(spec: ModelSpec) -> Network:
    """Build the network that a description names, with random weights.

    Raises:
        ModelError: timm knows no such architecture, or the architecture rejects the arguments; it is not one of this
            package's networks; or an argument names weights to fetch or read.
    """
    arguments = own_weights_only({"architecture": spec.architecture, **spec.arguments}, "its description")
    try:
        model = timm.create_model(arguments.pop("architecture"), **arguments)
    except (RuntimeError, TypeError, ValueError) as error:
        raise ModelError(f"{spec.architecture}: cannot be built with {dict(spec.arguments)} ({error})") from error
    if not isinstance(model, Network):
        raise ModelError(f"{spec.architecture}: is not a network of this package")
    model.spec = spec
    return model


def own_weights_only(arguments: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Check a file's arguments for `timm.create_model`, so that no weights are loaded except the file's own.

    Otherwise the author of the file could make this program open any address or read any file. `pretrained` is dropped,
    since the file contains the weights that resulted from it.

    Args:
        arguments: For `timm.create_model`, including nested mappings such as `backbone_args`.
        source: Where they come from, for error messages.

    Raises:
        ModelError: An argument would load other weights; the message names it.
    """
    kept: dict[str, Any] = {}
    for name, value in arguments.items():
        if name == "pretrained":
            continue
        if name.startswith("pretrained") or name in ("checkpoint_path", "cache_dir"):
            raise ModelError(f"{source} has the argument {name}, but weights may only come from the file; remove it")
        if isinstance(value, str) and ":" in value:  # hf-hub:OWNER/NAME and local-dir:FOLDER
            raise ModelError(f"{source} has {value} as its {name}, but networks are built from plain names only")
        kept[name] = own_weights_only(value, source) if isinstance(value, Mapping) else value
    return kept
