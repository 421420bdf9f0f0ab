"""The COCO panoptic format: round trips and every contradiction that must be found."""

import json

import numpy as np
import pytest

from eagleray.task import InputError
from eagleray_vision.images.errors import UnreadableImageError
from eagleray_vision.panoptic.coco_panoptic import (
    read_coco_panoptic,
    read_indexed,
    read_segments,
    segments_info,
)
from eagleray_vision.panoptic.errors import (
    EmptySegmentError,
    LabelFormatError,
    LabelSizeError,
    MissingLabelFileError,
    PanopticError,
    SegmentListError,
    UnknownCategoryError,
    UnlistedSegmentError,
)
from eagleray_vision.panoptic.label_image import (
    deep_ids_png,
    encode_png,
    read_deep_ids,
    read_rgb_ids,
    rgb_ids_png,
)
from eagleray_vision.panoptic.panoptic_map import indexed_panoptic

IDS = np.zeros((5, 7), np.int64)
IDS[1:3, 2:6] = 70000
IDS[4] = 9
SEGMENTS = [{"id": 9, "category_id": 4}, {"id": 70000, "category_id": 6, "iscrowd": 1}]
CLASSES = {4: 0, 6: 1}


def read(ids=IDS, segments=SEGMENTS, classes=CLASSES, size_hw=(5, 7)):
    png = ids if isinstance(ids, bytes) else rgb_ids_png(ids)
    return read_indexed(png, read_segments(segments), classes, size_hw=size_hw, void_class=255)


def test_label_is_read_in_list_order():
    panoptic = read()
    assert panoptic.categories.tolist() == [255, 0, 1]
    assert panoptic.is_crowd.tolist() == [False, False, True]
    assert panoptic.areas().tolist() == [20, 7, 8]
    assert np.array_equal(panoptic.id_map == 2, IDS == 70000)


def test_written_map_reads_back():
    ids, entries = segments_info(read(), lambda index: 1000 * index, [4, 6])
    assert [entry["bbox"] for entry in entries] == [[0, 4, 7, 1], [2, 1, 4, 2]]
    assert [entry["area"] for entry in entries] == [7, 8]
    assert [entry["category_id"] for entry in entries] == [4, 6]
    again = read(rgb_ids_png(ids), entries)
    assert np.array_equal(again.id_map, read().id_map)


def test_segments_without_pixels_are_not_written():
    panoptic = indexed_panoptic(np.full((2, 2), 2), [255, 0, 1], [0, 0, 0])
    ids, entries = segments_info(panoptic, lambda index: index, [4, 6])
    assert [entry["id"] for entry in entries] == [2]
    assert np.unique(ids).tolist() == [2]


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        ({"size_hw": (7, 5)}, LabelSizeError, "7 x 5 pixels, its image 5 x 7"),
        ({"classes": {4: 0}}, UnknownCategoryError, r"\[6\]"),
        ({"segments": SEGMENTS[:1]}, UnlistedSegmentError, r"8 pixels carry ids \[70000\]"),
        ({"ids": np.where(IDS == 9, 0, IDS)}, EmptySegmentError, r"\[9\]"),
        ({"ids": encode_png(np.zeros((5, 7), np.uint8))}, LabelFormatError, "mode L"),
        ({"ids": b""}, UnreadableImageError, "empty"),
        ({"ids": rgb_ids_png(IDS)[:60]}, UnreadableImageError, "damaged"),
        ({"segments": [SEGMENTS[0]] * 2}, SegmentListError, "more than once"),
    ],
    ids=["size", "category", "unlisted", "no pixels", "grey", "empty", "truncated", "twice"],
)
def test_contradicting_label_is_refused(change, error, text):
    with pytest.raises(error, match=text):
        read(**change)
    assert issubclass(error, InputError)


def test_label_without_any_segment_is_all_void():
    panoptic = read(np.zeros((5, 7), int), [])
    assert panoptic.areas().tolist() == [35]
    assert len(panoptic.segments()) == 0


def write_json(folder, content):
    path = folder / "labels.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_json_is_read(tmp_path):
    content = {
        "images": [{"id": 3, "file_name": "a.jpg", "height": 5, "width": 7}],
        "annotations": [{"image_id": 3, "file_name": "a.png", "segments_info": SEGMENTS}],
        "categories": [{"id": 4, "name": "sky", "isthing": 0}],
    }
    found = read_coco_panoptic(write_json(tmp_path, content))
    assert found.images[0].size_hw == (5, 7)
    assert found.images[0].segments.ids.tolist() == [9, 70000]
    assert found.categories[0]["name"] == "sky"


@pytest.mark.parametrize(
    "content",
    [
        "no json",
        {"annotations": [{"image_id": 1}]},
        {
            "images": [{"id": 2}],
            "annotations": [{"image_id": 1, "file_name": "", "segments_info": []}],
        },
        [1],
    ],
    ids=["no json", "keys missing", "image not listed", "a list"],
)
def test_other_files_are_refused(tmp_path, content):
    with pytest.raises(SegmentListError):
        read_coco_panoptic(write_json(tmp_path, content))


def test_missing_files_are_named(tmp_path):
    with pytest.raises(MissingLabelFileError, match="gone"):
        read_coco_panoptic(tmp_path / "gone.json")
    with pytest.raises(MissingLabelFileError, match="gone"):
        read_rgb_ids(tmp_path / "gone.png")
    with pytest.raises(MissingLabelFileError, match="gone"):
        read_deep_ids(tmp_path / "gone.png")


def test_deep_ids_round_trip_and_refuse_colors():
    ids = np.array([[0, 255, 256, 65535]])
    assert np.array_equal(read_deep_ids(deep_ids_png(ids)), ids)
    assert np.array_equal(read_deep_ids(encode_png(ids.astype(np.uint8))), ids % 256)
    with pytest.raises(SegmentListError, match="65536"):
        deep_ids_png(np.array([[65536]]))
    with pytest.raises(LabelFormatError, match="mode RGB"):
        read_deep_ids(rgb_ids_png(ids))


def test_indexed_map_is_checked():
    with pytest.raises(UnlistedSegmentError, match=r"0\.\.3"):
        indexed_panoptic(np.array([[0, 3]]), [255, 1], [0, 0])
    with pytest.raises(PanopticError):
        indexed_panoptic(np.array([[0]]), [], [])
    with pytest.raises(LabelSizeError):
        indexed_panoptic(np.zeros(3), [255], [0])
