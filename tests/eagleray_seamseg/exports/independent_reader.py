"""COCO panoptic files read, and panoptic quality computed, from the published definition alone.

Kirillov et al., "Panoptic Segmentation", CVPR 2019, section 4.1, and the COCO panoptic format:
numpy, json and Pillow, nothing of ours. Pixels of ids that a list does not name are void.
"""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

import numpy as np
from PIL import Image


def read_folder(json_file: Path, png_folder: Path) -> dict[str, tuple[np.ndarray, dict]]:
    """Return ids (H, W) and segments by id of every image; checks file, size, area and box."""
    content = json.loads(json_file.read_text())
    images = {image["id"]: image for image in content["images"]}
    categories = {category["id"] for category in content["categories"]}
    found = {}
    for annotation in content["annotations"]:
        with Image.open(png_folder / annotation["file_name"]) as png:
            assert png.mode == "RGB"
            pixels = np.asarray(png).astype(np.int64)
        ids = pixels[..., 0] + 256 * pixels[..., 1] + 256**2 * pixels[..., 2]
        image = images[annotation["image_id"]]
        assert ids.shape == (image["height"], image["width"])
        segments = {segment["id"]: segment for segment in annotation["segments_info"]}
        assert len(segments) == len(annotation["segments_info"])
        assert set(np.unique(ids)) - {0} == set(segments)
        for number, segment in segments.items():
            rows, columns = np.where(ids == number)
            x, y, width, height = segment["bbox"]
            assert segment["area"] == len(rows) > 0
            assert (x, x + width) == (columns.min(), columns.max() + 1)
            assert (y, y + height) == (rows.min(), rows.max() + 1)
            assert segment["category_id"] in categories
        found[annotation["image_id"]] = (ids, segments)
    return found


def panoptic_quality(truth: dict, predicted: dict) -> dict[int, tuple[float, int, int, int]]:
    """Return the sum of IoU, TP, FP and FN of every category; crowds of the truth excuse."""
    totals: dict[int, list] = defaultdict(lambda: [0.0, 0, 0, 0])
    assert truth.keys() == predicted.keys()
    for image, (true_ids, true_segments) in truth.items():
        ids, segments = predicted[image]
        void = ~np.isin(true_ids, list(true_segments))
        crowds = {n: s for n, s in true_segments.items() if s["iscrowd"]}
        matched_truth, matched = set(), set()
        for true_id, true_segment in true_segments.items():
            for number, segment in segments.items():
                if true_id in crowds or true_segment["category_id"] != segment["category_id"]:
                    continue
                here, there = ids == number, true_ids == true_id
                union = ((here & ~void) | there).sum()
                iou = (here & there).sum() / union
                if iou > 0.5:
                    total = totals[segment["category_id"]]
                    total[0] += iou
                    total[1] += 1
                    matched_truth.add(true_id)
                    matched.add(number)
        for true_id in true_segments.keys() - matched_truth - crowds.keys():
            totals[true_segments[true_id]["category_id"]][3] += 1
        for number in segments.keys() - matched:
            category = segments[number]["category_id"]
            excuse = void.copy()
            for crowd, true_segment in crowds.items():
                if true_segment["category_id"] == category:
                    excuse |= true_ids == crowd
            here = ids == number
            if (here & excuse).sum() / here.sum() <= 0.5:
                totals[category][2] += 1
    return {category: tuple(total) for category, total in totals.items()}


def mean_quality(totals: dict[int, tuple[float, int, int, int]]) -> float:
    """Return the mean over the categories that occur, in percent."""
    qualities = [
        iou / (right + wrong / 2 + missed / 2) for iou, right, wrong, missed in totals.values()
    ]
    return 100 * float(np.mean(qualities))
