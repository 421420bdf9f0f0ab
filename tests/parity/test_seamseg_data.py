"""Fusion, metrics, conversion, transforms, overlay and batch order against the original's
numbers."""

import io
import json
import re
from collections import defaultdict
from pathlib import Path

import msgpack
import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools.coco import COCO
from tests.parity.cases import cases
from tests.parity.every_key import EveryKey, every_key_is_read  # noqa: F401

from eagleray_seamseg.batch_sampler import OriginalBatchSampler
from eagleray_seamseg.intermediate.source import (
    ConvertedImage,
    coco_detection_json,
    metadata_bytes,
)
from eagleray_seamseg.original_quality import seamless_statistics
from eagleray_vision.detection.boxes import boxes_from_id_map
from eagleray_vision.metrics.average_precision import evaluate_coco
from eagleray_vision.metrics.mean_iou import compute_mean_iou, confusion_matrix
from eagleray_vision.metrics.panoptic_quality import compute_panoptic_quality
from eagleray_vision.panoptic.cityscapes import cityscapes_to_indexed, vistas_to_indexed
from eagleray_vision.panoptic.fusion import FusionThresholds, fuse_panoptic
from eagleray_vision.panoptic.label_image import deep_ids_png, read_deep_ids
from eagleray_vision.panoptic.label_space import CITYSCAPES, VOID_CLASS, label_space_from_vistas
from eagleray_vision.panoptic.panoptic_map import indexed_panoptic
from eagleray_vision.panoptic.picture import panoptic_picture
from eagleray_vision.samples.placement import (
    ImageNormalization,
    evaluation_placement,
    place_image,
    place_labels,
)
from eagleray_vision.scoring.instances import fused_instances, raw_instances, true_instances

PAPER_COLORS = ImageNormalization(
    (0.41738699, 0.45732192, 0.46886091), (0.25685097, 0.26509955, 0.29067996)
)


def images_of(data, marker="/sem_pred"):
    return sorted({key.split("/")[0] for key in data if key.endswith(marker)})


def detections(data, image):
    if f"{image}/bbx" not in data:
        return torch.zeros(0, 4), torch.zeros(0).long(), torch.zeros(0), torch.zeros(0, 28, 28)
    boxes, classes, scores, masks = (
        torch.from_numpy(data[f"{image}/{name}"]) for name in ("bbx", "cls", "obj", "msk_logits")
    )
    return boxes, classes, scores, masks.float()


@pytest.mark.parametrize("path", cases("seamseg", "fusion_pq_miou"), ids=lambda p: p.stem)
def test_fusion_and_its_metrics_equal_the_original(path: Path):
    data = EveryKey(path, __name__)
    config = json.loads(str(data["cfg"]))
    num_stuff, num_classes = config["num_stuff"], config["num_stuff"] + config["num_thing"]
    thresholds = FusionThresholds(config["score"], config["overlap"], config["min_stuff_area"])
    units, confusions = [], []
    for image in images_of(data):
        fused = fuse_panoptic(
            data[f"{image}/sem_pred"],
            *detections(data, image),
            num_stuff=num_stuff,
            thresholds=thresholds,
        )
        assert np.array_equal(fused.id_map, data[f"{image}/out_idmap"])
        assert np.array_equal(fused.categories, data[f"{image}/out_cat"])
        assert np.array_equal(fused.is_crowd, data[f"{image}/out_iscrowd"].astype(bool))
        np.testing.assert_allclose(fused.scores, data[f"{image}/out_score"], atol=1e-6)

        truth = indexed_panoptic(*(data[f"{image}/gt_{k}"] for k in ("idmap", "cat", "iscrowd")))
        unit = seamless_statistics(truth, fused, num_classes)
        found = [unit.sum_iou, unit.true_positives, unit.false_positives, unit.false_negatives]
        np.testing.assert_allclose(found, data[f"{image}/stats_iou_tp_fp_fn"], atol=1e-12)
        units.append(unit)

        classes = [one.class_map(VOID_CLASS) for one in (truth, fused)]
        confusion = confusion_matrix(*classes, num_classes, VOID_CLASS)
        assert np.array_equal(confusion, data[f"{image}/confmat_gt_rows"])
        confusions.append(confusion)

    quality = compute_panoptic_quality(units, np.arange(num_classes) >= num_stuff, mean_over="all")
    counts = ("sum_iou", "true_positives", "false_positives", "false_negatives")
    totals = [sum(getattr(unit, name) for unit in units) for name in counts]
    np.testing.assert_allclose(totals, data["total/stats"], atol=1e-12)
    np.testing.assert_allclose(quality.pq, data["total/pq_per_class"], atol=1e-12)
    means = [quality.overall.pq, quality.stuff.pq, quality.things.pq]
    np.testing.assert_allclose(means, data["total/pq_all_stuff_thing"], atol=1e-12)
    iou = compute_mean_iou(confusions).per_class
    np.testing.assert_allclose(iou, data["total/iou_per_class"], atol=1e-12)


