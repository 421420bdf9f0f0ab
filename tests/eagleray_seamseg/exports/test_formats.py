"""Export formats: sizes, names, contents, and what they refuse."""

import dataclasses
import io
import json

import msgpack
import numpy as np
import pytest
import torch
from PIL import Image
from tests.eagleray_seamseg.small_settings import cityscapes_settings
from tests.eagleray_vision.small_data import photo, small_cityscapes

from eagleray.task import InputError, SettingsError
from eagleray_seamseg.exports import EXPORT_FORMATS
from eagleray_seamseg.task import SeamlessTask
from eagleray_vision.exports import check_export_format
from eagleray_vision.exports.coco_panoptic import coco_panoptic_json
from eagleray_vision.exports.instance_ids import instance_values
from eagleray_vision.inference.prediction import PanopticInference, PanopticPrediction
from eagleray_vision.panoptic.cityscapes import cityscapes_to_indexed
from eagleray_vision.panoptic.coco_panoptic import read_coco_panoptic, read_indexed
from eagleray_vision.panoptic.label_image import read_deep_ids
from eagleray_vision.panoptic.label_space import CITYSCAPES, VOID_CLASS
from eagleray_vision.panoptic.panoptic_map import indexed_panoptic


@pytest.fixture
def task(tmp_path):
    return SeamlessTask(cityscapes_settings(small_cityscapes(tmp_path / "data")))


def street_map(size_hw=(64, 96)):
    """Return two cars, a person, road, sky and a region of riders that no detection covers."""
    ids = np.zeros((64, 96), int)
    ids[:30], ids[30:60] = 4, 5
    ids[20:40, 10:30], ids[20:40, 40:70], ids[40:50, 80:90] = 1, 2, 3
    ids[45:50, 2:9] = 6
    rows = np.arange(size_hw[0]) * 64 // size_hw[0]
    columns = np.arange(size_hw[1]) * 96 // size_hw[1]
    return indexed_panoptic(
        ids[rows][:, columns],
        [255, 13, 13, 11, 10, 0, 12],
        [0, 0, 0, 0, 0, 0, 1],
        [0, 0.9, 0.8, 0.7, 1, 1, 1],
    )


def street_prediction(size_hw=(64, 96)):
    inference = PanopticInference(
        torch.tensor([[1.0, 2.0, 9.0, 9.0]]),
        torch.tensor([2]),
        torch.tensor([0.9]),
        torch.ones(1, 28, 28),
        torch.zeros(48, 72, dtype=torch.int64),
        torch.zeros(0),
    )
    fused = street_map(size_hw)
    return PanopticPrediction(fused, fused.class_map(0), inference)


def one_item(task, folder, name="a.jpg", image=None):
    path = folder / "photos" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    (Image.fromarray(photo()) if image is None else image).save(path)
    (item,) = task.inputs([folder / "photos"])
    return item


@pytest.fixture
def exported(task, tmp_path):
    item = one_item(task, tmp_path, "deep/er/a.jpg")
    sample, prediction = task.load_input(item), street_prediction()
    return {name: task.export(item, sample, prediction, name) for name in EXPORT_FORMATS}


def test_sub_folders_are_kept(exported):
    assert [name for record in exported.values() for name in record.files] == [
        "overlay/deep/er/a.jpg",
        "coco_panoptic/deep/er/a.png",
        "instance_ids/deep/er/a_instanceIds.png",
        "cityscapes_panoptic/deep/er/a_panoptic.png",
        "raw/deep/er/a.pth.tar",
    ]


def test_coco_panoptic_reads_back(task, exported, tmp_path):
    record = exported["coco_panoptic"]
    index = task.export_index("coco_panoptic", [json.loads(json.dumps(dict(record.row)))])
    path = tmp_path / "out.json"
    path.write_bytes(index["coco_panoptic.json"])
    content = read_coco_panoptic(path)
    (image,) = content.images
    assert (image.image_id, image.file_name) == ("deep/er/a", "deep/er/a.jpg")
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


def test_segments_of_coco_panoptic_are_those_of_the_png(exported):
    record = exported["coco_panoptic"]
    (content,) = record.files.values()
    pixels = np.asarray(Image.open(io.BytesIO(content))).astype(int)
    ids = pixels @ [1, 256, 65536]
    entries = record.row["annotation"]["segments_info"]
    assert {entry["id"] for entry in entries} == set(np.unique(ids)) - {0}
    for entry in entries:
        rows, columns = np.nonzero(ids == entry["id"])
        x, y, width, height = entry["bbox"]
        assert entry["area"] == len(rows)
        assert (x, y) == (columns.min(), rows.min())
        assert (x + width, y + height) == (columns.max() + 1, rows.max() + 1)
        assert entry["iscrowd"] == 0
        assert all(type(value) is int for value in [entry["id"], *entry["bbox"]])


