"""A network of the real shape but with few channels, and settings around it."""

from pathlib import Path
from typing import Any

import torch
from tests.eagleray_vision.small_batch import NUM_STUFF, NUM_THING

from eagleray_efficientps.model.config import NetworkSettings
from eagleray_efficientps.model.network import EfficientPsNetwork
from eagleray_efficientps.settings import EfficientPsSettings

SMALL = {
    "backbone": {"name": "efficientnet_b0", "normalization": "batch"},
    "pyramid": {"channels": 16},
    "semantic": {"channels": 16},
    "rpn": {
        "channels": 16,
        "anchor_scale": 4.0,
        "num_pre_nms_train": 100,
        "num_post_nms_train": 40,
        "num_pre_nms_test": 100,
        "num_post_nms_test": 40,
    },
    "roi": {"hidden_channels": 32, "num_samples": 64, "finest_scale_px": 16.0},
}
"""Values of ``settings.network``."""


def small_settings(**parts: dict[str, object]) -> NetworkSettings:
    changed = {name: {**SMALL.get(name, {}), **parts.get(name, {})} for name in SMALL}
    return NetworkSettings.model_validate(changed)


def small_network(**parts: dict[str, object]) -> EfficientPsNetwork:
    torch.manual_seed(0)
    settings = small_settings(**parts)
    return EfficientPsNetwork(settings, num_stuff=NUM_STUFF, num_thing=NUM_THING)


def cityscapes_settings(root: Path, **changes: Any) -> EfficientPsSettings:
    """Return settings of a small network for the tiny Cityscapes."""
    values = {
        "faithful": False,
        "data": {"root": str(root)},
        "input": {"size_hw": (64, 96), "crop_hw": (48, 64), "random_scale": (0.8, 1.5)},
        "network": SMALL,
        "fusion": {"min_stuff_area_px": 30},
        "evaluation": {"coco_ap": True, "cityscapes_ap": True},
    }
    return EfficientPsSettings.model_validate({**values, **changes})