@pytest.mark.parametrize("mode", ["panoptic", "separate"])
@pytest.mark.parametrize("path", cases("seamseg", "coco_ap"), ids=lambda p: p.stem)
def test_detections_for_coco_equal_the_original(path: Path, mode: str):
    data = EveryKey(path, __name__)
    config = json.loads(str(data["cfg"]))
    names = [image["id"] for image in json.loads(str(data["gt_json"]))["images"]]
    written = json.loads(str(data[f"pred_{mode}"]))
    for image, name in zip(images_of(data), names, strict=True):
        boxes, classes, scores, masks = detections(data, image)
        original_hw = tuple(data[f"{image}/orig_size"].tolist())
        if mode == "panoptic":
            fused = fuse_panoptic(
                data[f"{image}/sem_pred"],
                boxes,
                classes,
                scores,
                masks,
                num_stuff=config["num_stuff"],
                thresholds=FusionThresholds(*config["fusion"]),
            )
            assert np.array_equal(fused.id_map, data[f"{image}/pan_idmap"])
            assert np.array_equal(fused.categories, data[f"{image}/pan_cat"])
            assert np.array_equal(fused.is_crowd, data[f"{image}/pan_iscrowd"].astype(bool))
            np.testing.assert_allclose(fused.scores, data[f"{image}/pan_score"], atol=1e-6)
            found = fused_instances(fused, config["num_stuff"], original_hw)
        else:
            found = raw_instances(
                boxes,
                classes,
                scores,
                masks,
                num_stuff=config["num_stuff"],
                network_hw=tuple(data[f"{image}/net_size"].tolist()),
                size_hw=original_hw,
            )
        expected = [entry for entry in written if entry["image_id"] == name]
        assert list(found.runs) == [entry["segmentation"]["counts"] for entry in expected]
        assert found.category_ids.tolist() == [entry["category_id"] for entry in expected]
        boxes_expected = np.array([entry["bbox"] for entry in expected]).reshape(-1, 4)
        np.testing.assert_allclose(found.boxes_xywh, boxes_expected, atol=1e-4)
        np.testing.assert_allclose(found.scores, [entry["score"] for entry in expected], atol=1e-7)


@pytest.mark.parametrize("path", cases("seamseg", "coco_ap"), ids=lambda p: p.stem)
def test_average_precision_equals_the_original_and_its_lost_match(path: Path):
    data = EveryKey(path, __name__)
    truth = json.loads(str(data["gt_json"]))
    for mode in ("panoptic", "separate"):
        results = json.loads(str(data[f"pred_{mode}"]))
        found = evaluate_coco(truth, results, only_images_with_detections=True)
        expected = data[f"ap_{mode}_box_mask"]
        np.testing.assert_allclose([found.box["ap"], found.mask["ap"]], expected, atol=1e-9)
    counted_from_1 = [{**entry, "id": entry["id"] + 1} for entry in truth["annotations"]]
    results = json.loads(str(data["pred_panoptic"]))
    found = evaluate_coco({**truth, "annotations": counted_from_1}, results)
    expected = data["ap_panoptic_box_mask_ids_from_1"]
    np.testing.assert_allclose([found.box["ap"], found.mask["ap"]], expected, atol=1e-9)


