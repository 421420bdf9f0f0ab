"""Mapillary Vistas in the layouts of its versions, as miniature folders."""

import json

import numpy as np
import pytest
from PIL import Image
from tests.eagleray_vision.small_data import photo, run_stage

from eagleray_seamseg.benchmarks import seamless_benchmarks
from eagleray_seamseg.settings import DataSettings, SeamlessSettings
from eagleray_seamseg.stages import label_source, label_stage
from eagleray_vision.panoptic.errors import (
    LabelSizeError,
    MissingLabelFileError,
    SegmentListError,
    UnknownCategoryError,
)
from eagleray_vision.panoptic.label_image import deep_ids_png, read_deep_ids

SIZE_HW = (20, 30)


def label(name, *, instances=False, evaluate=True, color=(1, 2, 3)):
    return {
        "name": name,
        "readable": name,
        "color": list(color),
        "evaluate": evaluate,
        "instances": instances,
    }


OLD = [
    label("animal--bird", instances=True),
    label("construction--flat--road"),
    label("human--person", instances=True),
    label("object--vehicle--car", instances=True),
    label("void--unlabeled", evaluate=False),
]
NEW = [
    label("construction--flat--road"),
    label("construction--flat--road-shoulder"),
    label("human--person--individual", instances=True),
    label("human--person--person-group", instances=True),
    label("object--vehicle--car", instances=True),
    label("void--ego-vehicle", evaluate=False),
]
"""Shortened lists in the style of versions 1.2 and 2.0."""

ROAD_OLD, PERSON_OLD, CAR_OLD, VOID_OLD = 1, 2, 3, 4
ROAD, SHOULDER, PERSON, GROUP, CAR, EGO = range(6)


def values(road, person, car, void):
    """Return an instance image: road, two persons, a car, and void at the bottom."""
    ids = np.full(SIZE_HW, 256 * road)
    ids[2:6, 2:6] = 256 * person
    ids[2:6, 10:14] = 256 * person + 1
    ids[8:12, 2:20] = 256 * car
    ids[-2:] = 256 * void
    return ids


def write(root, config, folder, labels, ids, *, split="training", version=None):
    for path in (root / split / "images", root / folder):
        path.mkdir(parents=True, exist_ok=True)
    Image.fromarray(photo(SIZE_HW)).save(root / split / "images" / "a.jpg")
    (root / folder / "a.png").write_bytes(deep_ids_png(ids))
    (root / config).parent.mkdir(parents=True, exist_ok=True)
    content = {"labels": labels} | ({"version": version} if version else {})
    (root / config).write_text(json.dumps(content))


def write_old(root, config="config.json", folder="training/instances"):
    ids = values(ROAD_OLD, PERSON_OLD, CAR_OLD, VOID_OLD)
    write(root, config, folder, OLD, ids, version=1.2)


def write_new(root, config="config_v2.0.json", folder="training/v2.0/instances"):
    ids = values(ROAD, PERSON, CAR, EGO)
    ids[14:16, :5] = 256 * GROUP
    ids[14:16, 6:9] = 256 * SHOULDER
    write(root, config, folder, NEW, ids, version=2.0)


def data(root, version="1.2", **changes):
    return DataSettings(format="vistas", root=str(root), vistas_version=version, **changes)


def read(root, version="1.2", **changes):
    stage = label_stage(data(root, version, **changes), "train", "training", faithful=False)
    rows, rejects = run_stage(stage)
    assert not rejects, rejects
    return stage.settings(), rows["a"]


@pytest.mark.parametrize(
    "layout",
    [
        {},
        {"config": "config_v1.2.json", "folder": "training/v1.2/instances"},
    ],
    ids=["alone", "beside 2.0"],
)
def test_version_1_2_is_read_from_both_layouts(tmp_path, layout):
    write_old(tmp_path, **layout)
    settings, row = read(tmp_path)
    assert settings.classes == (
        "construction--flat--road",
        "animal--bird",
        "human--person",
        "object--vehicle--car",
    )
    assert settings.original_ids == (1, 0, 2, 3)
    assert (settings.num_stuff, settings.ignored_ids) == (1, (4,))
    assert row["categories"] == [255, 0, 2, 2, 3]
    assert not any(row["is_crowd"])
    assert (read_deep_ids(row["id_map"])[-2:] == 0).all()


