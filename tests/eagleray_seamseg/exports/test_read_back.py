"""Exports of the toy world, read and scored by others, agree with our own score."""

import argparse
import contextlib
import copy
import io

import numpy as np
import pytest
import torch
from cityscapesscripts.evaluation import evalInstanceLevelSemanticLabeling
from cityscapesscripts.evaluation.instances2dict import instances2dict
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from tests.eagleray_seamseg.exports.independent_reader import (
    mean_quality,
    panoptic_quality,
    read_folder,
)
from torchmetrics.detection import PanopticQuality

from eagleray_seamseg.settings import SeamlessSettings
from eagleray_seamseg.task import SeamlessTask
from eagleray_toyworld.formats.panoptic import street_panoptic_sample
from eagleray_vision.inference.prediction import PanopticInference, PanopticPrediction
from eagleray_vision.metrics.cityscapes_ap import compute_cityscapes_ap, instance_overlap
from eagleray_vision.panoptic.label_image import deep_ids_png, rgb_ids_png
from eagleray_vision.panoptic.label_space import CITYSCAPES, VOID_CLASS
from eagleray_vision.panoptic.panoptic_map import IndexedPanoptic, indexed_panoptic
from eagleray_vision.samples.sample import PanopticSample

SIZE_HW = (96, 192)
FRAMES = 6
NUM_STUFF = CITYSCAPES.num_stuff


def make_task():
    values = {
        "preset": "cityscapes_r50",
        "faithful": False,
        "data": {"format": "toyworld", "toyworld": {"height_px": 96, "width_px": 192}},
        "input": {"shortest_px": 96},
        "network": {"body": {"num_frozen": 0}},
        "evaluation": {"coco_ap": True},
    }
    return SeamlessTask(SeamlessSettings.model_validate(values))


def frame(index, *, crowd):
    """Return photograph and truth; ``crowd`` turns the last thing into one."""
    photo, ids, segments = street_panoptic_sample(11, index, SIZE_HW, min_thing_px=32)
    categories = [VOID_CLASS, *(segment.train_id for segment in segments)]
    crowds = [0] * len(categories)
    things = [k for k, c in enumerate(categories) if NUM_STUFF <= c < VOID_CLASS]
    if crowd and things:
        crowds[things[-1]] = 1
    return photo, indexed_panoptic(ids, categories, crowds)


def predicted_from(truth: IndexedPanoptic, seed: int, *, gaps: bool) -> IndexedPanoptic:
    """Return what a fair network might say: shifted, mistaken and, with ``gaps``, with void pixels
    and crowds.
    """
    rng = np.random.default_rng(seed)
    ids = np.roll(truth.id_map, rng.integers(-2, 3, 2), (0, 1))
    categories, crowds = truth.categories.copy(), np.zeros(len(truth.categories), bool)
    for index in range(1, len(categories)):
        chance = rng.random()
        is_thing = categories[index] >= NUM_STUFF
        if categories[index] == VOID_CLASS or (gaps and chance < 0.08):
            ids[ids == index] = 0
        elif chance < 0.16:
            low, high = (NUM_STUFF, 19) if is_thing else (0, NUM_STUFF)
            categories[index] = rng.integers(low, high)
        elif gaps and chance < 0.24 and is_thing:
            crowds[index] = True
    scores = np.concatenate([[0], rng.uniform(0.5, 1, len(categories) - 1)])
    # a stuff class has one segment in a fused map
    first = {}
    for index in range(1, len(categories)):
        if categories[index] < NUM_STUFF:
            ids[ids == index] = first.setdefault(int(categories[index]), index)
    if not gaps:
        ids[ids == 0] = next(iter(first.values()))
    return indexed_panoptic(ids, categories, crowds, scores)


