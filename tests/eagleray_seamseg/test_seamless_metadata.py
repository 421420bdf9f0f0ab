"""Damaged data sets in the original's format: every mistake is named with its file."""

import msgpack
import pytest
from tests.eagleray_seamseg.test_stages import write_seamless
from tests.eagleray_vision.small_data import run_stage

from eagleray_seamseg.intermediate.metadata import parse_metadata, read_metadata
from eagleray_seamseg.settings import DataSettings
from eagleray_seamseg.stages import label_stage
from eagleray_vision.panoptic.errors import (
    LabelSizeError,
    MissingLabelFileError,
    SegmentListError,
    UnknownCategoryError,
    UnlistedSegmentError,
)
from eagleray_vision.panoptic.label_image import deep_ids_png, read_deep_ids


@pytest.fixture
def root(tmp_path):
    return write_seamless(tmp_path)


def content(root):
    return msgpack.unpackb((root / "metadata.bin").read_bytes(), raw=False)


def edit(root, change):
    found = content(root)
    change(found)
    (root / "metadata.bin").write_bytes(msgpack.packb(found))


def stage(root):
    return label_stage(DataSettings(format="seamless", root=str(root)), "val", "val", faithful=True)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda b: b"\xc1", "not MessagePack, or cut off"),
        (lambda b: b"", "not MessagePack, or cut off"),
        (lambda b: b[:-20], "not MessagePack, or cut off"),
        (lambda b: b + b"\x01", "not MessagePack, or cut off"),
        (lambda b: b"\x81\xa1\xff\x01", "not MessagePack, or cut off"),
        (lambda b: msgpack.packb([1]), "'meta' is missing"),
        (lambda b: msgpack.packb({"images": []}), r"'meta' is missing, found \['images'\]"),
        (lambda b: msgpack.packb({"meta": {"categories": []}}), "lacks num_stuff, num_thing"),
    ],
)
def test_damaged_metadata_are_named(root, damage, message):
    path = root / "metadata.bin"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(SegmentListError, match=message) as found:
        read_metadata(path)
    assert str(path) in str(found.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["meta"].update(num_stuff=2), "2 stuff and 1 thing classes, but 2 names"),
        (lambda c: c["meta"].update(num_stuff="one"), "class list is malformed"),
        (lambda c: c["meta"].update(palette=[[1, 2]] * 2), "class list is malformed"),
        (lambda c: c["meta"].update(original_ids=[7]), "one of each per class is needed"),
        (lambda c: c["meta"].update(original_ids=[7, 7]), "an original id occurs twice"),
        (lambda c: c["images"][1].pop("cat"), r"images\[1\] lacks cat"),
        (lambda c: c["images"].append(c["images"][0]), "image 'a' is listed twice"),
        (lambda c: c["images"][0].update(id="../../a"), "is no file name"),
        (lambda c: c["images"][0].update(id="/a"), "is no file name"),
        (lambda c: c.update(images={"a": 1}), "'images' is a dict, not a list"),
        (lambda c: c.update(images=[1]), r"images\[0\] lacks id, size"),
    ],
)
def test_contradictions_are_named(root, change, message):
    edit(root, change)
    with pytest.raises(SegmentListError, match=message) as found:
        read_metadata(root / "metadata.bin")
    assert "metadata.bin" in str(found.value)


def test_stripped_metadata_give_classes_but_no_labels(root):
    edit(root, lambda c: c.pop("images"))
    assert stage(root).settings().classes == ("road", "car")
    with pytest.raises(SegmentListError, match="stripped of its images"):
        run_stage(stage(root))
    assert parse_metadata((root / "metadata.bin").read_bytes(), "m", "n").images is None


def test_listed_images_without_metadata_are_rejects(root):
    (root / "lst" / "val.txt").write_text("a\nstranger\n\na\n")
    (root / "img" / "stranger.jpg").write_bytes((root / "img" / "a.jpg").read_bytes())
    rows, rejects = run_stage(stage(root))
    assert rows.keys() == ["a"]
    assert "does not describe it" in str(rejects["stranger"])


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda c: c["images"][0].update(size=[20, 31]), LabelSizeError),
        (lambda c: c["images"][0].update(cat=[255, 0, 2]), UnknownCategoryError),
        (lambda c: c["images"][0].update(cat=[255, 0], iscrowd=[0, 0]), UnlistedSegmentError),
        (lambda c: c["images"][0].update(iscrowd=[0]), SegmentListError),
    ],
    ids=["size", "category", "unlisted segment", "lengths"],
)
def test_bad_entries_are_one_reject(root, change, error):
    edit(root, change)
    rows, rejects = run_stage(stage(root))
    assert rows.keys() == ["b"]
    assert isinstance(rejects["a"], error)


def test_missing_and_smaller_masks_are_one_reject(root):
    (root / "msk" / "a.png").unlink()
    assert isinstance(run_stage(stage(root))[1]["a"], MissingLabelFileError)
    (root / "msk" / "a.png").write_bytes(deep_ids_png(0 * read_mask(root)[:10]))
    assert isinstance(run_stage(stage(root))[1]["a"], LabelSizeError)


def read_mask(root):
    return read_deep_ids(root / "msk" / "b.png")


def test_mark_of_crowd_at_void_is_ignored(root):
    """The format's page writes 1 there, the converters 0."""
    edit(root, lambda c: c["images"][0].update(iscrowd=[1, 0, 1]))
    assert run_stage(stage(root))[0]["a"]["is_crowd"] == [False, False, True]
