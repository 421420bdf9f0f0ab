"""Cityscapes files, read back by cityscapesScripts."""

import numpy as np
import pytest
from cityscapesscripts.helpers.annotation import Annotation
from cityscapesscripts.helpers.csHelpers import getCsFileInfo
from cityscapesscripts.helpers.labels import id2label, name2label
from cityscapesscripts.preparation.createPanopticImgs import convert2panoptic
from cityscapesscripts.preparation.json2labelImg import createLabelImage
from PIL import Image

from eagleray_toyworld.formats.cityscapes import CityscapesName, cityscapes_files, polygons
from eagleray_toyworld.formats.folder import DatasetFolder

NAME = CityscapesName(split="val", city="toy", sequence=12, frame=34)


@pytest.fixture(scope="module")
def root(tmp_path_factory, street_frame):
    folder = DatasetFolder(tmp_path_factory.mktemp("cityscapes"), {"format": "cityscapes"})
    folder.write(cityscapes_files(street_frame, NAME))
    return folder.root


def _file(root, suffix):
    return next(root.rglob(f"*{suffix}"))


def test_names_are_taken_apart_by_the_official_reader(root):
    info = getCsFileInfo(str(_file(root, "_labelIds.png")))
    assert (info.city, info.sequenceNb, info.frameNb, info.type) == (
        "toy",
        "000012",
        "000034",
        "gtFine",
    )


def test_picture_and_labels_come_back(root, street_frame):
    image = np.asarray(Image.open(_file(root, "_leftImg8bit.png")))
    np.testing.assert_array_equal(image, street_frame.rgb)
    labels = np.asarray(Image.open(_file(root, "_labelIds.png")))
    assert labels.dtype == np.uint8
    to_train = np.array([id2label[k].trainId if k in id2label else 255 for k in range(256)])
    np.testing.assert_array_equal(to_train[labels] % 256, street_frame.train_id)


def test_instances_come_back(root, street_frame):
    values = np.asarray(Image.open(_file(root, "_instanceIds.png"))).astype(np.int64)
    thing = values >= 1000
    np.testing.assert_array_equal(thing, street_frame.instance_id > 0)
    assert all(id2label[int(v) // 1000].hasInstances for v in np.unique(values[thing]))
    assert len(np.unique(values[thing])) == len(np.unique(street_frame.instance_id)) - 1


def test_official_panoptic_conversion_finds_the_same_segments(root, tmp_path, street_frame):
    convert2panoptic(str(root / "gtFine"), str(tmp_path), useTrainId=True, setNames=["val"])
    import json

    content = json.loads((tmp_path / "cityscapes_panoptic_val_trainId.json").read_text())
    segments = content["annotations"][0]["segments_info"]
    found = sorted((s["category_id"], s["area"]) for s in segments)
    want = []
    for train_id in np.unique(street_frame.train_id[street_frame.train_id < 255]):
        mask = street_frame.train_id == train_id
        ids, areas = np.unique(street_frame.instance_id[mask], return_counts=True)
        want += [(int(train_id), int(area)) for _, area in zip(ids, areas, strict=True)]
    assert found == sorted(want)
    assert not any(s["iscrowd"] for s in segments)


def test_polygons_drawn_by_the_official_tool_give_the_label_image(root):
    annotation = Annotation()
    annotation.fromJsonFile(str(_file(root, "_polygons.json")))
    drawn = np.asarray(createLabelImage(annotation, "ids"))
    labels = np.asarray(Image.open(_file(root, "_labelIds.png")))
    assert (annotation.imgWidth, annotation.imgHeight) == labels.shape[::-1]
    assert (drawn == labels).mean() > 0.995
    assert all(item.label in name2label for item in annotation.objects)


def test_polygon_of_a_ring_comes_before_what_it_encloses():
    values = np.full((12, 12), 11, dtype=np.int32)
    values[2:10, 2:10] = 21
    values[4:8, 4:8] = 26003
    values[5, 5] = 7
    labels = [entry["label"] for entry in polygons(values)["objects"]]
    assert labels == ["building", "vegetation", "car", "road"]
