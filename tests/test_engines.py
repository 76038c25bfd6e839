import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import softmax

import mftn
from mftn.engines import BATCH, EngineName, find_model, in_batches, installed_engines, load_engine, tempered
from mftn.errors import ConfigError, ModelError
from mftn.images import read_image


def test_all_engines_agree_on_the_models_that_ship(photos: Path) -> None:
    assert installed_engines() == ["onnxruntime", "openvino"]
    first, second = (mftn.load(engine=name) for name in installed_engines())
    for name in ("astronaut.jpg", "grace_hopper.jpg"):
        ours, theirs = first.predict(photos / name).faces[0], second.predict(photos / name).faces[0]
        assert ours.probabilities == pytest.approx(theirs.probabilities, abs=1e-4)


@pytest.mark.parametrize("model", ["mftn_mobile_ferplus", "mftn_face_ferplus"])
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_all_engines_agree_whatever_the_threads(model: str, threads: int) -> None:
    engines = [load_engine(model, engine=name, threads=threads) for name in installed_engines()]
    crops = np.random.default_rng(0).integers(0, 256, (5, *engines[0].spec.size, 3), dtype=np.uint8)
    for part in (crops, crops[:1], crops[::-1, :, ::-1]):
        first, second = (engine.probabilities(part) for engine in engines)
        np.testing.assert_allclose(first, second, atol=1e-5)
        assert second.sum(axis=1) == pytest.approx(1, abs=1e-5)


def test_a_face_and_its_horizontal_flip_count_as_much(photos: Path) -> None:
    photo = read_image(photos / "astronaut.jpg")
    recognizer = mftn.load(detector="none", calibration="training")
    plain = mftn.load(detector="none", flip=False, calibration="training")
    once, flipped, both = (
        np.array(list(who.predict(np.ascontiguousarray(image)).faces[0].probabilities.values()))
        for who, image in ((plain, photo), (plain, photo[:, ::-1]), (recognizer, photo))
    )
    np.testing.assert_allclose(both, (once + flipped) / 2, atol=1e-3)
    assert np.abs(once - flipped).max() > 1e-3


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("flip", [True, False])
def test_results_do_not_depend_on_how_crops_are_split(engine: EngineName, flip: bool) -> None:
    network = mftn.load(engine=engine, flip=flip).engine
    count = BATCH + 3
    crops = np.random.default_rng(0).integers(0, 256, (count, *network.spec.size, 3), dtype=np.uint8)
    together = network.probabilities(crops)
    assert together.shape == (count, len(network.spec.labels)) and together.dtype == np.float32
    for size in (1, 30):
        parts = [network.probabilities(crops[start : start + size]) for start in range(0, count, size)]
        np.testing.assert_allclose(np.concatenate(parts), together, atol=1e-6)
    assert network.probabilities(crops[:0]).shape == (0, len(network.spec.labels))


def test_a_network_sees_few_crops_at_once() -> None:
    sizes = []

    def run(crops: np.ndarray) -> np.ndarray:
        sizes.append(len(crops))
        return crops[:, 0, 0, :2].astype(np.float32)

    crops = np.arange(10 * 12, dtype=np.uint8).reshape(10, 2, 2, 3)
    np.testing.assert_array_equal(in_batches(run, crops, 4, 2), crops[:, 0, 0, :2])
    assert sizes == [4, 4, 2]


def test_a_missing_or_unknown_engine_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="engine is 'fastest'; there are auto, onnxruntime and openvino"):
        load_engine(engine="fastest")  # type: ignore[arg-type]
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(ConfigError, match=r"pip install 'mftn\[openvino\]'"):
        load_engine(engine="openvino")


