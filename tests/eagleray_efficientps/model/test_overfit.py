"""The network, its losses, the fusion and the metric learn two street scenes by heart."""

import numpy as np
import pytest
import torch
from tests.eagleray_efficientps.small_network import SMALL

from eagleray_efficientps.losses import panoptic_losses
from eagleray_efficientps.model.config import NetworkSettings
from eagleray_efficientps.model.network import EfficientPsNetwork
from eagleray_efficientps.predict import prediction_of
from eagleray_efficientps.settings import EfficientPsSettings
from eagleray_toyworld.label_stage import ToyworldFrameStage
from eagleray_toyworld.settings import ToyworldSettings
from eagleray_vision.images.reading import read_rgb
from eagleray_vision.metrics.panoptic_quality import compute_panoptic_quality
from eagleray_vision.panoptic.label_image import read_deep_ids
from eagleray_vision.panoptic.label_space import CITYSCAPES_CATEGORIES as SPACE
from eagleray_vision.panoptic.panoptic_map import indexed_panoptic
from eagleray_vision.samples.target import panoptic_target
from eagleray_vision.scoring.rule import official_statistics

SIZE, STEPS, LR = (128, 256), 400, 3e-3
FEW_PIXELS = 200
"""Segments below become void: what two hundred pixels show is no matter of learning by heart."""


def scenes():
    """Return photographs and labels of two frames."""
    stage = ToyworldFrameStage(ToyworldSettings(labels="categories", seed=3), "train")
    images, truths = [], []
    for item in list(stage.items({}))[:2]:
        ((record,),) = stage.process([item])
        (photo,) = record.files.values()
        truth = indexed_panoptic(
            read_deep_ids(record.row["id_map"]), record.row["categories"], record.row["is_crowd"]
        )
        large = np.where(truth.areas() >= FEW_PIXELS, np.arange(len(truth.categories)), 0)
        truths.append(
            indexed_panoptic(large.astype(np.int32)[truth.id_map], truth.categories, truth.is_crowd)
        )
        values = (read_rgb(photo) / 255 - 0.45) / 0.25
        images.append(torch.from_numpy(values.astype(np.float32)).permute(2, 0, 1))
    return torch.stack(images), truths


@pytest.mark.slow
def test_two_street_scenes_are_learned_by_heart() -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    images, truths = scenes()
    values = {
        **SMALL,
        "pyramid": {"channels": 64},
        "semantic": {"channels": 32},
        "rpn": {**SMALL["rpn"], "channels": 64, "anchor_scale": 3.0},
        "roi": {"hidden_channels": 128, "num_samples": 32, "finest_scale_px": 28.0},
    }
    network = EfficientPsNetwork(
        NetworkSettings.model_validate(values),
        num_stuff=SPACE.num_stuff,
        num_thing=SPACE.num_things,
    ).train()
    targets = [panoptic_target(truth) for truth in truths]
    optimizer = torch.optim.AdamW(network.parameters(), lr=LR)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LR, total_steps=STEPS, pct_start=0.1)
    for step in range(STEPS):
        generators = [torch.Generator().manual_seed(2 * step + k) for k in range(2)]
        terms = panoptic_losses(
            network, images, [SIZE] * 2, targets, generators=generators, faithful=False
        )
        loss = sum(t.sum / max(float(t.weight), 1) for t in terms.values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    settings = EfficientPsSettings(faithful=False, fusion={"min_stuff_area_px": FEW_PIXELS // 2})
    units = []
    for inference, truth in zip(network.eval().infer(images, [SIZE] * 2), truths, strict=True):
        fused = prediction_of(inference, SIZE, SIZE, settings, SPACE.num_stuff).fused
        units.append(official_statistics(truth, fused, SPACE.num_classes))
    quality = compute_panoptic_quality(units, SPACE.is_thing)
    assert quality.overall.pq > 0.9, (quality.pq, quality.overall)
