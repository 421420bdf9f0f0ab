"""Data sets written in the original's format: what is read back is what was written, here and by
readers of others."""

import json
import shutil
from pathlib import Path

import msgpack
import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO
from scipy import ndimage
from tests.eagleray_seamseg.small_settings import cityscapes_settings
from tests.eagleray_vision.small_data import (
    photo,
    run_stage,
    small_cityscapes,
    small_coco,
    write_frame,
)

from eagleray.api import Experiment
from eagleray.task import SettingsError
from eagleray_seamseg.intermediate.folder import SeamlessFolder
from eagleray_seamseg.settings import SeamlessSettings
from eagleray_seamseg.task import SeamlessTask
from eagleray_vision.panoptic.errors import SegmentListError
from eagleray_vision.panoptic.label_image import read_deep_ids


def convert(root, storage, folder, **changes):
    """Prepare with conversion, inline, and return the prepared rows and summaries."""
    settings = cityscapes_settings(root, **changes).model_dump(mode="json")
    settings["data"]["convert"]["folder"] = str(folder)
    return prepare(settings, storage)


def prepare(settings, storage, limit=None):
    experiment = Experiment.from_values(
        {
            "task": "seamseg",
            "name": "convert",
            "storage": str(storage),
            "settings": settings,
            "device": "cpu",
        },
        inline=True,
        limit=limit,
    )
    return experiment.prepare()


def content(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".eagleray"
    }


def read_again(folder, train, val):
    data = {"format": "seamless", "root": str(folder), "train_split": train, "val_split": val}
    task = SeamlessTask(SeamlessSettings.model_validate({"data": data}))
    return task, [run_stage(stage) for stage in task.stages()]


def assert_same_labels(rows, source):
    assert sorted(rows.keys()) == sorted(source.keys())
    for key in rows.keys():  # noqa: SIM118
        ours, theirs = rows[key], source[key]
        for column in ("height", "width", "categories", "is_crowd"):
            assert np.array_equal(ours[column], theirs[column]), (key, column)
        assert np.array_equal(read_deep_ids(ours["id_map"]), read_deep_ids(theirs["id_map"]))


def test_written_cityscapes_is_read_as_what_it_was(tmp_path):
    root, folder = small_cityscapes(tmp_path / "in"), tmp_path / "out"
    prepared = convert(root, tmp_path / "storage", folder)
    assert prepared.rejected == 0
    assert sorted(content(folder)) == [
        *("coco/train.json", "coco/val.json"),
        *(f"img/{key}.png" for key in ("aachen_000000_000019", "bonn_000001_000019")),
        "img/ulm_000000_000019.png",
        *("lst/train.txt", "lst/val.txt", "metadata.bin"),
        *(f"msk/{key}.png" for key in ("aachen_000000_000019", "bonn_000001_000019")),
        "msk/ulm_000000_000019.png",
    ]
    task, found = read_again(folder, "train", "val")
    for (rows, rejects), label in zip(found, ("train", "val"), strict=True):
        assert not rejects
        assert_same_labels(rows, prepared.rows[f"panoptic_labels:{label}"])
    space = task.label_space()
    assert space.class_names[:2] == ("road", "sidewalk")
    assert (space.num_stuff, space.num_classes) == (11, 19)
    photograph = root / "leftImg8bit/val/ulm/ulm_000000_000019_leftImg8bit.png"
    assert (folder / "img/ulm_000000_000019.png").read_bytes() == photograph.read_bytes()


def test_readers_of_others_understand_what_is_written(tmp_path):
    """MessagePack, Pillow and pycocotools, with nothing of ours between."""
    folder = tmp_path / "out"
    convert(small_cityscapes(tmp_path / "in"), tmp_path / "storage", folder)
    metadata = msgpack.unpackb((folder / "metadata.bin").read_bytes(), raw=False)
    assert (metadata["meta"]["num_stuff"], metadata["meta"]["num_thing"]) == (11, 8)
    assert metadata["meta"]["original_ids"][:3] == [7, 8, 11]
    entries = {entry["id"]: entry for entry in metadata["images"]}
    for split in ("train", "val"):
        ids = (folder / "lst" / f"{split}.txt").read_text().split()
        coco = COCO(folder / "coco" / f"{split}.json")
        assert sorted(coco.getImgIds()) == sorted(ids)
        assert {one["id"]: one["name"] for one in coco.loadCats(coco.getCatIds())}[13] == "car"
        numbers = coco.getAnnIds()
        assert sorted(numbers) == list(range(1, len(numbers) + 1))
        for image_id in ids:
            entry, image = entries[image_id], coco.loadImgs([image_id])[0]
            mask = Image.open(folder / "msk" / f"{image_id}.png")
            assert mask.mode == "I;16"
            segments = np.asarray(mask)
            assert list(segments.shape) == entry["size"] == [image["height"], image["width"]]
            assert image["file_name"] == f"{image_id.split('_')[0]}/{image_id}_leftImg8bit.png"
            assert entry["cat"][0] == 255
            assert entry["iscrowd"][0] == 0
            things = [k for k in np.unique(segments) if k and entry["cat"][k] >= 11]
            found = coco.loadAnns(coco.getAnnIds([image_id]))
            expected = [
                (entry["cat"][k], entry["iscrowd"][k], (segments == k).sum()) for k in things
            ]
            assert sorted((a["category_id"], a["iscrowd"], a["area"]) for a in found) == sorted(
                expected
            )
            for one, segment in zip(found, things, strict=True):
                drawn, whole = coco.annToMask(one).astype(bool), segments == segment
                # polygons are simplified by 2 px
                assert not (drawn & ~ndimage.binary_dilation(whole, iterations=2)).any()
                assert not (ndimage.binary_erosion(whole, iterations=2) & ~drawn).any()


