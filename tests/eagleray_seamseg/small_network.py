"""A network of the real shape but with few channels, and batches for it."""

import torch

from eagleray_seamseg.model.config import (
    BodySettings,
    FpnSettings,
    NetworkSettings,
    RoiSettings,
    RpnSettings,
    SemSettings,
)
from eagleray_seamseg.model.network import SeamlessNetwork
from eagleray_vision.samples.target import PanopticTarget

NUM_STUFF, NUM_THING = 3, 2
SIZES = [(64, 96), (50, 80)]


def small_settings(**body: object) -> NetworkSettings:
    return NetworkSettings(
        body=BodySettings(**{"backbone": "resnet18", "num_frozen": 0, **body}),  # type: ignore[arg-type]
        fpn=FpnSettings(out_channels=16, extra_scales=1),
        rpn=RpnSettings(
            hidden_channels=16,
            fpn_levels=5,
            anchor_scale=4,
            min_size=0,
            num_pre_nms_train=200,
            num_post_nms_train=40,
            num_post_nms_val=40,
        ),
        roi=RoiSettings(hidden_channels=32, mask_channels=16, num_samples=64),
        sem=SemSettings(hidden_channels=16, pooling_size=(8, 8)),
    )


def small_network(**body: object) -> SeamlessNetwork:
    torch.manual_seed(0)
    return SeamlessNetwork(small_settings(**body), num_stuff=NUM_STUFF, num_thing=NUM_THING)


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