@pytest.mark.parametrize("path", cases("seamseg", "dataset_converters"), ids=lambda p: p.stem)
def test_truth_for_coco_equals_the_file_of_the_original(path: Path, tmp_path: Path):
    data = EveryKey(path, __name__)
    for name, split, image, _, space, panoptic in converted_sets(data, tmp_path):
        reference = COCO()
        reference.dataset = json.loads(str(data[f"{name}/out/coco/{split}.json"]))
        reference.createIndex()
        entries = [one for one in reference.dataset["annotations"] if one["image_id"] == image]
        found = true_instances(panoptic, space.num_stuff, polygons=True)
        rows = zip(found.runs, found.category_ids, found.areas, found.is_crowd, strict=True)
        assert sorted(rows) == sorted(
            (
                reference.annToRLE(one)["counts"].decode(),
                one["category_id"],
                one["area"],
                bool(one["iscrowd"]),
            )
            for one in entries
        )


@pytest.mark.parametrize("path", cases("seamseg", "transforms"), ids=lambda p: p.stem)
def test_transforms_equal_the_original(path: Path):
    data = EveryKey(path, __name__)
    for case in images_of(data, "/img"):
        image, size_hw = data[f"{case}/img"], data[f"{case}/img"].shape[:2]
        shortest, longest = int(data[f"{case}/shortest"]), int(data[f"{case}/longest_max"])
        placement = evaluation_placement(size_hw, shortest_px=shortest, longest_max_px=longest)
        one_level = 1 / 255 / min(PAPER_COLORS.std)
        found = place_image(image, placement, PAPER_COLORS).numpy()
        np.testing.assert_allclose(found, data[f"{case}/out_img"], atol=one_level)

        labels = indexed_panoptic(*(data[f"{case}/{k}"] for k in ("idmap", "cat", "iscrowd")))
        placed = place_labels(labels, placement)
        assert np.array_equal(placed.id_map[None], data[f"{case}/out_msk"])
        assert np.array_equal(placed.categories, data[f"{case}/out_cat"])
        assert np.array_equal(placed.is_crowd, data[f"{case}/out_iscrowd"].astype(bool))
        boxes = boxes_from_id_map(torch.from_numpy(placed.id_map), len(placed.categories))
        assert np.array_equal(boxes.numpy(), data[f"{case}/out_bbx"])

        test_placement = evaluation_placement(size_hw, shortest_px=shortest, longest_max_px=None)
        found = place_image(image, test_placement, PAPER_COLORS).numpy()
        np.testing.assert_allclose(found, data[f"{case}/test_img"], atol=one_level)


@pytest.mark.parametrize("path", cases("seamseg", "overlay"), ids=lambda p: p.stem)
def test_picture_equals_the_original_before_compression(path: Path):
    data = EveryKey(path, __name__)
    panoptic = indexed_panoptic(data["idmap"], data["cat"], data["iscrowd"])
    num_stuff = int(data["num_stuff"])
    picture = panoptic_picture(data["image"], panoptic, data["palette"], num_stuff, faithful=True)
    expected = data["overlay_before_jpeg"].astype(int)
    assert np.abs(picture.astype(int) - expected).max() <= 3