@pytest.mark.parametrize(("faithful", "first"), [(True, 0), (False, 1)])
def test_annotations_are_numbered_as_faithful_says(tmp_path, faithful, first):
    folder = tmp_path / "out"
    convert(small_cityscapes(tmp_path / "in"), tmp_path / "storage", folder, faithful=faithful)
    for split in ("train", "val"):
        numbers = [
            one["id"]
            for one in json.loads((folder / "coco" / f"{split}.json").read_text())["annotations"]
        ]
        assert numbers == list(range(first, first + len(numbers)))
        assert numbers


def test_a_killed_conversion_goes_on_and_ends_in_the_same_bytes(tmp_path, monkeypatch):
    root = small_cityscapes(tmp_path / "in")
    convert(root, tmp_path / "storage", tmp_path / "whole")
    folder = tmp_path / "out"
    whole = SeamlessFolder.write_mask

    def killed(self, image_id, png):
        if image_id.startswith("ulm"):
            raise KeyboardInterrupt
        whole(self, image_id, png)

    monkeypatch.setattr(SeamlessFolder, "write_mask", killed)
    with pytest.raises(KeyboardInterrupt):
        convert(root, tmp_path / "storage", folder)
    assert not (folder / "metadata.bin").exists()
    (folder / "msk" / ".tmp-1-half").write_bytes(b"half a mask")
    monkeypatch.undo()
    convert(root, tmp_path / "storage", folder)
    assert content(folder) == content(tmp_path / "whole")


def test_nothing_is_computed_twice_and_a_deleted_folder_is_written_anew(tmp_path):
    root, folder = small_cityscapes(tmp_path / "in"), tmp_path / "out"
    first = convert(root, tmp_path / "storage", folder)
    assert sum(one.computed_shards for one in first.summaries) > 0
    before = content(folder)
    again = convert(root, tmp_path / "storage", folder)
    assert sum(one.computed_shards for one in again.summaries) == 0
    shutil.rmtree(folder)
    convert(root, tmp_path / "storage", folder)
    assert content(folder) == before


def test_changed_labels_reach_the_folder(tmp_path):
    root, folder = small_cityscapes(tmp_path / "in"), tmp_path / "out"
    convert(root, tmp_path / "storage", folder)
    write_frame(root, "jena_000000_000019", image=photo(seed=7), label=np.full((64, 96), 7))
    convert(root, tmp_path / "storage", folder)
    assert "jena_000000_000019" in (folder / "lst" / "train.txt").read_text().split()
    metadata = msgpack.unpackb((folder / "metadata.bin").read_bytes(), raw=False)
    assert len(metadata["images"]) == 4


def test_data_sets_of_others_are_not_replaced(tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "metadata.bin").write_bytes(b"precious")
    with pytest.raises(SettingsError, match="not replaced: name an empty folder"):
        convert(small_cityscapes(tmp_path / "in"), tmp_path / "storage", folder)
    assert (folder / "metadata.bin").read_bytes() == b"precious"


def test_one_id_for_two_photographs_is_refused(tmp_path):
    root = small_cityscapes(tmp_path / "in")
    write_frame(root, "ulm_000000_000019", split="train", image=photo(seed=3))
    with pytest.raises(SegmentListError, match="two photographs have the id 'ulm_000000_000019'"):
        convert(root, tmp_path / "storage", tmp_path / "out")
    assert not list((tmp_path / "out").glob("msk/*"))


def test_photographs_can_be_links(tmp_path):
    root, folder = small_cityscapes(tmp_path / "in"), tmp_path / "out"
    settings = cityscapes_settings(root).model_dump(mode="json")
    settings["data"]["convert"] = {"folder": str(folder), "photos": "link"}
    prepare(settings, tmp_path / "storage")
    link = folder / "img" / "ulm_000000_000019.png"
    assert link.is_symlink()
    assert np.array_equal(np.asarray(Image.open(link)), photo(seed=2))


