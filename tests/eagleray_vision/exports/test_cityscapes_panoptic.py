"""Our export, read and scored by cityscapesScripts' own panoptic evaluation."""

import json

import numpy as np
import pytest
from tests.eagleray_vision.small_data import instance_ids

from eagleray.task import InputError, Item
from eagleray_vision.exports.cityscapes_panoptic import (
    cityscapes_panoptic_json,
    cityscapes_panoptic_record,
    frame_name,
)
from eagleray_vision.metrics.panoptic_quality import compute_panoptic_quality
from eagleray_vision.panoptic.cityscapes import (
    cityscapes_panoptic_annotation,
    cityscapes_to_indexed,
)
from eagleray_vision.panoptic.label_image import rgb_ids_png
from eagleray_vision.panoptic.label_space import CITYSCAPES
from eagleray_vision.panoptic.panoptic_map import IndexedPanoptic
from eagleray_vision.scoring.rule import official_statistics

FRAMES = ("ulm_000000_000019", "ulm_000001_000019")


def write_truth(folder, labels):
    (folder / "truth").mkdir()
    images, annotations = [], []
    for name, values in labels.items():
        ids, annotation = cityscapes_panoptic_annotation(values, name)
        (folder / "truth" / annotation["file_name"]).write_bytes(rgb_ids_png(ids))
        annotations.append(annotation)
        images.append({"id": name, "file_name": f"{name}_gtFine_leftImg8bit.png"})
    categories = [
        {"id": CITYSCAPES.original_ids[k], "name": name, "isthing": int(k >= CITYSCAPES.num_stuff)}
        for k, name in enumerate(CITYSCAPES.class_names)
    ]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "truth.json").write_text(json.dumps(content))


def predicted(values, seed):
    """Return labels with shifted borders, a lost and an invented instance."""
    found, _ = cityscapes_to_indexed(np.roll(values, 2 + seed, axis=1))
    categories = found.categories.copy()
    categories[-1] = CITYSCAPES.class_names.index("bus")
    return IndexedPanoptic(found.id_map, categories, np.zeros_like(found.is_crowd), found.scores)


def test_cityscapes_scripts_score_our_export_as_we_do(tmp_path):
    evaluation = pytest.importorskip("cityscapesscripts.evaluation.evalPanopticSemanticLabeling")
    labels = {name: instance_ids() for name in FRAMES}
    write_truth(tmp_path, labels)
    rows, units = [], []
    for seed, (name, values) in enumerate(labels.items()):
        fused = predicted(values, seed)
        item = Item(f"ulm/{name}_leftImg8bit", "", {})
        record = cityscapes_panoptic_record(item, fused, CITYSCAPES)
        for path, content in record.files.items():
            (tmp_path / path).parent.mkdir(exist_ok=True)
            (tmp_path / path).write_bytes(content)
        rows.append(json.loads(json.dumps(dict(record.row))))
        truth, _ = cityscapes_to_indexed(values)
        units.append(official_statistics(truth, fused, CITYSCAPES.num_classes))
    for path, content in cityscapes_panoptic_json(rows).items():
        (tmp_path / path).write_bytes(content)
    theirs = evaluation.evaluatePanoptic(
        str(tmp_path / "truth.json"),
        str(tmp_path / "truth"),
        str(tmp_path / "cityscapes_panoptic.json"),
        str(tmp_path / "cityscapes_panoptic"),
        str(tmp_path / "results.json"),
    )
    ours = compute_panoptic_quality(units, CITYSCAPES.is_thing)
    assert 0 < ours.overall.pq < 1
    for group, found in (("All", ours.overall), ("Things", ours.things), ("Stuff", ours.stuff)):
        assert found.pq == pytest.approx(theirs[group]["pq"], abs=1e-9)
        assert found.num_classes == theirs[group]["n"]


def test_frames_are_named_as_the_server_knows_them():
    assert frame_name("berlin/berlin_000000_000019_leftImg8bit") == "berlin_000000_000019"
    assert frame_name("holiday/IMG_0001") == "holiday/IMG_0001"


def test_more_instances_than_ids_are_refused():
    ids = np.arange(1000, dtype=np.int32).reshape(20, 50)
    many = IndexedPanoptic(
        ids + 1, np.full(1001, 13), np.zeros(1001, bool), np.ones(1001, np.float32)
    )
    with pytest.raises(InputError, match="1000 segments"):
        cityscapes_panoptic_record(Item("a", "", {}), many, CITYSCAPES)
