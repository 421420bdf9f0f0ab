"""From photograph to classes: any size, any view, and what is refused."""

import numpy as np
import pytest
import torch
from PIL import Image
from tests.eagleray_ops.small_data import small_settings

from eagleray.task import InputError, Item
from eagleray_ops.benchmarks import (
    COCO_VAL,
    WILDPASS_NAME,
    compute_split,
    ops_benchmarks,
    score_image,
)
from eagleray_ops.data import network_image
from eagleray_ops.exports import export_index, export_prediction
from eagleray_ops.picture import palette_of, sample_pictures
from eagleray_ops.predict import predict_image
from eagleray_vision.datasets.wildpass import WILDPASS
from eagleray_vision.images.reading import read_rgb
from eagleray_vision.samples.semantic import SemanticPrediction, SemanticSample

NAMES = ("red", "green", "blue")


def brightest_channel(images):
    """Stand in for a network: the class of a pixel is its strongest color."""
    return torch.cat([images, images.mean(1, keepdim=True) - 9], dim=1)[:, :3]


def stripes(height, width):
    """Return a photograph of vertical stripes of pure colors, and the classes of its pixels."""
    found = np.tile(np.arange(width) * 6 // width % 3, (height, 1))
    return (np.eye(3)[found] * 200 + 20).astype(np.uint8), found


def predicted(photo, tmp_path, **changed):
    changed.setdefault("faithful", False)
    settings = small_settings(tmp_path, **changed)
    sample = SemanticSample("a", network_image(photo, settings), photo=photo)
    return predict_image(sample, brightest_channel, settings)


INFERENCE = {
    "plain": {},
    "rolls": {"rolls": 3},
    "scales": {"scales": (1.0, 1.5)},
    "flip": {"flip": True},
    "all": {"rolls": 2, "scales": (0.75, 1.0), "flip": True},
    "batches": {"windows_at_once": 4},
    "perspective": {"views": "perspective", "window_px": 48},
}


@pytest.mark.parametrize("way", list(INFERENCE))
@pytest.mark.parametrize("size", [(48, 96), (40, 205), (48, 97)])
def test_panoramas_of_any_ratio_by_every_way(tmp_path, way, size):
    photo, truth = stripes(*size)
    found = predicted(photo, tmp_path, inference=INFERENCE[way])
    assert found.classes.shape == size
    borders = np.abs((np.arange(size[1]) * 6 / size[1]) % 1 - 0.5) < 0.3
    if way == "perspective":  # its views blur towards the poles, where stripes are narrow
        borders = borders[None] & (np.abs(np.arange(size[0]) - size[0] / 2) < size[0] / 4)[:, None]
    else:
        borders = np.broadcast_to(borders, size)
    assert (found.classes == truth)[borders].mean() > 0.99
    assert found.scores is not None and found.scores.shape[0] == 3


@pytest.mark.parametrize("size", [(48, 64), (64, 48), (9, 11), (200, 20)])
@pytest.mark.parametrize("faithful", [False, True])
def test_ordinary_photographs_are_taken_too(tmp_path, size, faithful):
    photo, truth = stripes(*size)
    found = predicted(photo, tmp_path, faithful=faithful)
    assert found.classes.shape == size
    if min(size) > 40:
        assert (found.classes == truth).mean() > 0.9


def test_wrapping_can_be_asked_for_or_not(tmp_path):
    photo, _ = stripes(48, 64)
    for wrap in ("always", "never"):
        assert predicted(photo, tmp_path, inference={"wrap": wrap}).classes.shape == (48, 64)


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1", "I;16"])
def test_gray_and_transparent_files_become_colors(tmp_path, mode):
    image = Image.fromarray(stripes(48, 96)[0])
    if mode == "I;16":
        image = Image.fromarray(np.full((48, 96), 30000, np.uint16))
    else:
        image = image.convert(mode)
    image.save(tmp_path / "a.png")
    assert predicted(read_rgb(tmp_path / "a.png"), tmp_path).classes.shape == (48, 96)


def test_what_cannot_be_looked_at_is_refused_with_a_reason(tmp_path):
    photo, _ = stripes(64, 48)
    with pytest.raises(InputError, match="use views windows"):
        predicted(photo, tmp_path, inference={"views": "perspective"})
    settings = small_settings(tmp_path, inference={"scales": (1.0, 2.0)})
    sample = SemanticSample("a", network_image(photo, settings))
    with pytest.raises(InputError, match="comes without"):
        predict_image(sample, brightest_channel, settings)
    with pytest.raises(InputError, match="memory_gb"):
        predicted(photo, tmp_path, inference={"memory_gb": 1e-6})


def test_scores_are_left_out_where_there_is_no_room(tmp_path):
    photo, truth = stripes(48, 256)
    found = predicted(photo, tmp_path, inference={"memory_gb": 5e-5})
    assert found.scores is None and (found.classes == truth).mean() > 0.9
    sample = SemanticSample("a", torch.zeros(3, 2, 2), photo=photo)
    with pytest.raises(InputError, match="raise inference"):
        export_prediction(Item("a", "", {}), sample, found, "scores", NAMES)


def test_exports_are_read_back(tmp_path):
    photo, _ = stripes(60, 120)
    found = predicted(photo, tmp_path)
    sample = SemanticSample("a/b", torch.zeros(3, 2, 2), photo=photo)
    item = Item("a/b", "", {})
    label = export_prediction(item, sample, found, "labels", NAMES)
    (content,) = label.files.values()
    (tmp_path / "l.png").write_bytes(content)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "l.png")), found.classes)
    index = export_index("labels", [label.row], NAMES)["labels.json"].decode()
    assert '"green"' in index and '"a/b.png"' in index and export_index("overlay", [], NAMES) == {}
    (tmp_path / "s.npz").write_bytes(
        export_prediction(item, sample, found, "scores", NAMES).files["scores/a/b.npz"]
    )
    with np.load(tmp_path / "s.npz") as scores:
        assert scores["classes"].tolist() == list(NAMES) and scores["scores"].dtype == np.float16
    overlay = export_prediction(item, sample, found, "overlay", NAMES)
    (tmp_path / "o.png").write_bytes(overlay.files["overlay/a/b.png"])
    assert read_rgb(tmp_path / "o.png").shape == (60, 120, 3)
    with pytest.raises(InputError, match="unknown export format"):
        export_prediction(item, sample, found, "depth", NAMES)
    many = SemanticPrediction(np.full((2, 2), 299, np.int32))
    wide = export_prediction(item, sample, many, "labels", [str(k) for k in range(300)])
    (tmp_path / "w.png").write_bytes(wide.files["labels/a/b.png"])
    assert (np.asarray(Image.open(tmp_path / "w.png")) == 299).all()


