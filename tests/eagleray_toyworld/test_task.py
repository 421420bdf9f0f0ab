"""The task through the engine: prepare, continue, fail and recover."""

import json

import numpy as np
import pycolmap
import pytest
from PIL import Image
from pydantic import ValidationError

from eagleray.api import Experiment
from eagleray.experiment.schema import PrepareSettings
from eagleray.options import RunOptions
from eagleray.prepare import prepare_stages
from eagleray.storage import Store
from eagleray.task import CapabilityError, EaglerayError
from eagleray_toyworld.settings import WorldSettings
from eagleray_toyworld.stage import street_frame
from eagleray_toyworld.task import ToyworldTask
from eagleray_vision.datasets.coco_panoptic import CocoPanopticSource

SMALL = {"scenes": 3, "val_every": 3, "height_px": 32, "width_px": 64}


def _prepare(tmp_path, limit=None, **settings):
    task = ToyworldTask(WorldSettings(**SMALL | settings))
    store = Store(str(tmp_path / "storage"))
    options = RunOptions(limit=limit, device="cpu", inline=True)
    return prepare_stages(task, store, PrepareSettings(items_per_shard=1), options)


def _content(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def coco(tmp_path_factory):
    tmp_path = tmp_path_factory.mktemp("coco")
    prepared = _prepare(tmp_path, folder=str(tmp_path / "data"), frames_per_scene=2)
    return tmp_path / "data", prepared


def test_splits_hold_their_scenes(coco):
    root, prepared = coco
    for split, scenes in (("train", (0, 1)), ("val", (2,))):
        names = sorted(p.stem for p in (root / split).iterdir())
        assert names == [f"toy_{s:06d}_{f:06d}" for s in scenes for f in (0, 1)]
        rows = prepared.rows[f"street_frames:{split}"]
        assert rows.summary()["images"] == len(names)
    assert prepared.rejected == 0


def test_panoptic_tasks_can_read_the_folder(coco):
    root, _ = coco
    source = CocoPanopticSource(root, "train")
    space = source.label_space()
    settings = WorldSettings(**SMALL)
    images = list(source.labeled_images("val"))
    assert len(images) == 2
    for image in images:
        panoptic = source.read_label(image)
        _, scene_idx, frame_idx = image.key.split("_")
        frame = street_frame(settings, int(scene_idx), int(frame_idx))
        np.testing.assert_array_equal(np.asarray(Image.open(image.image_path)), frame.rgb)
        names = np.array([*space.class_names, *["void"] * (256 - space.num_classes)])
        found = names[panoptic.categories[panoptic.id_map]]
        assert (found == "car").sum() == (frame.train_id == 13).sum()
        assert (found == "void").sum() == (frame.train_id == 255).sum()


def test_frames_of_a_scene_are_a_sequence(coco):
    root, _ = coco
    first, second = (
        np.asarray(Image.open(root / f"train/toy_000000_{k:06d}.png")).astype(int) for k in (0, 1)
    )
    change = abs(first - second).mean()
    other = np.asarray(Image.open(root / "train/toy_000001_000000.png")).astype(int)
    assert 1 < change < abs(first - other).mean()


def test_interrupted_job_ends_in_the_same_folder(tmp_path, coco):
    _prepare(tmp_path, limit=1, folder=str(tmp_path / "data"), frames_per_scene=2)
    prepared = _prepare(tmp_path, folder=str(tmp_path / "data"), frames_per_scene=2)
    assert _content(tmp_path / "data") == _content(coco[0])
    again = _prepare(tmp_path, folder=str(tmp_path / "data"), frames_per_scene=2)
    assert sum(s.computed_shards for s in prepared.summaries) > 0
    assert sum(s.computed_shards for s in again.summaries) == 0


def test_more_scenes_keep_what_is_there(tmp_path):
    few = _prepare(tmp_path)
    more = _prepare(tmp_path, scenes=5)
    assert few.summaries[0].fingerprint == more.summaries[0].fingerprint
    assert more.summaries[0].computed_shards < 4
    assert len(more.rows["street_frames:train"]) == 4


def test_folder_that_cannot_be_written_stops_the_job_and_rejects_nothing(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(EaglerayError, match="cannot write"):
        _prepare(tmp_path, folder=str(tmp_path / "file" / "data"), val_every=0)
    (tmp_path / "file").unlink()
    prepared = _prepare(tmp_path, folder=str(tmp_path / "file" / "data"), val_every=0)
    assert prepared.rejected == 0
    assert sum(s.computed_shards for s in prepared.summaries) == 0
    content = json.loads((tmp_path / "file/data/annotations/panoptic_train.json").read_text())
    assert len(content["images"]) == SMALL["scenes"]


def test_folder_of_another_dataset_is_refused(tmp_path):
    _prepare(tmp_path, folder=str(tmp_path / "data"), scenes=1)
    with pytest.raises(EaglerayError, match="another recipe"):
        _prepare(tmp_path, folder=str(tmp_path / "data"), seed=1, scenes=1)


def test_cityscapes_folder_has_the_published_layout(tmp_path):
    _prepare(tmp_path, folder=str(tmp_path / "data"), format="cityscapes")
    for split, count in (("train", 2), ("val", 1)):
        images = sorted((tmp_path / "data/leftImg8bit" / split / "toy").iterdir())
        truths = sorted((tmp_path / "data/gtFine" / split / "toy").iterdir())
        assert (len(images), len(truths)) == (count, 3 * count)


def test_rooms_become_one_folder_each(tmp_path):
    rooms = {"scenes": 2, "val_every": 0, "views": 6}
    _prepare(tmp_path, folder=str(tmp_path / "c"), format="colmap", **rooms)
    _prepare(tmp_path, folder=str(tmp_path / "r"), format="replica", **rooms)
    for k in range(2):
        model = pycolmap.Reconstruction(str(tmp_path / f"c/train/room_{k:06d}/sparse/0"))
        assert len(model.images) == 6
        poses = json.loads((tmp_path / f"r/train/room_{k:06d}/transforms_train.json").read_text())
        assert len(poses["frames"]) == 60


def test_rows_carry_the_files_without_a_folder(tmp_path):
    prepared = _prepare(tmp_path, val_every=0, scenes=1)
    rows = prepared.rows["street_frames:train"]
    key = rows.keys()[0]
    assert [name.split("/")[0] for name in rows[key]["files"]] == ["train", "annotations"]
    png = rows.read_file(key, rows[key]["files"][0])
    assert png.startswith(b"\x89PNG")
    segments = json.loads(rows[key]["segments"])
    assert {"id", "category_id", "area", "bbox", "iscrowd"} == set(segments[0])
    assert sum(s["area"] for s in segments) <= SMALL["height_px"] * SMALL["width_px"]


@pytest.mark.parametrize(
    "wrong", [{"scenes": 0}, {"format": "waymo"}, {"scene": 3}, {"seed": -1}, {"views": 2}]
)
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ValidationError):
        WorldSettings(**wrong)


def test_splits_partition_the_scenes():
    for val_every in (0, 1, 2, 5):
        settings = WorldSettings(scenes=11, val_every=val_every)
        both = [*settings.scenes_of("train"), *settings.scenes_of("val")]
        assert sorted(both) == list(range(11))
        for split in ("train", "val"):
            assert all(settings.split_of(k) == split for k in settings.scenes_of(split))


@pytest.mark.parametrize("verb", ["train", "run", "evaluate", "predict"])
def test_what_a_data_task_does_not_do_is_refused_before_anything_starts(tmp_path, verb):
    values = {"task": "toyworld", "storage": str(tmp_path), "settings": SMALL}
    experiment = Experiment.from_values(values, inline=True)
    arguments = ([tmp_path], str(tmp_path / "out")) if verb == "predict" else ()
    asked = "train" if verb == "run" else verb
    with pytest.raises(CapabilityError, match=f"'toyworld' does not {asked}; it offers prepare$"):
        getattr(experiment, verb)(*arguments)
    assert not list(tmp_path.iterdir())