class World:
    """Frames, predictions, our score, and the exports on disk."""

    def __init__(self, folder, *, crowd=False, gaps=True):
        self.folder, self.task = folder, make_task()
        (folder / "photos").mkdir(parents=True)
        self.truth, self.predicted = {}, {}
        rows, indices = [], []
        for index in range(FRAMES):
            photo, truth = frame(index, crowd=crowd)
            Image.fromarray(photo).save(folder / "photos" / f"f{index}.png")
            self.truth[f"f{index}"] = truth
            self.predicted[f"f{index}"] = predicted_from(truth, index, gaps=gaps)
        for item in self.task.inputs([folder / "photos"]):
            prediction = self.prediction(item.key)
            sample = self.task.load_input(item)
            labeled = PanopticSample(
                item.key, sample.image, sample.photo, truth=self.truth[item.key]
            )
            rows.append(self.task.score("", labeled, prediction))
            for format in ("coco_panoptic", "cityscapes_instance_ids"):
                record = self.task.export(item, sample, prediction, format)
                self.write(record.files)
                indices += [dict(record.row)] if record.row else []
        self.write(self.task.export_index("coco_panoptic", indices))
        self.score = self.task.compute("", rows)

    def prediction(self, key):
        fused = self.predicted[key]
        nothing = PanopticInference(
            torch.zeros(0, 4),
            torch.zeros(0, dtype=torch.int64),
            torch.zeros(0),
            torch.zeros(0, 28, 28),
            torch.zeros(SIZE_HW, dtype=torch.int64),
            torch.zeros(0),
        )
        return PanopticPrediction(fused, fused.class_map(VOID_CLASS), nothing)

    def write(self, files):
        for name, content in files.items():
            path = self.folder / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content)

    def true_segments(self):
        """Return the truth as plain arrays and dictionaries, for readers that are not ours."""
        found = {}
        for key, truth in self.truth.items():
            segments = {
                index: {
                    "category_id": CITYSCAPES.original_ids[int(category)],
                    "iscrowd": int(truth.is_crowd[index]),
                }
                for index, category in enumerate(truth.categories)
                if category != VOID_CLASS and (truth.id_map == index).any()
            }
            found[key] = (truth.id_map, segments)
        return found


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return World(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def crowded(tmp_path_factory):
    return World(tmp_path_factory.mktemp("crowded"), crowd=True)


@pytest.mark.parametrize("which", ["world", "crowded"])
def test_independent_reader_and_score_agree_with_ours(which, request):
    world = request.getfixturevalue(which)
    predicted = read_folder(world.folder / "coco_panoptic.json", world.folder / "coco_panoptic")
    totals = panoptic_quality(world.true_segments(), predicted)
    ours = world.score
    assert 20 < ours.values["pq"] < 95
    assert mean_quality(totals) == pytest.approx(ours.values["pq"], abs=1e-9)
    for index, name in enumerate(CITYSCAPES.class_names):
        counts = totals.get(CITYSCAPES.original_ids[index])
        if counts is None:
            assert "pq" not in ours.per_class.get(name, {})
            continue
        iou, right, wrong, missed = counts
        expected = 100 * iou / (right + wrong / 2 + missed / 2)
        assert ours.per_class[name]["pq"] == pytest.approx(expected, abs=1e-9)


def test_truth_read_back_from_its_own_export_is_perfect(world, tmp_path):
    truth = world.true_segments()
    totals = panoptic_quality(truth, truth)
    assert mean_quality(totals) == 100
    assert all(wrong == missed == 0 for _, _, wrong, missed in totals.values())


def test_torchmetrics_scores_the_read_back_maps_as_we_do(tmp_path):
    """Without predicted void, which it leaves out of the union (the official rule does not). Its
    void is any category that is neither thing nor stuff.
    """
    world = World(tmp_path, gaps=False)
    stuff = set(CITYSCAPES.original_ids[:NUM_STUFF])
    things = set(CITYSCAPES.original_ids[NUM_STUFF:])
    metric = PanopticQuality(things=things, stuffs=stuff, allow_unknown_preds_category=True)
    predicted = read_folder(world.folder / "coco_panoptic.json", world.folder / "coco_panoptic")
    for key, truth in world.true_segments().items():
        pair = [torch.from_numpy(_colored(*one))[None] for one in (predicted[key], truth)]
        metric.update(*pair)
    assert 100 * float(metric.compute()) == pytest.approx(world.score.values["pq"], abs=1e-4)


def _colored(ids, segments):
    categories = np.zeros(int(ids.max()) + 1, np.int64)
    for number, segment in segments.items():
        categories[number] = segment["category_id"]
    return np.stack([categories[ids], np.where(categories[ids] > 0, ids, 0)], axis=-1)


def cityscapes_values(truth: IndexedPanoptic) -> np.ndarray:
    """Return Cityscapes truth by its definition: label, or label * 1000 + number for things."""
    values, number = np.zeros(SIZE_HW, np.int64), 0
    for index, category in enumerate(truth.categories):
        if category == VOID_CLASS:
            continue
        label = CITYSCAPES.original_ids[int(category)]
        if category >= NUM_STUFF and not truth.is_crowd[index]:
            label, number = label * 1000 + number, number + 1
        values[truth.id_map == index] = label
    return values


def official_average_precision(folder, predictions, truths) -> float:
    arguments = argparse.Namespace(**vars(copy.copy(evalInstanceLevelSemanticLabeling.args)))
    arguments.quiet, arguments.JSONOutput = True, False
    arguments.gtInstancesFile = str(folder / "cache.json")
    arguments.predictionPath = str(folder)
    evalInstanceLevelSemanticLabeling.setInstanceLabels(arguments)
    with contextlib.chdir(folder):  # it leaves a matches.json where it stands
        result = evalInstanceLevelSemanticLabeling.evaluateImgLists(predictions, truths, arguments)
    return float(result["averages"]["allAp"])


@pytest.mark.parametrize("which", ["world", "crowded"])
def test_cityscapesscripts_scores_the_instance_ids_as_we_do(which, request, tmp_path):
    world = request.getfixturevalue(which)
    files, truths, overlaps = [], [], []
    for key, truth in world.truth.items():
        values = np.asarray(
            Image.open(world.folder / "instance_ids" / f"{key}_instanceIds.png")
        ).astype(int)
        lines, masks, labels, scores = [], [], [], []
        for value in np.unique(values[values >= 1000]).tolist():
            mask, label, score = values == value, value // 1000, 1 / (2 + value % 1000)
            Image.fromarray(mask.astype(np.uint8) * 255).save(tmp_path / f"{key}_{value}.png")
            lines.append(f"{key}_{value}.png {label} {score}")
            masks, labels, scores = [*masks, mask], [*labels, label], [*scores, score]
        (tmp_path / f"{key}_pred.txt").write_text("\n".join(lines))
        expected = cityscapes_values(truth)
        (tmp_path / f"{key}_gtFine_instanceIds.png").write_bytes(deep_ids_png(expected))
        files.append(str(tmp_path / f"{key}_pred.txt"))
        truths.append(str(tmp_path / f"{key}_gtFine_instanceIds.png"))
        overlaps.append(instance_overlap(expected, masks, labels, scores))
    ours = compute_cityscapes_ap(overlaps).ap
    assert 0.05 < ours < 1
    assert official_average_precision(tmp_path, files, truths) == pytest.approx(ours, abs=1e-9)


def test_cityscapesscripts_reads_the_instances_of_the_export(world):
    """Its own reader finds every visible thing with its label and area."""
    for key, predicted in world.predicted.items():
        path = str(world.folder / "instance_ids" / f"{key}_instanceIds.png")
        (by_label,) = instances2dict(path).values()
        found = [
            (one["labelID"], one["pixelCount"])
            for instances in by_label.values()
            for one in instances
            if one["instID"] >= 1000
        ]
        expected = [
            (CITYSCAPES.original_ids[int(predicted.categories[index])], int(area))
            for index, area in enumerate(predicted.areas())
            if area
            and NUM_STUFF <= predicted.categories[index] < VOID_CLASS
            and not predicted.is_crowd[index]
        ]
        assert sorted(found) == sorted(expected)


def test_pycocotools_scores_the_instances_of_the_panoptic_export_as_we_do(world):
    """Scores are not part of the panoptic format; they come from the prediction."""
    predicted = read_folder(world.folder / "coco_panoptic.json", world.folder / "coco_panoptic")
    truth, results = _coco_truth(world), []
    for number, (key, (ids, segments)) in enumerate(predicted.items()):
        for index, segment in segments.items():
            if segment["category_id"] in CITYSCAPES.original_ids[NUM_STUFF:]:
                results.append(
                    {
                        "image_id": number,
                        "category_id": segment["category_id"],
                        "segmentation": coco_mask.encode(np.asfortranarray(ids == index)),
                        "score": float(world.predicted[key].scores[index]),
                    }
                )
    evaluation = COCOeval(truth, truth.loadRes(results), "segm")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    assert 5 < world.score.values["mask_ap"] < 99
    assert 100 * evaluation.stats[0] == pytest.approx(world.score.values["mask_ap"], abs=1e-6)


def _coco_truth(world) -> COCO:
    truth = COCO()
    annotations = []
    for number, (ids, segments) in enumerate(world.true_segments().values()):
        for index, segment in segments.items():
            if segment["category_id"] in CITYSCAPES.original_ids[NUM_STUFF:]:
                encoded = coco_mask.encode(np.asfortranarray(ids == index))
                annotations.append(
                    {
                        **segment,
                        "id": len(annotations) + 1,
                        "image_id": number,
                        "segmentation": encoded,
                        "area": float(coco_mask.area(encoded)),
                        "bbox": coco_mask.toBbox(encoded).tolist(),
                    }
                )
    truth.dataset = {
        "images": [{"id": k, "height": SIZE_HW[0], "width": SIZE_HW[1]} for k in range(FRAMES)],
        "categories": [{"id": k} for k in CITYSCAPES.original_ids[NUM_STUFF:]],
        "annotations": annotations,
    }
    truth.createIndex()
    return truth


def test_ids_of_three_bytes_survive_the_png():
    ids = np.array([[0, 1, 255, 256], [65535, 65536, 2**24 - 1, 7]])
    pixels = np.asarray(Image.open(io.BytesIO(rgb_ids_png(ids)))).astype(int)
    assert np.array_equal(pixels @ [1, 256, 65536], ids)
