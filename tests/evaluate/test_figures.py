from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

from mftn.evaluate.figures import (
    agreement_plot,
    confusion_difference,
    confusion_matrix,
    confusion_panel,
    deletion_plot,
    explanation_grid,
    reliability_diagram,
    robustness_curves,
)
from mftn.figures import new_figure, save_figure
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


LONG = "ferplus_mobile_distilled_from_three_teachers_seed_1_epoch_90"


@pytest.mark.parametrize("names", [[LONG, f"{LONG}_more"], [f"{LONG}_{number}" for number in range(5)]])
def test_long_names_of_many_models_are_whole_and_apart(names: list[str]) -> None:
    curve = np.array([3, 1]), np.array([0.3, 0.8]), np.array([0.2, 0.9])
    drawn = [
        confusion_panel({name: np.eye(8, dtype=np.int64) for name in names}, LABELS),
        reliability_diagram(dict.fromkeys(names, curve)),
        deletion_plot((0.0, 1.0), {name: {"random": np.array([0.9, 0.1])} for name in names}),
    ]
    for figure in drawn:
        assert figure.get_figwidth() < 13  # no wider than a page
        figure.canvas.draw()
        titles = [axes.title for axes in figure.axes]
        assert {title.get_text().replace("\n", "") for title in titles} >= set(names)
        places = [title.get_window_extent() for title in titles]
        for place, other in combinations(places, 2):
            assert not place.overlaps(other)
        for place in places:
            assert place.x0 >= 0 and place.x1 <= figure.bbox.x1 and place.y1 <= figure.bbox.y1


@pytest.mark.parametrize("names", [["_one"], [LONG, f"{LONG}_more"], [f"run {number}" for number in range(50)]])
def test_the_key_names_every_model_beside_the_panels(names: list[str]) -> None:
    points = [(0.0, 0.9), (1.0, 0.5)]
    rows = [{"from": 0.0, "to": 1.0, "images": 3, "accuracy": 1.0, "low": 0.4, "high": 1.0}]
    for figure in (
        robustness_curves({name: {"blur": points, "noise": points} for name in names}, {"blur": "σ", "noise": "σ"}),
        agreement_plot(dict.fromkeys(names, rows)),
    ):
        figure.canvas.draw()
        (key,) = figure.legends
        assert [text.get_text().replace("\n", "") for text in key.get_texts()] == names
        place = key.get_window_extent()
        assert place.x0 >= 0 and place.y0 >= 0 and place.x1 <= figure.bbox.x1
        assert not any(place.overlaps(axes.get_window_extent()) for axes in figure.axes)
        assert all(axes.get_window_extent().height > 100 for axes in figure.axes)


def test_agreement_is_drawn_from_0_to_1_even_where_all_images_are_in_one_bin() -> None:
    row = {"from": 0.8, "to": 0.9, "images": 1, "accuracy": 1.0, "low": 0.2, "high": 1.0}
    left, right = agreement_plot({"one": [row], "other": [row]}).axes[0].get_xlim()
    assert left == 0 and 1 <= right < 1.1


def test_a_very_large_figure_is_drawn_with_fewer_pixels(tmp_path: Path) -> None:
    save_figure(new_figure(1, 700), tmp_path / "a.png")
    assert PillowImage.open(tmp_path / "a.png").height < 2**16


def test_names_beside_a_single_face_are_whole() -> None:
    figure = explanation_grid([np.zeros((20, 20), np.uint8)], ["fear"], {f"{LONG}, fused": [np.eye(3)]})
    figure.canvas.draw()
    name = figure.axes[1].yaxis.label
    assert name.get_text().replace("\n", "").replace(" ", "") == f"{LONG},fused"
    assert name.get_window_extent().x0 >= 0


def test_a_grid_has_a_column_a_face_and_a_row_a_method(tmp_path: Path) -> None:
    faces = [np.zeros((20, 20), np.uint8), np.zeros((20, 20, 3), np.uint8)]
    rows = {"stage 2": [np.eye(3), -np.eye(3)], "fused": [np.eye(3), np.eye(3)]}
    figure = explanation_grid(faces, ["anger", "fear"], rows)
    assert len(figure.axes) == 6
    save_figure(figure, tmp_path / "a.png", tmp_path / "a.pdf")
    first, second = (tmp_path / "a.pdf").read_bytes(), PillowImage.open(tmp_path / "a.png")
    assert first.startswith(b"%PDF") and second.width > second.height / 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.pdf", "a.png"]
