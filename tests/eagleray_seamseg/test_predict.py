"""A user's own files, and exports that read back."""

import io
import json

import numpy as np
import pytest
import torch
from PIL import Image
from tests.eagleray_seamseg.small_data import cityscapes_settings, photo, small_cityscapes

from eagleray.task import InputError
from eagleray_seamseg.model.prediction import PanopticInference
from eagleray_seamseg.predict import (
    EXPORT_FORMATS,
    PanopticPrediction,
    fuse_inference,
    fusion_thresholds,
    list_inputs,
)
from eagleray_seamseg.task import SeamlessTask
from eagleray_vision.panoptic.cityscapes import cityscapes_to_indexed
from eagleray_vision.panoptic.coco_panoptic import read_coco_panoptic, read_indexed
from eagleray_vision.panoptic.label_image import read_deep_ids
from eagleray_vision.panoptic.label_space import CITYSCAPES
from eagleray_vision.panoptic.panoptic_map import indexed_panoptic


@pytest.fixture
def task(tmp_path):
    return SeamlessTask(cityscapes_settings(small_cityscapes(tmp_path / "data")))


def write_photos(folder):
    (folder / "deep" / "er").mkdir(parents=True)
    Image.fromarray(photo()).save(folder / "a.PNG")
    Image.fromarray(photo()).save(folder / "a.jpg")
    Image.fromarray(photo()[..., 0]).save(folder / "deep" / "er" / "grey.jpeg")
    Image.fromarray(np.dstack([photo(), photo()[..., :1]])).save(folder / "deep" / "alpha.png")
    (folder / "notes.txt").write_text("no image")
    return folder


def test_folders_are_searched_and_keys_stay_apart(tmp_path):
    folder = write_photos(tmp_path / "photos")
    keys = [item.key for item in list_inputs([folder])]
    assert keys == ["a", "a.jpg", "deep/alpha", "deep/er/grey"]
    assert [item.key for item in list_inputs([folder / "a.jpg"])] == ["a"]
    with pytest.raises(InputError, match="does not exist"):
        list(list_inputs([tmp_path / "gone"]))


def test_every_photograph_becomes_a_sample(task, tmp_path):
    for item in task.inputs([write_photos(tmp_path / "photos")]):
        sample = task.load_input(item)
        assert sample.image.shape == (3, 48, 72)
        assert sample.output_hw == (64, 96)
        assert sample.truth is None


def test_damaged_file_is_an_input_error(task, tmp_path):
    path = tmp_path / "bad.jpg"
    path.write_bytes(b"\xff\xd8\xff")
    (item,) = task.inputs([path])
    with pytest.raises(InputError):
        task.load_input(item)


def test_original_ignores_the_longest_side(tmp_path):
    root = small_cityscapes(tmp_path / "data")
    path = tmp_path / "wide.png"
    Image.fromarray(photo((40, 160))).save(path)
    for faithful, expected in ((True, (48, 192)), (False, (24, 96))):
        task = SeamlessTask(cityscapes_settings(root, faithful=faithful))
        (item,) = task.inputs([path])
        assert task.load_input(item).network_hw == expected


def street_prediction():
    ids = np.zeros((64, 96), int)
    ids[:30], ids[30:60] = 4, 5
    ids[20:40, 10:30], ids[20:40, 40:70], ids[40:50, 80:90] = 1, 2, 3
    ids[45:50, 2:9] = 6
    fused = indexed_panoptic(
        ids,
        [255, 13, 13, 11, 10, 0, 12],
        [0, 0, 0, 0, 0, 0, 1],
        [0, 0.9, 0.8, 0.7, 1, 1, 1],
    )
    inference = PanopticInference(
        torch.tensor([[1.0, 2.0, 9.0, 9.0]]),
        torch.tensor([2]),
        torch.tensor([0.9]),
        torch.ones(1, 28, 28),
        torch.zeros(48, 72, dtype=torch.int64),
        torch.zeros(19, 12, 18),
    )
    return PanopticPrediction(fused, fused.class_map(0), inference)


@pytest.fixture
def exported(task, tmp_path):
    (item,) = task.inputs([write_photos(tmp_path / "photos") / "a.jpg"])
    sample, prediction = task.load_input(item), street_prediction()
    return {name: task.export(item, sample, prediction, name) for name in EXPORT_FORMATS}


def test_coco_panoptic_reads_back(task, exported, tmp_path):
    record = exported["coco_panoptic"]
    index = task.export_index("coco_panoptic", [json.loads(json.dumps(dict(record.row)))])
    path = tmp_path / "out.json"
    path.write_bytes(index["coco_panoptic.json"])
    content = read_coco_panoptic(path)
    (image,) = content.images
    assert image.file_name == "a.jpg"
    assert len(content.categories) == 19
    panoptic = read_indexed(
        record.files[f"coco_panoptic/{image.label_file_name}"],
        image.segments,
        CITYSCAPES.class_of_original(),
        size_hw=image.size_hw,
        void_class=255,
    )
    # the crowd, seen by the semantic head alone, is void
    assert panoptic.categories.tolist() == [255, 13, 13, 11, 10, 0]
    expected = street_prediction().fused
    assert np.array_equal(panoptic.id_map, np.where(expected.id_map == 6, 0, expected.id_map))


def test_cityscapes_instance_ids_read_back(exported):
    (content,) = exported["cityscapes_instance_ids"].files.values()
    values = read_deep_ids(content)
    assert set(np.unique(values)) == {0, 7, 23, 24000, 26000, 26001}
    panoptic, _ = cityscapes_to_indexed(values)
    visible = street_prediction().fused
    same = visible.class_map(255)
    same[visible.id_map == 6] = 255
    assert np.array_equal(panoptic.class_map(255), same)


def test_raw_file_opens_without_trust_and_knows_the_sizes(exported):
    (content,) = exported["raw"].files.values()
    found = torch.load(io.BytesIO(content), weights_only=True)
    assert found["original_size"] == [64, 96]
    assert found["input_size"] == [48, 72]
    assert (found["num_stuff"], found["num_thing"]) == (11, 8)
    assert found["msk_pred"].shape == (1, 28, 28)
    assert found["sem_pred"].shape == (48, 72)


def test_overlay_has_the_size_of_the_photograph(exported):
    (content,) = exported["overlay"].files.values()
    with Image.open(io.BytesIO(content)) as image:
        assert (image.size, image.format) == ((96, 64), "JPEG")


def test_unknown_format_is_refused(task, tmp_path):
    (item,) = task.inputs([write_photos(tmp_path / "photos") / "a.jpg"])
    with pytest.raises(InputError, match="overlay"):
        task.export(item, task.load_input(item), street_prediction(), "pdf")


def test_map_is_fused_at_the_size_that_is_asked_for(task):
    inference = street_prediction().inference
    small = fuse_inference(inference, (48, 72), (48, 72), task.settings, 11)
    large = fuse_inference(inference, (48, 72), (96, 144), task.settings, 11)
    assert small.fused.categories.tolist() == large.fused.categories.tolist() == [255, 13, 0]
    ratio = large.fused.areas() / small.fused.areas().clip(1)
    assert ratio[1] == pytest.approx(4, rel=0.1)
    assert large.semantic_classes.shape == (96, 144)


def test_least_area_is_one_of_the_network_input(task):
    assert fusion_thresholds(task.settings, (48, 72), (48, 72)).min_stuff_area_px == 30
    assert fusion_thresholds(task.settings, (48, 72), (96, 144)).min_stuff_area_px == 120