@pytest.mark.parametrize(
    "layout",
    [{}, {"config": "v2.0/config_v2.0.json", "folder": "v2.0/training/instances"}],
    ids=["below the split", "folder of its own"],
)
def test_version_2_0_is_read_from_both_layouts(tmp_path, layout):
    write_old(tmp_path)
    write_new(tmp_path, **layout)
    settings, row = read(tmp_path, "2.0")
    assert settings.classes[:2] == (
        "construction--flat--road",
        "construction--flat--road-shoulder",
    )
    assert settings.num_stuff == 2
    assert row["categories"] == [255, 0, 1, 2, 2, 3, 4]
    assert row["is_crowd"] == [False, False, False, False, False, True, False]
    assert label_source(data(tmp_path, "2.0"), faithful=False).version() == "2.0"
    assert label_source(data(tmp_path), faithful=False).version() == "1.2"
    # both versions of one folder stay apart
    assert read(tmp_path)[0] != settings


def test_version_2_0_has_more_classes_than_8_bits_of_the_old_divisor_separate(tmp_path):
    """124 classes: 123 * 256 + 200 is class 123, by the original's divisor 124."""
    labels = [label(f"class--{k}", instances=True) for k in range(124)]
    ids = np.full(SIZE_HW, 123 * 256 + 200)
    write(tmp_path, "config_v2.0.json", "training/v2.0/instances", labels, ids)
    assert read(tmp_path, "2.0")[1]["categories"] == [255, 123]
    stage = label_stage(data(tmp_path, "2.0"), "train", "training", faithful=True)
    (error,) = run_stage(stage)[1].values()
    assert isinstance(error, UnknownCategoryError)


def test_published_panoptic_files_of_2_0_are_coco_panoptic(tmp_path):
    write_new(tmp_path)
    folder = tmp_path / "training" / "v2.0" / "panoptic"
    folder.mkdir()
    ids = np.zeros((*SIZE_HW, 3), np.uint8)
    ids[..., 0] = 7
    Image.fromarray(ids).save(folder / "a.png")
    segment = {"id": 7, "category_id": 1, "area": 600, "iscrowd": 0}
    (folder / "panoptic_2020.json").write_text(
        json.dumps(
            {
                "images": [{"id": "a", "file_name": "a.jpg", "height": 20, "width": 30}],
                "annotations": [
                    {"image_id": "a", "file_name": "a.png", "segments_info": [segment]}
                ],
                "categories": [{"id": 1, "name": "road", "isthing": 0}],
            }
        )
    )
    settings = DataSettings(
        format="coco_panoptic",
        root=str(tmp_path),
        val_split="training",
        images="{split}/images",
        labels="{split}/v2.0/panoptic",
        annotations="{split}/v2.0/panoptic/panoptic_2020.json",
    )
    rows, rejects = run_stage(label_stage(settings, "train", "training", faithful=False))
    assert not rejects
    assert rows["a"]["categories"] == [255, 0]


def test_stated_files_win_over_the_layout(tmp_path):
    write_old(tmp_path, "mine.json", "training/mine")
    changes = {"annotations": "mine.json", "labels": "{split}/mine/{id}.png"}
    assert read(tmp_path, **changes)[1]["categories"] == [255, 0, 2, 2, 3]


def test_published_numbers_stand_beside_the_labels_that_they_are_for(tmp_path):
    write_old(tmp_path)
    write_new(tmp_path)
    for version, expected in (("1.2", True), ("2.0", False)):
        values = {"data": {"root": str(tmp_path), "vistas_version": version}}
        first = seamless_benchmarks(SeamlessSettings.model_validate(values))[0]
        assert bool(first.published) == expected


def test_bad_class_lists_are_refused_by_file(tmp_path):
    write_new(tmp_path)
    path = tmp_path / "config_v2.0.json"
    for content in ("{", "[]", "{}", '{"labels": [{"name": "a"}]}', '{"labels": 3}'):
        path.write_text(content)
        with pytest.raises(SegmentListError, match=r"config_v2\.0\.json"):
            read(tmp_path, "2.0")
    with pytest.raises(MissingLabelFileError, match=r"config\.json: not found"):
        read(tmp_path)


def test_labels_of_the_other_version_and_of_another_size_are_rejects(tmp_path):
    write_old(tmp_path)
    ids = values(ROAD_OLD, PERSON_OLD, 5, VOID_OLD)
    (tmp_path / "training/instances/a.png").write_bytes(deep_ids_png(ids))
    stage = label_stage(data(tmp_path), "train", "training", faithful=False)
    assert isinstance(run_stage(stage)[1]["a"], UnknownCategoryError)
    (tmp_path / "training/instances/a.png").write_bytes(deep_ids_png(values(1, 2, 3, 4)[:10]))
    assert isinstance(run_stage(stage)[1]["a"], LabelSizeError)
