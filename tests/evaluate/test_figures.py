from pathlib import Path

import numpy as np
from PIL import Image as PillowImage

from mftn.evaluate.figures import confusion_difference, confusion_matrix, explanation_grid, new_figure, save_figure
from mftn.labels import LABEL_SETS

LABELS = LABEL_SETS[8]


def cells(axes: object) -> list[str]:
    return [text.get_text() for text in axes.texts]


def test_the_published_form_of_a_confusion_matrix() -> None:
    counts = np.zeros((8, 8), dtype=np.int64)
    anger, sadness = LABELS.index("anger"), LABELS.index("sadness")
    counts[anger, anger], counts[anger, sadness], counts[sadness, sadness] = 3, 1, 5
    axes = new_figure(4, 4).subplots()
    confusion_matrix(axes, counts, LABELS, "a title")
    ticks = [tick.get_text() for tick in axes.get_xticklabels()]
    assert ticks == ["AN", "CO", "DI", "FE", "HA", "NE", "SA", "SU"] and axes.get_ylabel() == "True Label"
    texts = np.array(cells(axes)).reshape(8, 8)
    assert (texts[0, 0], texts[0, 6], texts[6, 6], texts[1, 0]) == ("0.75", "0.25", "1.00", "–")
    assert axes.images[0].get_clim() == (0, 1)


def test_the_difference_of_two_matrices() -> None:
    first, second = np.diag([4] * 8), np.full((8, 8), 1)
    axes = new_figure(4, 4).subplots()
    confusion_difference(axes, first, second, LABELS, "")
    assert cells(axes)[0] == "+0.88" and cells(axes)[1] == "-0.12"
    confusion_difference(axes := new_figure(4, 4).subplots(), first, first, LABELS, "")
    assert set(cells(axes)) == {"+0.00"}


def test_seven_classes_have_seven_rows() -> None:
    axes = new_figure(4, 4).subplots()
    confusion_matrix(axes, np.eye(7, dtype=np.int64), LABEL_SETS[7], "")
    assert len(cells(axes)) == 49


def test_a_grid_has_a_column_a_face_and_a_row_a_method(tmp_path: Path) -> None:
    faces = [np.zeros((20, 20), np.uint8), np.zeros((20, 20, 3), np.uint8)]
    rows = {"stage 2": [np.eye(3), -np.eye(3)], "fused": [np.eye(3), np.eye(3)]}
    figure = explanation_grid(faces, ["anger", "fear"], rows)
    assert len(figure.axes) == 6
    save_figure(figure, tmp_path / "a.png", tmp_path / "a.pdf")
    first, second = (tmp_path / "a.pdf").read_bytes(), PillowImage.open(tmp_path / "a.png")
    assert first.startswith(b"%PDF") and second.width > second.height / 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.pdf", "a.png"]
