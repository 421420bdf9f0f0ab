"""The label stage: records of every format, and every bad input becomes one reject."""

import io
import json
import pickle

import msgpack
import numpy as np
import pytest
from PIL import Image
from tests.eagleray_vision.small_data import (
    CAR,
    instance_ids,
    photo,
    run_stage,
    small_cityscapes,
    small_coco,
    write_frame,
)

from eagleray_seamseg.settings import DataSettings
from eagleray_seamseg.stages import label_stage
from eagleray_vision.images.errors import ImageError, UnreadableImageError
from eagleray_vision.panoptic.errors import (
    EmptySegmentError,
    LabelSizeError,
    MissingLabelFileError,
    SegmentListError,
    UnknownCategoryError,
    UnlistedSegmentError,
)
from eagleray_vision.panoptic.label_image import deep_ids_png, read_deep_ids, rgb_ids_png


def cityscapes_stage(root, split="train", **changes):
    data = DataSettings(format="cityscapes", root=str(root), **changes)
    return label_stage(data, "train", split, faithful=False)


def jpeg(image, **options):
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", **options)
    return buffer.getvalue()


def test_cityscapes_frames_become_records(tmp_path):
    rows, rejects = run_stage(cityscapes_stage(small_cityscapes(tmp_path)))
    assert not rejects
    assert rows.keys() == ["aachen_000000_000019", "bonn_000001_000019"]
    row = rows["aachen_000000_000019"]
    assert row["image_path"] == "leftImg8bit/train/aachen/aachen_000000_000019_leftImg8bit.png"
    assert (row["height"], row["width"]) == (64, 96)
    assert row["categories"] == [255, 0, 10, 11, 11, 13, 13]
    assert row["is_crowd"] == [False, False, False, True, False, False, False]
    ids = read_deep_ids(row["id_map"])
    assert np.array_equal(ids == 5, instance_ids() == CAR * 1000)
    assert rows.summary()["portraits"] == ["bonn_000001_000019"]
    assert rows.summary()["segments"]["car"] == 4


GOOD = ("grey", "deep", "cmyk", "palette", "alpha", "no_thing")


