"""Both detectors, against each other and against OpenCV."""

import tarfile
from importlib.resources import files
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from PIL import Image as PillowImage
from torch import nn

from mftn.errors import ConfigError
from mftn.faces import DETECTORS, load_detector
from mftn.faces.boxes import non_maximum_suppression
from mftn.faces.mtcnn import MTCNN
from mftn.faces.yunet import YuNet
from mftn.images import read_image
from mftn.runtime import Session
from mftn.types import Detection, Image

WEIGHTS = files("mftn.faces") / "weights"


@pytest.fixture(scope="module", params=DETECTORS)
def detector(request: pytest.FixtureRequest) -> YuNet | MTCNN:
    return load_detector(request.param)


def face_of(faces: list[Detection]) -> Detection:
    assert len(faces) == 1
    return faces[0]


@pytest.mark.parametrize(("name", "eyes"), [("astronaut.jpg", (203, 243)), ("grace_hopper.jpg", (227, 308))])
def test_the_face_in_each_photograph(detector: YuNet | MTCNN, photos: Path, name: str, eyes: tuple[int, int]) -> None:
    face = face_of(detector.detect(read_image(photos / name)))
    left, top, right, bottom = face.box
    assert face.landmarks.shape == (5, 2) and 0.8 < face.score <= 1
    assert face.landmarks[:2, 0] == pytest.approx(eyes, abs=8)
    assert (face.landmarks > (left, top)).all() and (face.landmarks < (right, bottom)).all()


def test_both_detectors_agree_on_landmarks(astronaut: Image) -> None:
    first, second = (face_of(load_detector(name).detect(astronaut)) for name in DETECTORS)
    eye_distance = np.linalg.norm(first.landmarks[0] - first.landmarks[1])
    assert np.linalg.norm(first.landmarks - second.landmarks, axis=1).mean() < 0.15 * eye_distance


@pytest.mark.parametrize("scale", [0.5, 2, 6])
def test_landmarks_are_in_pixels_of_the_image_at_any_size(
    detector: YuNet | MTCNN, astronaut: Image, scale: float
) -> None:
    image = PillowImage.fromarray(astronaut)
    scaled = np.asarray(image.resize((round(512 * scale), round(512 * scale)), PillowImage.Resampling.LANCZOS))
    reference = face_of(detector.detect(astronaut)).landmarks
    faces = detector.detect(scaled)
    assert np.abs(faces[0].landmarks / scale - reference).max() < 6


def test_a_face_of_22_pixels(astronaut: Image) -> None:
    small = np.asarray(PillowImage.fromarray(astronaut).resize((128, 128), PillowImage.Resampling.LANCZOS))
    yunet = load_detector("yunet")
    reference = face_of(yunet.detect(astronaut)).landmarks
    assert np.abs(face_of(yunet.detect(small)).landmarks * 4 - reference).max() < 6


def test_a_face_that_fills_the_image(detector: YuNet | MTCNN, astronaut: Image) -> None:
    face = face_of(detector.detect(np.ascontiguousarray(astronaut[70:178, 178:272])))
    assert np.abs(face.landmarks + np.float32([178, 70]) - face_of(detector.detect(astronaut)).landmarks).max() < 6


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (700, 3), (48, 48), (333, 97)])
def test_images_without_a_face_of_any_shape(detector: YuNet | MTCNN, shape: tuple[int, int]) -> None:
    assert detector.detect(np.full((*shape, 3), 127, np.uint8)) == []


def test_small_faces_in_a_large_photograph(astronaut: Image) -> None:
    group = np.full((1500, 2000, 3), 128, np.uint8)
    for row in range(2):
        for column in range(3):
            tile = PillowImage.fromarray(astronaut).resize((300, 300))
            group[100 + 700 * row : 400 + 700 * row, 150 + 600 * column : 450 + 600 * column] = tile
    faces = load_detector("yunet").detect(group)
    assert len(faces) == 6
    assert [face.score for face in faces] == sorted((face.score for face in faces), reverse=True)


@pytest.mark.parametrize("name", DETECTORS)
def test_min_score_is_respected(astronaut: Image, name: str) -> None:
    assert load_detector(name, min_score=1).detect(astronaut) == []
    assert load_detector(name, min_score=0.01).detect(astronaut)[-1].score < 0.5


def test_faces_smaller_than_the_smallest_are_not_found(astronaut: Image) -> None:
    assert MTCNN(min_face=300).detect(astronaut) == []


def test_without_a_minimum_score_the_best_faces_are_reported(astronaut: Image, monkeypatch: pytest.MonkeyPatch) -> None:
    yunet = YuNet(min_score=0, turned=False)
    scores = [face.score for face in yunet.detect(astronaut)]
    assert len(scores) > 50
    monkeypatch.setattr("mftn.faces.search.MAX_FACES", 20)
    best = [face.score for face in yunet.detect(astronaut)]
    assert 10 < len(best) <= 20 and best == scores[: len(best)]


