"""The original's converted layout: what is read is what was written, and bad folders say so."""

import json

import numpy as np
import pytest
from PIL import Image
from tests.eagleray_efficientps.converted_folder import convert
from tests.eagleray_vision.small_data import (
    CAR,
    PERSON,
    ROAD,
    instance_ids,
    photo,
    run_stage,
    small_cityscapes,
    small_coco,
    write_frame,
)

from eagleray.task import SettingsError
from eagleray_efficientps.conversion.converted_frame import convert_frame
from eagleray_efficientps.conversion.source import ConvertedSource, panoptic_of_map
from eagleray_efficientps.settings import DataSettings
from eagleray_efficientps.stages import label_stages
from eagleray_vision.panoptic.cityscapes import cityscapes_to_indexed
from eagleray_vision.panoptic.errors import (
    MissingLabelFileError,
    SegmentListError,
    UnknownCategoryError,
)
from eagleray_vision.panoptic.label_image import read_deep_ids, rgb_ids_png
from eagleray_vision.panoptic.label_space import CITYSCAPES
from eagleray_vision.panoptic.panoptic_map import indexed_panoptic


def read_again(folder):
    data = DataSettings(
        format="efficientps", root=str(folder), train_split="train", val_split="val"
    )
    return {stage.label: run_stage(stage) for stage in label_stages(data)}


def panoptic_of(row):
    return indexed_panoptic(read_deep_ids(row["id_map"]), row["categories"], row["is_crowd"])


def agreement(one, other):
    """Return the share of pixels in segments that are matched one to one, kind for kind."""
    pairs, counts = np.unique(
        np.stack([one.id_map.ravel(), other.id_map.ravel()]), axis=1, return_counts=True
    )
    matched = 0
    for first in np.unique(pairs[0]):
        own = pairs[0] == first
        best = np.flatnonzero(own)[counts[own].argmax()]
        second = pairs[1, best]
        if one.categories[first] == other.categories[second]:
            matched += int(counts[best] * (one.is_crowd[first] == other.is_crowd[second]))
    return matched / one.id_map.size


def test_what_was_converted_is_read_as_what_it_was(tmp_path):
    root, folder = small_cityscapes(tmp_path / "in"), tmp_path / "out"
    prepared = convert(root, tmp_path / "storage", folder)
    assert prepared.rejected == 0
    again = read_again(folder)
    for source, exact in (("train", False), ("val", True)):
        rows, rejects = again[f"panoptic_labels:{source}"]
        before = prepared.rows[f"panoptic_labels:{source}"]
        assert not rejects and sorted(rows.keys()) == sorted(before.keys())
        for key in rows.keys():  # noqa: SIM118
            found, expected = panoptic_of(rows[key]), panoptic_of(before[key])
            assert np.array_equal(found.class_map(255), expected.class_map(255))
            assert len(found.categories) == len(expected.categories)
            assert agreement(found, expected) > (0.999 if exact else 0.98)
            assert found.is_crowd.sum() == expected.is_crowd.sum() == 1
    with Image.open(folder / "train" / "aachen_000000_000019.png") as written:
        assert np.array_equal(np.asarray(written), photo())


def test_links_and_a_second_call_change_nothing(tmp_path):
    root, folder = small_cityscapes(tmp_path / "in"), tmp_path / "out"
    copies = convert(root, tmp_path / "storage", folder)
    before = {p: p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file()}
    convert(root, tmp_path / "storage", folder)
    assert {p: p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file()} == before
    assert {s.label: s.done for s in copies.summaries}["converted_index:val"] == 1
    linked = tmp_path / "linked"
    convert(root, tmp_path / "storage", linked, convert={"folder": str(linked), "photos": "link"})
    assert (linked / "val" / "ulm_000000_000019.png").is_symlink()


def test_bad_frames_are_rejects_and_foreign_folders_are_left_alone(tmp_path):
    root = small_cityscapes(tmp_path / "in")
    unknown = instance_ids()
    unknown[0, 0] = 99
    write_frame(root, "bonn_000009_000019", label=unknown)
    write_frame(root, "bonn_000008_000019", image=photo((60, 96)))
    prepared = convert(root, tmp_path / "storage", tmp_path / "out")
    counts = {s.label: s.rejected for s in prepared.summaries}
    assert counts["converted_frames:train"] == 2 and counts["converted_frames:val"] == 0
    listed = json.loads((tmp_path / "out" / "annotations" / "train.json").read_text())["images"]
    assert [one["file_name"][:4] for one in listed] == ["aach", "bonn"]
    foreign = tmp_path / "foreign" / "annotations"
    foreign.mkdir(parents=True)
    (foreign / "val.json").write_text("{}")
    with pytest.raises(SettingsError, match="another origin"):
        convert(root, tmp_path / "storage", foreign.parent)
    assert (foreign / "val.json").read_text() == "{}"