def test_every_kind_of_photograph_is_read_and_every_bad_input_is_one_reject(tmp_path):
    rgb = Image.fromarray(photo())
    deep = photo()[..., 0].astype(np.uint16) * 257
    palette = io.BytesIO()
    rgb.quantize(16).save(palette, "PNG")
    truncated = jpeg(rgb, quality=95)
    unknown = instance_ids()
    unknown[0, 0] = 200
    frames = {
        "grey": {"image": photo()[..., 0]},
        "deep": {"image": deep},
        "cmyk": {"image": jpeg(rgb.convert("CMYK"))},
        "palette": {"image": palette.getvalue()},
        "alpha": {"image": np.dstack([photo(), photo()[..., :1]])},
        "no_thing": {"label": np.full((64, 96), 7)},
        "truncated": {"image": truncated[: len(truncated) // 2]},
        "empty_photo": {"image": b""},
        "empty_label": {"label": b""},
        "other_size": {"image": photo((64, 90))},
        "unknown_label": {"label": unknown},
        "colored_label": {"label": rgb_ids_png(instance_ids())},
        "text": {"label": b"404 not found"},
    }
    for name, content in frames.items():
        write_frame(tmp_path, f"{name.replace('_', '-')}_000000_000000", **content)
    write_frame(tmp_path, "lost_000000_000000")
    (tmp_path / "gtFine/train/lost/lost_000000_000000_gtFine_instanceIds.png").unlink()

    rows, rejects = run_stage(cityscapes_stage(tmp_path))
    done = rows.keys()
    assert {key.split("_")[0].replace("-", "_") for key in done} == set(GOOD)
    found = {key.split("_")[0].replace("-", "_"): error for key, error in rejects.items()}
    assert {name: type(error).__name__ for name, error in found.items()} == {
        "truncated": "UnreadableImageError",
        "empty_photo": "UnreadableImageError",
        "empty_label": "UnreadableImageError",
        "other_size": "LabelSizeError",
        "unknown_label": "UnknownCategoryError",
        "colored_label": "LabelFormatError",
        "text": "UnreadableImageError",
        "lost": "MissingLabelFileError",
    }
    assert len(rows) + len(rejects) == len(frames) + 1


def test_photographs_need_not_be_decoded(tmp_path):
    whole = jpeg(Image.fromarray(photo()), quality=95)
    write_frame(tmp_path, "half_000000_000000", image=whole[: len(whole) // 2])
    assert run_stage(cityscapes_stage(tmp_path, check_images=True))[1]
    assert not run_stage(cityscapes_stage(tmp_path, check_images=False))[1]


def test_reduced_labels_are_accepted_on_request_and_by_whole_factors_only(tmp_path):
    write_frame(tmp_path, "half_000000_000000", image=photo((128, 192)))
    write_frame(tmp_path, "odd_000000_000000", image=photo((100, 150)))
    assert len(run_stage(cityscapes_stage(tmp_path))[1]) == 2
    rows, rejects = run_stage(cityscapes_stage(tmp_path, reduced_labels=True))
    assert rows.keys() == ["half_000000_000000"]
    assert isinstance(rejects["odd_000000_000000"], LabelSizeError)
    assert (rows["half_000000_000000"]["height"], rows["half_000000_000000"]["width"]) == (128, 192)


def test_identity_follows_the_files(tmp_path):
    small_cityscapes(tmp_path)
    before = {item.key: item.identity for item in cityscapes_stage(tmp_path).items({})}
    changed = instance_ids()
    changed[0, :50] = 8
    write_frame(tmp_path, "aachen_000000_000019", label=changed)
    after = {item.key: item.identity for item in cityscapes_stage(tmp_path).items({})}
    assert before["bonn_000001_000019"] == after["bonn_000001_000019"]
    assert before["aachen_000000_000019"] != after["aachen_000000_000019"]


def test_results_do_not_depend_on_where_the_data_lie(tmp_path):
    first = cityscapes_stage(small_cityscapes(tmp_path / "here"))
    second = cityscapes_stage(small_cityscapes(tmp_path / "there"))
    assert first.settings() == second.settings()
    rows, others = run_stage(first)[0], run_stage(second)[0]
    keys = rows.keys()
    assert keys == others.keys()
    assert [rows[key] for key in keys] == [others[key] for key in keys]


def test_missing_split_says_where_it_was_looked_for(tmp_path):
    with pytest.raises(MissingLabelFileError, match="nowhere"):
        run_stage(cityscapes_stage(small_cityscapes(tmp_path), split="nowhere"))


def test_stage_can_be_pickled(tmp_path):
    stage = pickle.loads(pickle.dumps(cityscapes_stage(small_cityscapes(tmp_path))))
    assert len(run_stage(stage)[0]) == 2


def coco_stage(root, **changes):
    data = DataSettings(format="coco_panoptic", root=str(root), val_split="val", **changes)
    return label_stage(data, "val", "val", faithful=False)


def test_coco_images_become_records(tmp_path):
    stage = coco_stage(small_coco(tmp_path))
    assert stage.settings().classes == ("tree-merged", "person")
    rows, rejects = run_stage(stage)
    assert not rejects
    assert rows["000001"]["categories"] == [255, 0, 1]
    assert rows["000002"]["categories"] == [255, 0]
    assert rows["000001"]["image_path"] == "val/000001.jpg"


def edit_coco(root, change):
    path = root / "annotations" / "panoptic_val.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda c: c["annotations"][0].update(file_name="gone.png"), MissingLabelFileError),
        (lambda c: c["images"][0].update(file_name="gone.jpg"), UnreadableImageError),
        (lambda c: c["images"][0].update(height=41), LabelSizeError),
        (lambda c: c["annotations"][0]["segments_info"].pop(), UnlistedSegmentError),
        (
            lambda c: c["annotations"][0]["segments_info"].append({"id": 5, "category_id": 1}),
            EmptySegmentError,
        ),
        (
            lambda c: c["annotations"][0]["segments_info"][0].update(category_id=99),
            UnknownCategoryError,
        ),
        (
            lambda c: c["annotations"][0]["segments_info"].append({"id": 1, "category_id": 1}),
            SegmentListError,
        ),
        (lambda c: c["annotations"][0]["segments_info"][0].pop("id"), SegmentListError),
    ],
    ids=[
        "label gone",
        "photo gone",
        "size",
        "id not listed",
        "no pixels",
        "category",
        "twice",
        "key",
    ],
)
def test_bad_coco_entry_is_one_reject(tmp_path, change, error):
    edit_coco(small_coco(tmp_path), change)
    rows, rejects = run_stage(coco_stage(tmp_path))
    assert len(rows) == 1
    assert [type(one) for one in rejects.values()] == [error]


def test_identity_of_a_coco_image_follows_its_segments(tmp_path):
    small_coco(tmp_path)
    before = {item.key: item.identity for item in coco_stage(tmp_path).items({})}
    edit_coco(tmp_path, lambda c: c["annotations"][0]["segments_info"][0].update(iscrowd=1))
    after = {item.key: item.identity for item in coco_stage(tmp_path).items({})}
    assert before["000001"] != after["000001"]
    assert before["000002"] == after["000002"]


def test_vistas_images_become_records(tmp_path):
    labels = [
        {"name": "person", "color": [1, 2, 3], "evaluate": True, "instances": True},
        {"name": "road", "color": [4, 5, 6], "evaluate": True, "instances": False},
    ]
    (tmp_path / "config.json").write_text(json.dumps({"labels": labels}))
    for folder in ("images", "instances"):
        (tmp_path / "training" / folder).mkdir(parents=True)
    ids = np.full((20, 30), 256)
    ids[5:9, 5:9] = 3
    Image.fromarray(photo((20, 30))).save(tmp_path / "training/images/a.jpg")
    (tmp_path / "training/instances/a.png").write_bytes(deep_ids_png(ids))
    data = DataSettings(format="vistas", root=str(tmp_path))
    rows, rejects = run_stage(label_stage(data, "train", "training", faithful=True))
    assert not rejects
    assert rows["a"]["categories"] == [255, 1, 0]


def write_seamless(root):
    for folder in ("img", "msk", "lst"):
        (root / folder).mkdir(parents=True)
    ids = np.zeros((20, 30), np.int64)
    ids[:10], ids[10:, :9] = 1, 2
    entries = [
        {"id": name, "size": [20, 30], "cat": [255, 0, 1], "iscrowd": [0, 0, 1]}
        for name in ("a", "b", "c")
    ]
    for name in "ab":
        Image.fromarray(photo((20, 30))).save(root / "img" / f"{name}.jpg")
        (root / "msk" / f"{name}.png").write_bytes(deep_ids_png(ids))
    meta = {
        "categories": ["road", "car"],
        "num_stuff": 1,
        "num_thing": 1,
        "palette": [[1, 1, 1]] * 256,
        "original_ids": [7, 26],
    }
    (root / "metadata.bin").write_bytes(msgpack.packb({"images": entries, "meta": meta}))
    (root / "lst" / "val.txt").write_text("b\na\n")
    return root


def test_data_set_converted_for_the_original_is_read(tmp_path):
    data = DataSettings(format="seamless", root=str(write_seamless(tmp_path)))
    stage = label_stage(data, "val", "val", faithful=True)
    rows, rejects = run_stage(stage)
    assert not rejects
    assert rows.keys() == ["a", "b"]
    assert rows["b"]["is_crowd"] == [False, False, True]
    assert stage.settings().original_ids == (7, 26)
    with pytest.raises(MissingLabelFileError, match=r"train\.txt"):
        run_stage(label_stage(data, "train", "train", faithful=True))


def test_damaged_metadata_are_refused(tmp_path):
    write_seamless(tmp_path)
    data = DataSettings(format="seamless", root=str(tmp_path))
    (tmp_path / "metadata.bin").write_bytes(b"\xc1")
    with pytest.raises(SegmentListError, match="metadata"):
        label_stage(data, "val", "val", faithful=True).settings()
    (tmp_path / "metadata.bin").unlink()
    with pytest.raises(MissingLabelFileError, match="metadata"):
        label_stage(data, "val", "val", faithful=True).settings()


def test_all_image_errors_are_input_errors():
    assert issubclass(ImageError, ValueError)