def as_published(model: onnx.ModelProto) -> onnx.ModelProto:
    """YuNet with the twelve outputs that OpenCV reads, in place of two for each stride."""
    graph = model.graph
    del graph.output[:]
    graph.initializer.extend(
        numpy_helper.from_array(np.array([0, -1, width]), f"rows_of_{width}") for width in (1, 4, 10)
    )
    for stride in (8, 16, 32):
        for source, parts in (("confidences", {"cls": 1, "obj": 1}), ("geometry", {"bbox": 4, "kps": 10})):
            last, widths = f"{source}_{stride}_last", list(parts.values())
            split = [f"{name}_{stride}_part" for name in parts]
            graph.node.append(onnx.helper.make_node("Transpose", [f"{source}_{stride}"], [last], perm=[0, 2, 3, 1]))
            graph.node.append(onnx.helper.make_node("Split", [last], split, axis=3, split=widths))
            for part, (name, width) in zip(split, parts.items(), strict=True):
                graph.node.append(onnx.helper.make_node("Reshape", [part, f"rows_of_{width}"], [f"{name}_{stride}"]))
    graph.output.extend(
        onnx.helper.make_tensor_value_info(f"{name}_{stride}", onnx.TensorProto.FLOAT, [1, None, width])
        for name, width in {"cls": 1, "obj": 1, "bbox": 4, "kps": 10}.items()
        for stride in (8, 16, 32)
    )
    return model


def test_yunets_decode_agrees_with_opencv(astronaut: Image, tmp_path: Path) -> None:
    published = tmp_path / "yunet.onnx"
    onnx.save(as_published(onnx.load(str(WEIGHTS / "yunet.onnx"))), published)
    yunet = YuNet(min_score=0.6)
    rows = yunet.decode(astronaut.transpose(2, 0, 1)[::-1].astype(np.float32))
    ours = rows[non_maximum_suppression(rows[:, :4], rows[:, 14], 0.3)]
    oracle = cv2.FaceDetectorYN_create(str(published), "", (512, 512), 0.6, 0.3, 5000)
    _, theirs = oracle.detect(astronaut[..., ::-1])
    theirs[:, 2:4] += theirs[:, :2]  # width and height to right and bottom
    assert len(ours) == len(theirs) > 0
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=0.02)


def torch_twin(name: str, flattened: int) -> nn.Module:
    """R-Net or O-Net built from torch's layers, with the weights of the ONNX file in their order."""
    wide = name == "onet"
    channels = (32, 64, 64, 128) if wide else (28, 48, 64)
    kernels = (3, 3, 3, 2) if wide else (3, 3, 2)
    pools = [
        nn.MaxPool2d(3, 2, ceil_mode=True),
        nn.MaxPool2d(3, 2),
        *([nn.MaxPool2d(2, 2, ceil_mode=True)] if wide else []),
    ]
    layers: list[nn.Module] = []
    for i, (width, kernel) in enumerate(zip(channels, kernels, strict=True)):
        layers += [nn.Conv2d(3 if i == 0 else channels[i - 1], width, kernel), nn.PReLU(width)]
        layers += pools[i : i + 1]

    class Transposed(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.permute(0, 3, 2, 1).flatten(1)

    hidden = 256 if wide else 128
    return nn.Sequential(*layers, Transposed(), nn.Linear(flattened, hidden), nn.PReLU(hidden))


@pytest.mark.parametrize(("name", "side", "flattened"), [("rnet", 24, 576), ("onet", 48, 1152)])
def test_mtcnns_networks_agree_with_torch(name: str, side: int, flattened: int) -> None:
    model = onnx.load(str(WEIGHTS / f"{name}.onnx"))
    arrays = [torch.from_numpy(numpy_helper.to_array(tensor).copy()) for tensor in model.graph.initializer]
    twin = torch_twin(name, flattened)
    for parameter, array in zip(twin.parameters(), arrays, strict=False):
        value = array.T if parameter.ndim == 2 else array
        parameter.data.copy_(value.reshape(parameter.shape))
    x = torch.rand(4, 3, side, side) * 255
    features = twin(x)
    weight, bias = arrays[-2:]
    expected = (features @ weight + bias).softmax(dim=1)
    session = Session((WEIGHTS / f"{name}.onnx").read_bytes(), 1)
    (probabilities,) = session.run(["probabilities"], {"images": x.numpy()})
    np.testing.assert_allclose(probabilities, expected.detach().numpy(), rtol=1e-4, atol=1e-5)


def test_an_unknown_detector_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean yunet"):
        load_detector("yunett")


@pytest.mark.shared
@pytest.mark.parametrize(("name", "share"), [("yunet", 0.99), ("mtcnn", 0.95)])
def test_faces_are_found_in_photographs(shared: Path, tmp_path: Path, name: str, share: float) -> None:
    with tarfile.open(shared / "photos.tar") as archive:
        archive.extractall(tmp_path, filter="data")
    images = sorted(tmp_path.rglob("*.jpg"))[:: 1 if name == "yunet" else 4]
    detector = load_detector(name)
    found = sum(bool(detector.detect(read_image(image))) for image in images)
    assert found / len(images) >= share