def test_only_instance_values_can_be_converted(tmp_path):
    root = small_coco(tmp_path / "coco")
    for format in ("coco_panoptic", "toyworld"):
        data = DataSettings(
            format=format, root=str(root), val_split="val", convert={"folder": str(tmp_path / "o")}
        )
        with pytest.raises(SettingsError, match="no instance values"):
            label_stages(data)


def test_kitti_is_brought_to_one_size_with_its_photographs(tmp_path):
    ids = instance_ids().repeat(2, 0).repeat(2, 1)
    for split, size in (("training", (128, 192)), ("validation", (120, 186))):
        for folder in ("images", "annotations"):
            (tmp_path / "in" / split / folder).mkdir(parents=True)
        own = ids[: size[0], : size[1]]
        Image.fromarray(photo(size)).save(tmp_path / "in" / split / "images" / "000000.png")
        (tmp_path / "in" / split / "annotations" / "000000.png").write_bytes(rgb_ids_png(own))
    splits = {"train_split": "training", "val_split": "validation", "format": "kitti"}
    prepared = convert(tmp_path / "in", tmp_path / "s", tmp_path / "out", **splits)
    assert prepared.rejected == 0
    for name in ("train", "val", "stuffthingmaps/train", "kitti_panoptic_val"):
        with Image.open(tmp_path / "out" / name / "000000.png") as image:
            assert image.size == (1280, 384)
    # as the original leaves them: training photographs of their own size
    Image.fromarray(photo((128, 192))).save(tmp_path / "out" / "train" / "000000.png")
    rows, rejects = read_again(tmp_path / "out")["panoptic_labels:train"]
    assert not rejects and (rows["000000"]["height"], rows["000000"]["width"]) == (128, 192)
    assert read_deep_ids(rows["000000"]["id_map"]).shape == (384, 1280)


def test_overlapping_polygons_and_pixels_without_one():
    ids = np.full((60, 90), ROAD)
    ids[10:50, 10:50] = CAR * 1000
    ids[20:40, 20:40] = CAR * 1000 + 1  # a hole in the first, whose polygon fills it
    ids[5:9, 60:80] = CAR  # a group
    ids[50:58, 70:78] = PERSON * 1000
    frame = convert_frame(ids, "a")
    exact, _ = cityscapes_to_indexed(ids)
    found = panoptic_of_map(frame.stuff_map, frame.annotations, CITYSCAPES, what="a")
    assert agreement(found, exact) > 0.99 and len(found.categories) == len(exact.categories)
    without = [one for one in frame.annotations if one["category_id"] != 11]
    lost = panoptic_of_map(frame.stuff_map, without, CITYSCAPES, what="a")
    assert np.array_equal(lost.class_map(255), found.class_map(255))
    assert lost.is_crowd.sum() == 2  # nobody says whose the person's pixels are


def test_folders_that_contradict_themselves_say_so(tmp_path):
    frame = convert_frame(instance_ids(), "a")
    with pytest.raises(UnknownCategoryError, match="classes \\[30\\]"):
        panoptic_of_map(np.full((4, 4), 30), [], CITYSCAPES, what="a")
    with pytest.raises(UnknownCategoryError, match="no thing class"):
        one = {**frame.annotations[0], "category_id": 3}
        panoptic_of_map(frame.stuff_map, [one], CITYSCAPES, what="a")
    with pytest.raises(SegmentListError, match="malformed"):
        one = {**frame.annotations[0], "segmentation": [["x", 1]], "iscrowd": 0}
        panoptic_of_map(frame.stuff_map, [one], CITYSCAPES, what="a")
    source = ConvertedSource(tmp_path)
    with pytest.raises(MissingLabelFileError, match="Check the root"):
        list(source.labeled_images("train"))
    (tmp_path / "annotations").mkdir()
    path = tmp_path / "annotations" / "train.json"
    for content, said in (
        ({"images": []}, "no COCO detection file"),
        ({"images": [], "annotations": [], "categories": [{"id": 1, "name": "cup"}]}, "its things"),
    ):
        path.write_text(json.dumps(content))
        with pytest.raises(SegmentListError, match=said):
            list(source.labeled_images("train"))
    for name in ("a", "b"):
        (tmp_path / f"{name}_panoptic_val.json").write_text("{}")
    with pytest.raises(SegmentListError, match="leave one"):
        list(ConvertedSource(tmp_path).labeled_images("val"))