def test_pictures_have_one_size_and_a_data_sets_own_colors():
    truth = np.array([[0, 255], [1, 2]], np.uint8)
    sample = SemanticSample("a", torch.zeros(3, 4, 4), photo=stripes(8, 8)[0], truth=truth)
    shown = sample_pictures(
        sample, SemanticPrediction(truth.astype(np.int32)), WILDPASS.class_names
    )
    assert {one.shape for one in shown.values()} == {(2, 2, 3)}
    np.testing.assert_array_equal(shown["truth"][0, 1], [0, 0, 0])
    np.testing.assert_array_equal(palette_of(WILDPASS.class_names), WILDPASS.colors)
    assert palette_of(NAMES).shape == (3, 3)


def scored(benchmark, accuracies):
    """Score panoramas of two classes of which a share of the rows of class 0 is right."""
    rows = []
    for accuracy in accuracies:
        truth = np.zeros((20, 40), np.uint8)
        truth[:, 20:] = 1
        found = truth.astype(np.int32)
        found[: round(20 * (1 - accuracy)), :20] = 1
        sample = SemanticSample("a", torch.zeros(3, 2, 2), truth=truth)
        rows.append(score_image(sample, SemanticPrediction(found), benchmark, 2))
    return compute_split(rows, benchmark, ("x", "y"))


def test_pixels_are_counted_over_all_images_and_panoramas_by_place_too():
    both = scored(WILDPASS_NAME, [1.0, 0.5])
    assert both.values["pixel_accuracy"] == pytest.approx(87.5)
    assert both.per_class["x"]["iou"] == pytest.approx(75.0)
    assert {"miou_area", "miou_seam", "miou_elsewhere", "miou_latitude_0_30"} <= set(both.values)
    coco = scored(COCO_VAL, [1.0, 0.5]).values
    assert {"miou", "pixel_accuracy", "mean_accuracy"} <= set(coco) and "miou_area" not in coco
    assert coco["pixel_accuracy"] == pytest.approx(87.5)


def test_an_image_without_labels_is_not_scored():
    sample = SemanticSample("a", torch.zeros(3, 2, 2))
    with pytest.raises(InputError, match="no labels"):
        score_image(sample, SemanticPrediction(np.zeros((2, 2), np.int32)), WILDPASS_NAME, 2)


def test_every_benchmark_brings_its_words(tmp_path):
    found = {one.name: one for one in ops_benchmarks(small_settings(tmp_path), {})}
    assert list(found) == [
        *("coco_val", "wildpass", "matterport3d", "stanford2d3d_fold1", "stanford2d3d_fold2"),
        *("stanford2d3d_fold3", "stanford2d3d"),
    ]
    assert [len(one.vocabulary) for one in found.values()] == [171, 8, 20, 13, 13, 13, 13]
    assert all(one.use["vocabulary"] == one.vocabulary for one in found.values())
    assert found["stanford2d3d"].mean_of == tuple(f"stanford2d3d_fold{k}" for k in (1, 2, 3))
    offline = small_settings(tmp_path, rerp={"mode": "offline"})
    assert "coco_val_rerp" in {one.name for one in ops_benchmarks(offline, {})}