@pytest.mark.parametrize("model", ["mftn_mobile_ferplus", "mftn_face_ferplus"])
def test_fast_precision_is_close_to_exact(model: str, photos: Path) -> None:
    image = read_image(photos / "astronaut.jpg")
    exact, fast = (mftn.load(model, engine="openvino", precision=name) for name in ("exact", "fast"))
    height, width = exact.engine.spec.size
    crops = np.stack([image[y : y + height, 160 : 160 + width] for y in range(0, 200, 10)])
    np.testing.assert_allclose(fast.engine.probabilities(crops), exact.engine.probabilities(crops), atol=0.05)
    ours, theirs = exact.predict(image).faces[0], mftn.predict(image, model, precision="fast").faces[0]
    assert (ours.box, ours.expression) == (theirs.box, theirs.expression)


def test_a_signal_is_handled_after_another_thread_let_go_of_an_engine() -> None:
    """It can fail on processors with AMX alone: there OpenVINO frees the stack of signal handlers with its network."""
    program = """
import gc, signal, threading, mftn
recognizers = [mftn.load(engine="openvino")]
thread = threading.Thread(target=lambda: (recognizers.clear(), gc.collect()))
thread.start()
thread.join()
signal.signal(signal.SIGINT, lambda *_: print("handled"))
signal.raise_signal(signal.SIGINT)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "handled\n"), done.stderr


def test_fast_precision_needs_openvino() -> None:
    with pytest.raises(ConfigError, match=r"pip install 'mftn\[openvino\]', or choose exact"):
        load_engine(engine="onnxruntime", precision="fast")


def test_an_engine_can_be_shared_by_threads() -> None:
    engine = load_engine(engine="openvino")
    crops = np.random.default_rng(0).integers(0, 256, (8, 3, *engine.spec.size, 3), dtype=np.uint8)
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(engine.probabilities, crops))
    for part, outputs in zip(crops, together, strict=True):
        np.testing.assert_allclose(outputs, engine.probabilities(part), atol=1e-6)


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("share", [0.0, 0.5])
def test_a_damaged_model_is_named(tmp_path: Path, engine: str, share: float) -> None:
    content = find_model().read_bytes()
    (tmp_path / "half.onnx").write_bytes(content[: int(share * len(content))])
    with pytest.raises(ModelError, match=r"half\.onnx: .*not a complete"):
        load_engine(tmp_path / "half.onnx", engine=engine)  # type: ignore[arg-type]


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": ("a", "b")}, r"that probabilities has the shape \(any, 2\)"),
        ({"size": (64, 64)}, r"that images has the shape \(any, 64, 64, 3\)"),
    ],
)
def test_a_description_of_another_network_is_refused(
    tmp_path: Path, engine: EngineName, change: dict[str, object], message: str
) -> None:
    proto = onnx.load(find_model("mftn_face_ferplus"))
    spec = load_engine("mftn_face_ferplus").spec
    onnx.helper.set_model_props(proto, {"mftn": replace(spec, **change).to_json()})  # type: ignore[arg-type]
    onnx.save(proto, tmp_path / "m.onnx")
    with pytest.raises(ModelError, match=rf"m\.onnx: its description says {message}"):
        load_engine(tmp_path / "m.onnx", engine=engine)


@given(st.integers(0, 2**32 - 1), st.floats(0.2, 10), st.integers(1, 9))
def test_a_temperature_divides_the_logits(seed: int, temperature: float, count: int) -> None:
    logits = np.random.default_rng(seed).normal(0, 5, (count, 8))
    probabilities = softmax(logits, axis=1)
    np.testing.assert_allclose(tempered(probabilities, temperature), softmax(logits / temperature, axis=1), atol=1e-9)


def test_a_temperature_leaves_missed_faces_and_certain_ones() -> None:
    rows = np.array([[0, 0, 0], [1, 0, 0]], np.float32)
    for temperature in (0.05, 1.7, 20.0):
        np.testing.assert_array_equal(tempered(rows, temperature), rows)
    assert tempered(rows[:0], 2.0).shape == (0, 3)
    assert tempered(rows, 1.0) is rows