@pytest.mark.parametrize("path", cases("seamseg", "sampler"), ids=lambda p: p.stem)
def test_batches_come_in_the_order_of_the_original(path: Path):
    data = EveryKey(path, __name__)
    sizes = [tuple(size) for size in data["sizes_hw"].tolist()]
    stored = [key for key in data if key != "sizes_hw"]
    assert stored
    for key in stored:
        numbers = re.fullmatch(r"bs(\d+)_ws(\d+)_drop(\d)/epoch(\d+)_rank(\d+)", key)
        batch_size, num_ranks, drop, epoch, rank = map(int, numbers.groups())
        sampler = OriginalBatchSampler(
            sizes, batch_size=batch_size, num_ranks=num_ranks, drop_last=bool(drop)
        )
        assert sampler.epoch(epoch)[rank] == json.loads(str(data[key])), key


def converted_sets(data, tmp_path):
    """Yield (data set, split, image id, file name, class list, converted labels)."""
    config = tmp_path / "config.json"
    for key in data:
        if key.startswith("cityscapes/in/"):
            split, name = key.split("/")[2:]
            image = "_".join(name.split("_")[:-2])
            panoptic, _ = cityscapes_to_indexed(data[key])
            file_name = f"{image.split('_')[0]}/{image}_leftImg8bit.png"
            yield "cityscapes", split, image, file_name, CITYSCAPES, panoptic
        elif key.startswith("vistas/in/") and "/instances/" in key:
            config.write_text(str(data["vistas/in/config_json"]))
            space = label_space_from_vistas(config)
            split, image = key.split("/")[2], key.split("/")[4]
            panoptic, _ = vistas_to_indexed(data[key], space, faithful=True)
            yield "vistas", split, image, f"{image}.jpg", space, panoptic


@pytest.mark.parametrize("path", cases("seamseg", "dataset_converters"), ids=lambda p: p.stem)
def test_converted_data_sets_equal_the_original(path: Path, tmp_path: Path):
    data = EveryKey(path, __name__)
    by_split, spaces = defaultdict(list), {}
    for name, split, image, file_name, space, panoptic in converted_sets(data, tmp_path):
        stored = read_deep_ids(deep_ids_png(panoptic.id_map))
        assert np.array_equal(stored, data[f"{name}/out/msk/{image}.png"])
        by_split[name, split].append(ConvertedImage(image, file_name, panoptic))
        spaces[name] = space
    assert spaces

    for name, space in spaces.items():
        written = Image.open(io.BytesIO(deep_ids_png(np.zeros((1, 1), np.uint16))))
        assert written.mode == str(data[f"{name}/out/msk_mode"])
        images = [one for (of, _), some in by_split.items() if of == name for one in some]
        photos = {f"{one.image_id}{Path(one.file_name).suffix}" for one in images}
        assert photos == set(json.loads(str(data[f"{name}/out/img_files"])))
        found = msgpack.unpackb(metadata_bytes(images, space), raw=False)
        for expected in (
            json.loads(str(data[f"{name}/out/metadata_json"])),
            msgpack.unpackb(data[f"{name}/out/metadata_bin"].tobytes(), raw=False),
        ):
            assert found["meta"] == expected["meta"]
            assert sorted_by_id(found["images"]) == sorted_by_id(expected["images"])

    for (name, split), images in by_split.items():
        listed = str(data[f"{name}/out/lst/{split}.txt"]).split()
        assert sorted(image.image_id for image in images) == sorted(listed)
        expected = json.loads(str(data[f"{name}/out/coco/{split}.json"]))
        found = coco_detection_json(
            images,
            spaces[name],
            version=expected["info"]["version"],
            date_captured="<any>",
            first_annotation_id=0,
        )
        assert found["info"] == expected["info"]
        assert found["categories"] == expected["categories"]
        assert sorted_by_id(found["images"]) == sorted_by_id(expected["images"])
        assert without_ids(found["annotations"]) == without_ids(expected["annotations"])
        numbers = [entry["id"] for entry in found["annotations"]]
        assert numbers == list(range(len(numbers)))


def sorted_by_id(entries):
    return sorted(entries, key=lambda entry: entry["id"])


def without_ids(annotations):
    kept = [{k: v for k, v in entry.items() if k != "id"} for entry in annotations]
    return sorted(json.dumps(entry, sort_keys=True) for entry in kept)
