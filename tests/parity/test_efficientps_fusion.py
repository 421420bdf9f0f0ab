"""Panoptic fusion and its export against the original: not one pixel may differ."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.parity.cases import cases
from tests.parity.efficientps_case import EfficientPsCase

from eagleray_efficientps.fusion import FusionRule, fuse_logits
from eagleray_vision.panoptic.cityscapes_results import (
    results_annotation,
    results_image,
    results_json,
)
from eagleray_vision.panoptic.label_image import rgb_of_ids
from eagleray_vision.panoptic.label_space import CITYSCAPES

FRAME = "aachen_000000_000019"


@pytest.mark.parametrize("path", cases("efficientps", "fusion"), ids=lambda p: p.stem)
def test_fused_map_and_export(path: Path) -> None:
    case = EfficientPsCase(path)
    meta, labels, detections = case.meta, case["in.labels"], case["in.dets"]
    scale = meta["scale_factor"]
    size = tuple(round(side * scale) for side in meta["ori_shape"])
    fused = fuse_logits(
        case["in.sem_logits"][0],
        detections[:, :4] * scale,
        labels,
        detections[:, 4],
        case["in.masks"][torch.arange(len(labels)), labels + 1],
        size_hw=size,
        num_stuff=meta["num_stuff"],
        rule=FusionRule(
            overlap=meta["overlap_thr"],
            mask_threshold=meta["mask_thr"],
            min_stuff_area_px=meta["min_stuff_area"],
            mask_logit_gain=meta["mask_logit_gain"],
            faithful=True,
        ),
    )
    assert np.count_nonzero(fused.id_map != case.arrays["out.pan"]) == 0
    assert fused.categories.tolist() == case.arrays["out.cat"].tolist()

    expected = meta["export_json"]
    ids, annotation = results_annotation(fused, FRAME, CITYSCAPES)
    assert np.array_equal(rgb_of_ids(ids), case.arrays["out.png"])
    assert json.loads(results_json([annotation], [results_image(FRAME, size)])) == expected
