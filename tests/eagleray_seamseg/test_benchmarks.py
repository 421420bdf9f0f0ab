"""Scores of known predictions, and the ceiling of the fusion."""

import json

import numpy as np
import pytest
import torch
from tests.eagleray_seamseg.small_settings import cityscapes_settings
from tests.eagleray_vision.small_data import run_stage, small_cityscapes, write_frame

from eagleray.task import InputError
from eagleray_seamseg.settings import SeamlessSettings
from eagleray_seamseg.task import SeamlessTask
from eagleray_vision.inference.prediction import PanopticInference, PanopticPrediction
from eagleray_vision.panoptic.panoptic_map import resize_panoptic, without_crowds
from eagleray_vision.samples.sample import PanopticSample
from eagleray_vision.scoring.image import truth_as_output


def open_task(tmp_path, **changes):
    task = SeamlessTask(cityscapes_settings(small_cityscapes(tmp_path), **changes))
    rows = {stage.label: run_stage(stage)[0] for stage in task.stages()}
    data = task.dataset("val", rows)
    return task, [data.load(k, np.random.default_rng(0)) for k in range(len(data))]


def perfect(sample, truth, num_stuff=11):
    output = truth_as_output(truth, num_stuff)
    scale = torch.tensor(
        [n / t for n, t in zip(sample.network_hw, truth.id_map.shape, strict=True)] * 2
    )
    inference = PanopticInference(
        boxes_yxyx=output.boxes_yxyx * scale,
        classes=output.classes,
        scores=output.scores,
        mask_logits=output.mask_logits,
        semantic_classes=torch.from_numpy(resize_panoptic(truth, sample.network_hw).class_map(0)),
        semantic_logits=torch.zeros(19, 1, 1),
    )
    return PanopticPrediction(without_crowds(truth), output.semantic_classes.numpy(), inference)


def evaluate(task, samples, predictions):
    benchmark = task.benchmarks()[0]
    rows = []
    for sample, prediction in zip(samples, predictions, strict=True):
        row = task.score(benchmark.name, sample, prediction)
        assert set(row) == set(benchmark.schema)
        rows.append(json.loads(json.dumps(row)))
    return task.compute(benchmark.name, rows)


def test_truth_as_prediction_is_perfect(tmp_path):
    task, samples = open_task(tmp_path)
    found = evaluate(task, samples, [perfect(one, one.truth) for one in samples])
    for name in ("pq", "pq_things", "pq_stuff", "sq", "rq", "pq_dagger"):
        assert found.values[name] == pytest.approx(100.0), name
    assert found.values["box_ap"] == pytest.approx(100.0)
    assert found.values["mask_ap"] == pytest.approx(100.0)
    # the group of persons is void in the prediction: its pixels are semantic errors
    assert 90 < found.values["miou"] < 100
    assert found.per_class["car"]["pq"] == pytest.approx(100.0)
    assert set(found.per_class) == {"road", "sky", "person", "car"}


def test_separate_mode_scores_the_heads_themselves(tmp_path):
    task, samples = open_task(tmp_path, evaluation={"coco_ap": True, "mode": "separate"})
    found = evaluate(task, samples, [perfect(one, one.truth) for one in samples])
    assert found.values["miou"] == pytest.approx(100.0)
    assert found.values["mask_ap"] > 75


def test_original_protocol_counts_absent_classes_as_zero(tmp_path):
    task, samples = open_task(tmp_path, faithful=True)
    found = evaluate(task, samples, [perfect(one, one.placed) for one in samples])
    assert found.values["pq"] == pytest.approx(100 * 4 / 19)
    assert "miou" not in found.values


def test_empty_prediction_scores_zero(tmp_path):
    task, samples = open_task(tmp_path)
    predictions = []
    for sample in samples:
        whole = perfect(sample, sample.truth)
        nothing = resize_panoptic(whole.fused, whole.fused.id_map.shape)
        nothing.id_map[:] = 0
        predictions.append(PanopticPrediction(nothing, whole.semantic_classes, whole.inference))
    found = evaluate(task, samples, predictions)
    assert found.values["pq"] == 0
    assert found.values["mask_ap"] == 0
    assert found.values["pixel_accuracy"] == 0


@pytest.mark.parametrize("faithful", [False, True])
def test_ceiling_is_high_and_needs_no_prediction(tmp_path, faithful):
    task, samples = open_task(tmp_path, faithful=faithful)
    benchmark = task.benchmarks()[1]
    assert benchmark.name == "cityscapes_val_fusion_ceiling"
    rows = [task.score(benchmark.name, sample, None) for sample in samples]
    assert all(set(row) == set(benchmark.schema) for row in rows)
    values = task.compute(benchmark.name, rows).values
    share = 4 / 19 if faithful else 1
    assert 90 * share < values["pq"] <= 100 * share
    assert "mask_ap" not in values


def test_ceiling_drops_what_the_least_area_drops(tmp_path):
    write_frame(tmp_path, "ulm_000001_000019", split="val")
    task, samples = open_task(tmp_path, fusion={"min_stuff_area_px": 48 * 72})
    rows = [task.score(task.benchmarks()[1].name, sample, None) for sample in samples]
    values = task.compute(task.benchmarks()[1].name, rows).values
    assert values["pq_stuff"] == 0
    assert values["pq_things"] > 90


def test_result_does_not_depend_on_the_cut_into_shards(tmp_path):
    for number in range(1, 5):
        ids = np.full((64, 96), 7)
        ids[5 : 20 + 6 * number, 10:40] = 26000
        write_frame(tmp_path, f"ulm_00000{number}_000019", split="val", label=ids)
    task, samples = open_task(tmp_path)
    benchmark = task.benchmarks()[1]
    rows = [task.score(benchmark.name, sample, None) for sample in samples]
    assert len(rows) == 5
    whole = task.compute(benchmark.name, rows)
    assert task.compute(benchmark.name, reversed(rows)) == whole


def test_published_numbers_belong_to_their_benchmark():
    def metrics(**values):
        published = SeamlessTask(SeamlessSettings(**values)).benchmarks()[0].published
        return {(one.metric, one.value) for one in published}

    assert ("pq", 37.99) in metrics()
    assert ("pq", 60.3) in metrics(preset="cityscapes_r50")
    assert not metrics(data={"format": "coco_panoptic"})


def test_image_without_labels_cannot_be_scored(tmp_path):
    task, samples = open_task(tmp_path)
    bare = PanopticSample("bare", samples[0].image, samples[0].photo)
    with pytest.raises(InputError, match="no labels"):
        task.score(task.benchmarks()[0].name, bare, perfect(samples[0], samples[0].truth))
