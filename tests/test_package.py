import json
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import pytest

import mftn
from mftn.engines import DEFAULT_MODEL, list_models, load_engine
from mftn.errors import MissingExtraError

HEAVY = {"torch", "torchvision", "timm", "cv2", "lightning_fabric", "pandas", "pyarrow", "matplotlib", "ray"}


def modules_after(code: str) -> set[str]:
    program = f"{code}\nimport sys, json; print(json.dumps(sorted({{name.split('.')[0] for name in sys.modules}})))"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(json.loads(result.stdout.splitlines()[-1]))


def test_importing_costs_nothing_heavy() -> None:
    assert not modules_after("import mftn") & (HEAVY | {"numpy", "PIL", "onnxruntime", "tyro", "rich"})
    assert not modules_after("from mftn.cli import main; main(['--help'])") & (HEAVY | {"numpy", "PIL", "tyro", "rich"})


def test_prediction_imports_no_torch(photos: Path) -> None:
    code = f"import mftn; mftn.predict({str(photos / 'astronaut.jpg')!r}, detector='mtcnn')"
    assert not modules_after(code) & HEAVY


def test_public_names_are_there() -> None:
    for name in mftn.__all__:
        assert getattr(mftn, name) is not None
    assert callable(mftn.predict) and callable(mftn.load)
    with pytest.raises(AttributeError, match="nothing"):
        mftn.nothing  # noqa: B018


def test_the_network_without_torch_says_what_to_install() -> None:
    code = "import sys; sys.modules['torch'] = None; import mftn; mftn.MFTN"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "MissingExtraError" in result.stderr and "pip install 'mftn[train]'" in result.stderr
    assert "mftn[train]" in str(MissingExtraError("x", "train"))


@pytest.mark.parametrize(("package", "name"), [("torch", "MFTN"), ("pandas", "summarize")])
def test_help_and_completion_work_without_an_extra(package: str, name: str) -> None:
    code = f"import sys; sys.modules[{package!r}] = None; import mftn; help(mftn); print(dir(mftn))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    listed = result.stdout.splitlines()[-1]
    assert "predict(image" in result.stdout and "'load'" in listed and f"'{name}'" not in listed
    assert name in dir(mftn)


def test_shipped_models_fit_their_cards_and_the_limit() -> None:
    cards = list_models()
    assert DEFAULT_MODEL in {card.name for card in cards}
    weights = files("mftn.engines") / "weights"
    total = sum(Path(str(item)).stat().st_size for item in weights.iterdir())
    assert total < 20e6
    for card in cards:
        info = load_engine(card.name, threads=1).spec
        assert info.name == card.name
        assert card.input.startswith(f"{info.size[0]}×{info.size[1]}")
        assert card.megabytes == pytest.approx(
            (Path(str(weights)) / f"{card.name}.onnx").stat().st_size / 1e6, abs=0.06
        )
        assert (weights / f"{card.name}.md").is_file()
