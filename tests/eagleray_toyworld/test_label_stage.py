"""Frames of the toy world as training data: labels agree with the renderer, categories merge."""

from __future__ import annotations

import numpy as np
import pytest

from eagleray_seamseg.settings import SeamlessSettings
from eagleray_seamseg.task import SeamlessTask
from eagleray_toyworld.formats.panoptic import street_panoptic_sample
from eagleray_toyworld.label_stage import ToyworldFrameStage, toyworld_label_space
from eagleray_toyworld.settings import ToyworldSettings
from eagleray_vision.datasets.label_stage import PHOTO_FILE
from eagleray_vision.images.reading import read_rgb
from eagleray_vision.panoptic.label_image import read_deep_ids
from eagleray_vision.panoptic.label_space import (
    CITYSCAPES,
    CITYSCAPES_CATEGORIES,
    CITYSCAPES_CATEGORY_OF_CLASS,
)

SIZE = {"height_px": 64, "width_px": 128, "train_frames": 3, "val_frames": 2}


def first_record(settings, source="val"):
    stage = ToyworldFrameStage(settings, source)
    items = list(stage.items({}))
    return items, stage.process([stage.load(items[0])])[0][0]


def test_record_holds_the_renderers_picture_and_labels():
    settings = ToyworldSettings(**SIZE)
    items, record = first_record(settings)
    payload = items[0].payload
    image, id_map, segments = street_panoptic_sample(
        payload["seed"], payload["index"], (64, 128), min_thing_px=32
    )
    photo = read_rgb(record.files[PHOTO_FILE.format(key=record.key)])
    assert np.array_equal(photo, image)
    assert np.array_equal(read_deep_ids(record.row["id_map"]), id_map)
    assert record.row["categories"] == [255, *(s.train_id for s in segments)]


def test_splits_share_no_scene():
    settings = ToyworldSettings(**SIZE)
    seeds = {
        source: {item.payload["seed"] for item in ToyworldFrameStage(settings, source).items({})}
        for source in ("train", "val")
    }
    assert not seeds["train"] & seeds["val"]


def test_categories_keep_things_apart_and_merge_stuff():
    _, fine = first_record(ToyworldSettings(**SIZE))
    _, coarse = first_record(ToyworldSettings(**SIZE, labels="categories"))
    category = np.array([*CITYSCAPES_CATEGORY_OF_CLASS, *[255] * 237])
    of_pixel = [
        np.array(r.row["categories"])[read_deep_ids(r.row["id_map"])] for r in (fine, coarse)
    ]
    assert np.array_equal(category[of_pixel[0]], of_pixel[1])
    merged = coarse.row["categories"]
    stuff = [c for c in merged if c < CITYSCAPES_CATEGORIES.num_stuff]
    assert len(stuff) == len(set(stuff))
    things = [c for c in merged[1:] if c >= CITYSCAPES_CATEGORIES.num_stuff]
    fine_things = [c for c in fine.row["categories"][1:] if c >= CITYSCAPES.num_stuff]
    assert len(things) == len(fine_things)


def test_every_class_has_its_category():
    assert toyworld_label_space(ToyworldSettings()) is CITYSCAPES
    names = CITYSCAPES_CATEGORIES.class_names
    by_name = dict(zip(CITYSCAPES.class_names, CITYSCAPES_CATEGORY_OF_CLASS, strict=True))
    assert names[by_name["terrain"]] == "nature"
    assert names[by_name["bicycle"]] == "vehicle"
    assert all(
        CITYSCAPES.is_thing[i] == CITYSCAPES_CATEGORIES.is_thing[c]
        for i, c in enumerate(CITYSCAPES_CATEGORY_OF_CLASS)
    )


@pytest.mark.parametrize("labels", ["classes", "categories"])
def test_the_task_needs_no_folder_for_generated_frames(labels):
    data = {"format": "toyworld", "val_split": "val", "toyworld": {**SIZE, "labels": labels}}
    body = {"num_frozen": 0}
    task = SeamlessTask(
        SeamlessSettings.model_validate(
            {"preset": "package", "data": data, "network": {"body": body}}
        )
    )
    assert all(r.found for r in task.requirements())
    assert [s.label for s in task.stages()] == ["toyworld_frames:train", "toyworld_frames:val"]
    assert task.benchmarks()[0].name == "toyworld_val"
