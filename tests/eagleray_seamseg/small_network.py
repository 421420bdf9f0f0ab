"""A network of the real shape but with few channels."""

import torch
from tests.eagleray_vision.small_batch import NUM_STUFF, NUM_THING

from eagleray_seamseg.model.config import (
    BodySettings,
    FpnSettings,
    NetworkSettings,
    RoiSettings,
    RpnSettings,
    SemSettings,
)
from eagleray_seamseg.model.network import SeamlessNetwork


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
