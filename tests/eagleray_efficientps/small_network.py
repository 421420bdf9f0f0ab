"""A network of the real shape but with few channels, batches for it, and settings around it."""

from pathlib import Path
from typing import Any

import torch

from eagleray_efficientps.model.config import NetworkSettings
from eagleray_efficientps.model.network import EfficientPsNetwork
from eagleray_efficientps.settings import EfficientPsSettings
from eagleray_vision.samples.target import PanopticTarget

NUM_STUFF, NUM_THING = 3, 2
SIZES = [(64, 96), (50, 80)]

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


def images(dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(1), dtype=dtype)


def target(size: tuple[int, int], content: str = "thing") -> PanopticTarget:
    """Return stuff above void, and for ``thing`` or ``crowd`` a square of a thing class."""
    ids = torch.zeros(size, dtype=torch.int64)
    ids[: size[0] // 2] = 1
    classes, is_crowd = [255, 1], [False, False]
    if content != "stuff":
        ids[10:40, 20:50] = 2
        classes.append(NUM_STUFF + 1)
        is_crowd.append(content == "crowd")
    return PanopticTarget(ids, torch.tensor(classes), torch.tensor(is_crowd))


def generators() -> list[torch.Generator]:
    return [torch.Generator().manual_seed(k) for k in range(len(SIZES))]


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
