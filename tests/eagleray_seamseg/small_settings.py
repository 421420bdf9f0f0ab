"""Settings of a small network for the tiny data sets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from eagleray_seamseg.settings import SeamlessSettings


def cityscapes_settings(root: Path, **changes: Any) -> SeamlessSettings:
    """Return settings of a small network for `small_cityscapes`."""
    network = {
        "body": {"backbone": "resnet18", "num_frozen": 0, "normalization_mode": "gn"},
        "fpn": {"out_channels": 16},
        "rpn": {
            "hidden_channels": 16,
            "anchor_scale": 4,
            "num_pre_nms_train": 100,
            "num_post_nms_train": 20,
            "num_pre_nms_val": 100,
            "num_post_nms_val": 20,
        },
        "roi": {"hidden_channels": 16, "mask_channels": 16, "num_samples": 8},
        "sem": {"hidden_channels": 16, "pooling_size": (8, 8)},
    }
    values = {
        "preset": "cityscapes_r50",
        "faithful": False,
        "data": {"root": str(root)},
        "input": {"shortest_px": 48, "longest_max_px": 96, "random_scale": None},
        "network": network,
        "fusion": {"min_stuff_area_px": 30},
        "evaluation": {"coco_ap": True},
    }
    return SeamlessSettings.model_validate({**values, **changes})
