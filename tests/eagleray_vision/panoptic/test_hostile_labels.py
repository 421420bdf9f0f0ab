"""Label PNGs and segment lists that would be read as other ids than were meant."""

import io
import json
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from eagleray_vision.panoptic.coco_panoptic import read_coco_panoptic, read_segments
from eagleray_vision.panoptic.errors import LabelFormatError, SegmentListError
from eagleray_vision.panoptic.label_image import read_deep_ids, read_rgb_ids


def png(width, depth, color_type, row):
    """A PNG of one row, as Pillow cannot write it."""

    def chunk(kind, data):
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", width, 1, depth, color_type, 0, 0, 0)
    parts = (
        chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" + row)) + chunk(b"IEND", b"")
    )
    return b"\x89PNG\r\n\x1a\n" + parts


def saved(image, kind, **how):
    buffer = io.BytesIO()
    image.save(buffer, kind, **how)
    return buffer.getvalue()


def test_depths_that_pillow_changes_without_a_word_are_refused():
    with pytest.raises(LabelFormatError, match="RGB;16"):
        read_rgb_ids(png(1, 16, 2, bytes([1, 2, 3, 4, 5, 6])))
    for depth in (2, 4):
        with pytest.raises(LabelFormatError, match=f"L;{depth}"):
            read_deep_ids(png(2, depth, 0, b"\x12"))
    assert read_deep_ids(png(2, 16, 0, b"\x01\x00\x00\x07")).tolist() == [[256, 7]]


def test_lossy_and_animated_labels_are_refused():
    image = Image.fromarray(np.full((8, 8, 3), 7, np.uint8))
    for kind in ("JPEG", "WEBP"):
        with pytest.raises(LabelFormatError, match="may change ids"):
            read_rgb_ids(saved(image, kind))
    other = Image.new("RGB", (8, 8))
    with pytest.raises(LabelFormatError, match="2 pictures"):
        read_rgb_ids(saved(image, "PNG", save_all=True, append_images=[other]))
    palette = saved(Image.new("P", (2, 2), 3), "PNG")
    with pytest.raises(LabelFormatError, match="mode P"):
        read_rgb_ids(palette)


@pytest.mark.parametrize(
    "entry",
    [
        {"id": 1.5, "category_id": 1},
        {"id": "7", "category_id": 1},
        {"id": True, "category_id": 1},
        {"id": 1, "category_id": 2**63},
        {"id": 2**24, "category_id": 1},
        {"id": 1, "category_id": 1, "iscrowd": "no"},
        {"id": 1, "category_id": 1, "iscrowd": None},
    ],
)
def test_segments_of_other_types_are_refused_instead_of_rounded(entry):
    with pytest.raises(SegmentListError):
        read_segments([entry])
    assert read_segments([{"id": 5.0, "category_id": 1, "iscrowd": True}]).is_crowd.all()


ANNOTATION = {"image_id": 1, "file_name": "a.png", "segments_info": []}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"images": [{"id": 1}, {"id": 1}], "annotations": []}, "more than once in images"),
        ({"annotations": [ANNOTATION, ANNOTATION]}, "more than once in annotations"),
        ({"annotations": [{**ANNOTATION, "file_name": None}]}, "must be the name of a file"),
        ({"annotations": [{**ANNOTATION, "file_name": "a\0"}]}, "must be the name of a file"),
        ({"images": [{"id": 1, "height": "x"}], "annotations": [ANNOTATION]}, "height must be"),
    ],
)
def test_coco_files_that_contradict_themselves(tmp_path, content, message):
    (tmp_path / "a.json").write_text(json.dumps(content))
    with pytest.raises(SegmentListError, match=message):
        read_coco_panoptic(tmp_path / "a.json")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_other_unicode_encodings_are_read(tmp_path, encoding):
    (tmp_path / "a.json").write_bytes(json.dumps({"annotations": [ANNOTATION]}).encode(encoding))
    assert read_coco_panoptic(tmp_path / "a.json").images[0].label_file_name == "a.png"