def test_json_over_many_files_is_written_entry_by_entry():
    class Rows(list):
        reads = 0

        def __iter__(self):
            Rows.reads += 1
            return super().__iter__()

    rows = Rows({"image": {"id": str(k)}, "annotation": {"image_id": str(k)}} for k in range(3))
    content = json.loads(coco_panoptic_json(rows, CITYSCAPES)["coco_panoptic.json"])
    assert [image["id"] for image in content["images"]] == ["0", "1", "2"]
    assert [one["image_id"] for one in content["annotations"]] == ["0", "1", "2"]
    assert content["categories"][0] == {
        "id": 7,
        "name": "road",
        "isthing": 0,
        "color": [128, 64, 128],
    }
    assert Rows.reads == 2


def test_json_over_nothing_has_its_lists():
    content = json.loads(coco_panoptic_json([], CITYSCAPES)["coco_panoptic.json"])
    assert (content["images"], content["annotations"]) == ([], [])
    assert len(content["categories"]) == 19


def test_cityscapes_instance_ids_read_back(exported):
    (content,) = exported["cityscapes_instance_ids"].files.values()
    values = read_deep_ids(content)
    assert set(np.unique(values)) == {0, 7, 23, 24000, 26000, 26001}
    panoptic, _ = cityscapes_to_indexed(values)
    visible = street_prediction().fused
    same = visible.class_map(255)
    same[visible.id_map == 6] = 255
    assert np.array_equal(panoptic.class_map(255), same)


def test_instance_ids_refuse_class_lists_that_they_cannot_hold(task):
    check_export_format("cityscapes_instance_ids", CITYSCAPES)
    task.check_format("cityscapes_instance_ids")
    from_zero = dataclasses.replace(CITYSCAPES, original_ids=tuple(range(19)))
    large = dataclasses.replace(CITYSCAPES, original_ids=(*range(1, 19), 65))
    instance = dataclasses.replace(CITYSCAPES, original_ids=(1000, *range(1, 19)))
    for space, found in ((from_zero, r"\[0\]"), (large, r"\[65\]"), (instance, r"\[1000\]")):
        with pytest.raises(SettingsError, match=f"{found}.*coco_panoptic instead"):
            check_export_format("cityscapes_instance_ids", space)
        check_export_format("coco_panoptic", space)


def test_more_instances_than_numbers_are_refused():
    ids = np.arange(1, 1002)[None]
    many = indexed_panoptic(ids, [255, *[13] * 1001][: ids.max() + 1], [0] * 1002)
    with pytest.raises(InputError, match=r"x\.jpg: more than 1000 instances of 'car'"):
        instance_values(many, CITYSCAPES, "x.jpg")
    fewer = indexed_panoptic(np.arange(1, 1001)[None], [255, *[13] * 1000], [0] * 1001)
    assert instance_values(fewer, CITYSCAPES, "x").max() == 26999


def test_raw_file_opens_without_trust_and_knows_sizes_and_classes(exported):
    (content,) = exported["raw"].files.values()
    found = torch.load(io.BytesIO(content), weights_only=True)
    assert found["original_size"] == [64, 96]
    assert found["input_size"] == [48, 72]
    assert (found["num_stuff"], found["num_thing"]) == (11, 8)
    assert found["classes"] == list(CITYSCAPES.class_names)
    assert found["original_ids"] == list(CITYSCAPES.original_ids)
    assert found["msk_pred"].shape == (1, 28, 28)
    assert found["sem_pred"].shape == (48, 72)
    assert found["bbx_pred"].tolist() == [[1, 2, 9, 9]]
    assert (found["cls_pred"].tolist(), found["obj_pred"].tolist()) == ([2], [pytest.approx(0.9)])


