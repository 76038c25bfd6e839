"""Show versions, engines, and what is installed or missing and how to get it."""

from dataclasses import dataclass

EXTRAS = {
    "predict (always)": ("numpy", "pillow", "onnxruntime", "rich", "tyro"),
    "parquet": ("pyarrow",),
    "openvino": ("openvino",),
    "train": (
        "torch", "torchvision", "timm", "lightning-fabric", "pytorch-optimizer", "pyarrow", "pyyaml", "safetensors",
        "onnx", "onnxscript",
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Arguments:
    """`mftn doctor` takes nothing."""


def run(arguments: Arguments) -> int:  # noqa: ARG001
    """Print the state of the installation; 1 if prediction cannot run."""
    import platform
    from importlib.metadata import PackageNotFoundError, version

    from mftn import __version__
    from mftn.errors import MFTNError

    print(f"mftn {__version__}, Python {platform.python_version()}, {platform.system()} {platform.machine()}")
    for extra, packages in EXTRAS.items():
        found, missing = [], []
        for package in packages:
            try:
                found.append(f"{package} {version(package)}")
            except PackageNotFoundError:
                missing.append(package)
        print(f"\n{extra}: {'complete' if not missing else 'missing ' + ', '.join(missing)}")
        if found:
            print(f"  {', '.join(found)}")
        if missing:
            print(
                f"  get it: pip install 'mftn[{extra}]'"
                if extra in ("parquet", "openvino", "train")
                else "  get it: pip install mftn"
            )
    try:
        from mftn.recognize import load

        info = load().engine.spec
        height, width = info.size
        print(f"\nprediction: works (model {info.name}, {height}×{width}, {len(info.labels)} classes, on onnxruntime)")
    except (ImportError, MFTNError) as error:
        print(f"\nprediction: does not work: {error}")
        return 1
    return 0
