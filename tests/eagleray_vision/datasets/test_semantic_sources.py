"""COCO-Stuff, WildPASS, Matterport3D and Stanford2D3D in their published layouts."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.eagleray_vision.small_data import photo, run_stage

from eagleray_vision.datasets.coco_stuff import COCO_STUFF, UNUSED_IDS, CocoStuffSource
from eagleray_vision.datasets.indoor_panoramas import (
    AREAS,
    MATTERPORT3D,
    STANFORD2D3D,
    IndoorPanoramaSource,
)
from eagleray_vision.datasets.label_stage import PanopticLabelStage
from eagleray_vision.datasets.semantic import panoptic_of_classes
from eagleray_vision.datasets.settings import DatasetSettings
from eagleray_vision.datasets.wildpass import WILDPASS, WildPassSource
from eagleray_vision.panoptic.errors import MissingLabelFileError
from eagleray_vision.panoptic.label_image import read_deep_ids

SIZE = (8, 16)


def write(root: Path, image: str, label: str, values: np.ndarray) -> None:
    for name in (image, label):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(photo(values.shape)).save(root / image)
    Image.fromarray(values.astype(np.uint8)).save(root / label)


def classes(source, root, split):
    """Return the class map of every image that is read, and the rejects."""
    data = DatasetSettings(format="any", root=str(root))
    stage = PanopticLabelStage(source, data, "val", split, faithful=False)
    rows, rejects = run_stage(stage)
    found = {}
    for key in rows.keys():  # noqa: SIM118
        row = rows[key]
        table = np.array([255, *row["categories"][1:]])
        found[key] = table[read_deep_ids(row["id_map"])]
    return found, rejects


def striped(*values: int) -> np.ndarray:
    return np.array(values, np.uint8)[np.arange(SIZE[1]) % len(values)][None].repeat(SIZE[0], 0)


def test_coco_stuff_in_both_encodings(tmp_path):
    write(tmp_path, "images/t/a.jpg", "annotations/t/a.png", striped(0, 181, 12, 255))
    label = "annotations/t/b_labelTrainIds.png"
    write(tmp_path, "images/t/b.jpg", label, striped(0, 170, 11, 255))
    both = striped(1, 1, 1, 1)
    write(tmp_path, "images/t/c.jpg", "annotations/t/c.png", striped(181, 181))
    write(tmp_path, "images/t/c.jpg", "annotations/t/c_labelTrainIds.png", both)
    found, rejects = classes(CocoStuffSource(tmp_path), tmp_path, "t")
    assert not rejects
    # 11 is skipped in the maps, so 12 is class 11
    np.testing.assert_array_equal(found["a"], striped(0, 170, 11, 255))
    np.testing.assert_array_equal(found["b"], striped(0, 170, 11, 255))
    np.testing.assert_array_equal(found["c"], both)


def test_coco_stuffs_names_are_those_of_the_published_text_rows():
    assert COCO_STUFF.num_classes == 171 and not UNUSED_IDS & set(COCO_STUFF.original_ids)
    assert COCO_STUFF.class_names[0] == "person" and COCO_STUFF.class_names[-1] == "wood"
    folder = os.environ.get("EAGLERAY_DATA")
    if not folder:
        pytest.skip("EAGLERAY_DATA is not set: the published names lie there")
    path = Path(folder) / "clip_text_embeddings" / "coco_stuff171_names.json"
    assert list(COCO_STUFF.class_names) == json.loads(path.read_text())


def test_bad_coco_stuff_images_are_rejected_with_the_reason(tmp_path):
    write(tmp_path, "images/t/good.jpg", "annotations/t/good.png", striped(0, 1))
    write(tmp_path, "images/t/unused.jpg", "annotations/t/unused.png", striped(0, 11))
    write(tmp_path, "images/t/beyond.jpg", "annotations/t/beyond_labelTrainIds.png", striped(171))
    write(tmp_path, "images/t/alone.jpg", "annotations/t/other.png", striped(0))
    (tmp_path / "images/t/.DS_Store").write_bytes(b"not a photograph")
    found, rejects = classes(CocoStuffSource(tmp_path), tmp_path, "t")
    assert list(found) == ["good"]
    assert "labels [11] are beyond the class list" in str(rejects["unused"])
    assert "labels [171] are beyond the class list" in str(rejects["beyond"])
    # pairs go by name: the label that is left over is nobody's
    assert "alone_labelTrainIds.png: the label file does not exist" in str(rejects["alone"])
    with pytest.raises(MissingLabelFileError, match="check the root"):
        list(CocoStuffSource(tmp_path).labeled_images("absent"))


def test_wildpass_with_the_authors_labels_and_with_converted_ones(tmp_path):
    authors = striped(4, 5, 8, 11, 12, 17, 13, 24, 0, 255)
    wanted = striped(0, 1, 2, 3, 4, 5, 6, 7, 255, 255)
    write(tmp_path, "images/val/a.png", "annotations/val/a.png", authors)
    write(tmp_path, "images/val/b.png", "annotations/val/b_labelTrainIds.png", wanted)
    write(tmp_path, "images/val/c.png", "annotations/val/c_labelTrainIds.png", authors)
    write(tmp_path, "images/val/d.png", "annotations/val/d.png", striped(25))
    found, rejects = classes(WildPassSource(tmp_path), tmp_path, "val")
    assert list(found) == ["a", "b", "c"]
    for one in found.values():
        np.testing.assert_array_equal(one, wanted)
    assert "labels [25] are beyond the class list" in str(rejects["d"])
    assert WILDPASS.class_names == (
        *("car", "truck", "bus", "road", "sidewalk", "person", "curb", "crosswalk"),
    )


@pytest.mark.parametrize(("space", "split"), [(MATTERPORT3D, "val"), (STANFORD2D3D, AREAS[0])])
def test_indoor_panoramas_are_shifted_down_by_one(tmp_path, space, split):
    last = space.num_classes
    write(tmp_path, f"{split}/rgb/a.png", f"{split}/semantic/a.png", striped(0, 1, last, 255))
    write(tmp_path, f"{split}/rgb/b.png", f"{split}/semantic/b.png", striped(last + 1))
    found, rejects = classes(IndoorPanoramaSource(tmp_path, space), tmp_path, split)
    np.testing.assert_array_equal(found["a"], striped(255, 0, last - 1, 255))
    assert f"labels [{last + 1}] are beyond the class list" in str(rejects["b"])
    assert (len(AREAS), MATTERPORT3D.num_classes, STANFORD2D3D.num_classes) == (3, 20, 13)


def test_a_class_is_one_segment():
    found = panoptic_of_classes(np.array([[3, 255, 3], [0, 0, 255]]), 4)
    assert found.categories.tolist() == [255, 0, 3]
    np.testing.assert_array_equal(found.class_map(255), [[3, 255, 3], [0, 0, 255]])
    empty = panoptic_of_classes(np.full((2, 2), 255), 4)
    assert empty.categories.tolist() == [255]