def test_raw_file_without_detections_says_so_as_the_original(task, tmp_path):
    item = one_item(task, tmp_path)
    prediction = street_prediction()
    empty = PanopticInference(
        torch.zeros(0, 4),
        torch.zeros(0, dtype=torch.int64),
        torch.zeros(0),
        torch.zeros(0, 28, 28),
        prediction.inference.semantic_classes,
        torch.zeros(0),
    )
    prediction = PanopticPrediction(prediction.fused, prediction.semantic_classes, empty)
    (content,) = task.export(item, task.load_input(item), prediction, "raw").files.values()
    found = torch.load(io.BytesIO(content), weights_only=True)
    assert [found[key] for key in ("bbx_pred", "cls_pred", "obj_pred", "msk_pred")] == [None] * 4


def test_raw_file_holds_its_own_masks_only(task, tmp_path):
    item = one_item(task, tmp_path)
    batch = torch.zeros(500, 28, 28)
    inference = dataclasses.replace(street_prediction().inference, mask_logits=batch[7:8])
    whole = street_prediction()
    prediction = PanopticPrediction(whole.fused, whole.semantic_classes, inference)
    (content,) = task.export(item, task.load_input(item), prediction, "raw").files.values()
    assert len(content) < batch.nbytes / 10


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P", "1", "LA"])
def test_overlay_of_any_photograph_has_its_size(task, tmp_path, mode):
    item = one_item(task, tmp_path, "a.png", Image.fromarray(photo()).convert(mode))
    record = task.export(item, task.load_input(item), street_prediction(), "overlay")
    (content,) = record.files.values()
    with Image.open(io.BytesIO(content)) as image:
        assert (image.size, image.format, image.mode) == ((96, 64), "JPEG", "RGB")


@pytest.mark.parametrize("format", ["overlay", "coco_panoptic", "cityscapes_instance_ids"])
def test_exports_of_a_turned_photograph_have_the_size_that_is_seen(task, tmp_path, format):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "photos" / "a.jpg"
    path.parent.mkdir()
    Image.fromarray(photo()).save(path, exif=exif)
    (item,) = task.inputs([path])
    record = task.export(item, task.load_input(item), street_prediction((96, 64)), format)
    (content,) = record.files.values()
    with Image.open(io.BytesIO(content)) as image:
        assert image.size == (64, 96)
        assert image.getexif().get(0x0112, 1) == 1


@pytest.mark.parametrize("format", ["coco_panoptic", "cityscapes_instance_ids"])
def test_maps_of_the_network_size_are_exported_at_the_size_of_the_photograph(
    task, tmp_path, format
):
    item = one_item(task, tmp_path)
    record = task.export(item, task.load_input(item), street_prediction((32, 48)), format)
    (content,) = record.files.values()
    with Image.open(io.BytesIO(content)) as image:
        assert image.size == (96, 64)


def test_photograph_too_long_for_a_jpeg_is_refused(task, tmp_path):
    item = one_item(task, tmp_path)
    sample = dataclasses.replace(task.load_input(item), photo=np.zeros((1, 65_501, 3), np.uint8))
    with pytest.raises(InputError, match=r"a: 65501 x 1 .* JPEG"):
        task.export(item, sample, street_prediction(), "overlay")


def test_unknown_format_is_refused(task, tmp_path):
    item = one_item(task, tmp_path)
    with pytest.raises(InputError, match="overlay"):
        task.export(item, task.load_input(item), street_prediction(), "pdf")


@pytest.mark.parametrize("images", [[], None])
def test_class_list_comes_from_metadata_where_there_is_no_data_set(tmp_path, images):
    meta = {
        "num_stuff": 1,
        "num_thing": 2,
        "categories": ["sky", "car", "bus"],
        "palette": [[1, 2, 3]] * 256,
        "original_ids": [5, 7, 9],
    }
    content = {"meta": meta} if images is None else {"meta": meta, "images": images}
    path = tmp_path / "metadata.bin"
    path.write_bytes(msgpack.packb(content))
    settings = cityscapes_settings(tmp_path / "nowhere")
    settings = settings.model_copy(
        update={"data": settings.data.model_copy(update={"metadata": str(path)})}
    )
    task = SeamlessTask(settings)
    network = task.build()
    assert (network.num_stuff, network.num_thing) == (1, 2)
    item = one_item(task, tmp_path)
    whole = street_prediction()
    fused = indexed_panoptic(np.full((64, 96), 1), [VOID_CLASS, 2], [0, 0])
    prediction = PanopticPrediction(fused, whole.semantic_classes, whole.inference)
    record = task.export(item, task.load_input(item), prediction, "coco_panoptic")
    assert record.row["annotation"]["segments_info"][0]["category_id"] == 9
