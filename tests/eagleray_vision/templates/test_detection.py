"""Boxes of the template: average precision by hand, targets of cells, own data in COCO's layout."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from PIL import Image

from eagleray.task import InputError
from eagleray_vision.templates.detection.boxes import Things, average_precision, iou
from eagleray_vision.templates.detection.data import cell_targets
from eagleray_vision.templates.detection.settings import DataSettings
from eagleray_vision.templates.detection.stages import BoxStage


def things(*boxes, scores=None, kind=0):
    array = np.array(boxes, np.float32).reshape(-1, 4)
    own = np.ones(len(array)) if scores is None else scores
    return Things(array, np.full(len(array), kind), np.array(own, np.float32))


A, B, FAR = (0, 0, 10, 10), (20, 20, 30, 30), (40, 0, 50, 10)


def test_overlap_of_boxes():
    first = np.array([A, (5, 0, 15, 10)], np.float32)
    np.testing.assert_allclose(iou(first, first), [[1, 1 / 3], [1 / 3, 1]], rtol=1e-6)
    assert iou(np.array([A], np.float32), np.array([FAR], np.float32)) == 0


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (things(A, B, scores=[0.9, 0.8]), 1.0),
        (things(A, scores=[0.9]), 0.5),
        (things(FAR, A, B, scores=[0.9, 0.8, 0.7]), 2 / 3),  # precision 1/2, 2/3 at 1/2, 1
        (things(A, A, B, scores=[0.9, 0.8, 0.7]), 0.5 + 0.5 * 2 / 3),  # found twice: wrong
        (things(A, B, scores=[0.9, 0.8], kind=1), 0.0),
        (things(), 0.0),
    ],
)
def test_average_precision_by_hand(found, expected):
    assert average_precision([(things(A, B), found)], 0) == pytest.approx(expected)


def test_boxes_are_ranked_over_pictures_and_without_truth_there_is_no_number():
    pictures = [
        (things(A), things(FAR, scores=[0.9])),
        (things(B), things(B, scores=[0.8])),
    ]
    assert average_precision(pictures, 0) == pytest.approx(0.5 * 0.5)
    assert math.isnan(average_precision(pictures, 1))


def test_a_cell_says_where_the_edges_of_its_thing_are():
    centers, edges = cell_targets(things((4, 8, 12, 20)), 2, (8, 8))
    assert centers[0, 3, 2] == 1 and (centers[0] == -1).sum() == 8 and not centers[1].any()
    left, top, right, bottom = edges[:, 3, 2]
    assert (2.5 - left, 3.5 - top, 2.5 + right, 3.5 + bottom) == (1, 2, 3, 5)


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "train"
    (folder / "images").mkdir(parents=True)
    Image.new("RGB", (40, 20)).save(folder / "images" / "a.png")
    content = {
        "images": [{"id": 7, "file_name": "a.png"}],
        "categories": [{"id": 3, "name": "disc"}, {"id": 4, "name": "tree"}],
        "annotations": [
            {"image_id": 7, "category_id": 3, "bbox": [10, 5, 20, 10]},
            {"image_id": 7, "category_id": 4, "bbox": [0, 0, 5, 5]},
        ],
    }
    (folder / "boxes.json").write_text(json.dumps(content))
    return tmp_path


def test_own_photographs_come_with_their_boxes_at_the_networks_size(root):
    stage = BoxStage(DataSettings(root=str(root), size_px=32), "train")
    (item,) = stage.items({})
    picture = stage.load(item)
    assert picture.photo.shape == (32, 32, 3)
    np.testing.assert_allclose(picture.things.boxes_xyxy, [[8, 8, 24, 24]])
    assert picture.things.classes.tolist() == [1]


def test_a_box_outside_of_its_picture_is_bad_data(root):
    path = root / "train" / "boxes.json"
    path.write_text(path.read_text().replace("[10, 5, 20, 10]", "[30, 5, 20, 10]"))
    stage = BoxStage(DataSettings(root=str(root)), "train")
    with pytest.raises(InputError, match="leaves the picture"):
        stage.load(next(stage.items({})))


def test_a_file_that_is_not_in_cocos_layout_is_named(root):
    (root / "train" / "boxes.json").write_text("[]")
    with pytest.raises(InputError, match=r"boxes\.json is not in COCO's layout"):
        list(BoxStage(DataSettings(root=str(root)), "train").items({}))