def test_reduced_labels_are_rejects(tmp_path):
    root = tmp_path / "in"
    write_frame(root, "ulm_000000_000019", split="train")
    write_frame(root, "jena_000000_000019", split="val", image=photo((128, 192)))
    settings = cityscapes_settings(root).model_dump(mode="json")
    settings["data"]["reduced_labels"] = True
    settings["data"]["convert"]["folder"] = str(tmp_path / "out")
    prepared = prepare(settings, tmp_path / "storage")
    (rejects,) = [one.rejects for one in prepared.summaries if one.rejects]
    assert rejects[0][0] == "jena_000000_000019"
    assert "reduced labels cannot be converted" in rejects[0][1]


def test_coco_panoptic_is_converted_and_one_split_twice_is_one(tmp_path):
    root, folder = small_coco(tmp_path / "in"), tmp_path / "out"
    data = {
        "format": "coco_panoptic",
        "root": str(root),
        "train_split": "val",
        "val_split": "val",
        "convert": {"folder": str(folder)},
    }
    prepared = prepare({"data": data}, tmp_path / "storage")
    _, ((rows, rejects), _) = read_again(folder, "val", "val")
    assert not rejects
    assert_same_labels(rows, prepared.rows["panoptic_labels:val"])
    coco = COCO(folder / "coco" / "val.json")
    assert [one["file_name"] for one in coco.loadImgs(["000001"])] == ["000001.jpg"]
    assert (folder / "lst" / "val.txt").read_text() == "000001\n000002\n"


def test_converted_data_are_converted_again_to_the_same_bytes(tmp_path):
    convert(small_cityscapes(tmp_path / "in"), tmp_path / "storage", tmp_path / "once")
    data = {
        "format": "seamless",
        "root": str(tmp_path / "once"),
        "train_split": "train",
        "val_split": "val",
        "convert": {"folder": str(tmp_path / "twice")},
    }
    prepare({"data": data, "faithful": False}, tmp_path / "storage")
    once, twice = content(tmp_path / "once"), content(tmp_path / "twice")
    assert once.keys() == twice.keys()
    for name in once:
        if not name.startswith("coco"):
            assert once[name] == twice[name], name
    for split in ("train", "val"):
        first, second = (
            json.loads(found[f"coco/{split}.json"])["annotations"] for found in (once, twice)
        )
        assert first == second


def test_generated_frames_are_converted(tmp_path):
    folder = tmp_path / "out"
    toyworld = {"train_frames": 2, "val_frames": 1, "height_px": 64, "width_px": 128}
    data = {"format": "toyworld", "toyworld": toyworld, "convert": {"folder": str(folder)}}
    prepared = prepare({"data": data, "preset": "package"}, tmp_path / "storage")
    task, ((train, _), (val, _)) = read_again(folder, "train", "val")
    assert_same_labels(train, prepared.rows["toyworld_frames:train"])
    assert_same_labels(val, prepared.rows["toyworld_frames:val"])
    assert task.label_space().num_classes == 19
    (key,) = val.keys()
    photograph = prepared.rows["toyworld_frames:val"].read_file(key, f"photos/{key}.png")
    assert (folder / "img" / f"{key}.png").read_bytes() == photograph


@pytest.mark.parametrize(("suffix", "written"), [("JPG", "jpg"), ("jpeg", "jpg"), ("webp", "png")])
def test_photographs_of_other_names_get_those_of_the_format(tmp_path, suffix, written):
    source = tmp_path / f"a.{suffix}"
    Image.fromarray(photo()).save(source, lossless=True)
    folder = SeamlessFolder(tmp_path / "out")
    folder.write_photo("a", b"an older one", "copy")
    folder.write_photo("a", source, "copy")
    assert [path.name for path in (tmp_path / "out" / "img").iterdir()] == [f"a.{written}"]
    found = np.asarray(Image.open(tmp_path / "out" / "img" / f"a.{written}"))
    assert np.array_equal(found, np.asarray(Image.open(source).convert("RGB")))


@pytest.mark.parametrize("mode", ["copy", "link"])
def test_a_photograph_below_a_folder_is_written_and_written_again(tmp_path, mode):
    Image.fromarray(photo()).save(tmp_path / "a.jpg")
    folder = SeamlessFolder(tmp_path / "out")
    for _ in range(2):
        folder.write_photo("city/a", tmp_path / "a.jpg", mode)
    written = tmp_path / "out" / "img" / "city" / "a.jpg"
    assert written.read_bytes() == (tmp_path / "a.jpg").read_bytes()
    assert written.is_symlink() == (mode == "link")
    folder.write_photo("city/a", b"png", mode)
    assert not written.exists()
    assert written.with_suffix(".png").read_bytes() == b"png"
