"""Network output to panoptic maps."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import numpy.typing as npt
from torch import Tensor
from torch.nn import functional as F

from eagleray_efficientps.fusion import FusionRule, fuse_logits
from eagleray_efficientps.model.config import PYRAMID_STRIDES, NetworkSettings
from eagleray_efficientps.model.network import EfficientPsNetwork, inclusive
from eagleray_efficientps.settings import PAD_MULTIPLE, EfficientPsSettings
from eagleray_vision.detection.boxes import scaled_boxes
from eagleray_vision.inference.network import Size
from eagleray_vision.inference.prediction import PanopticInference, PanopticPrediction
from eagleray_vision.inference.views import infer_samples, predict_samples
from eagleray_vision.panoptic.fusion import FusionThresholds, fuse_panoptic
from eagleray_vision.panoptic.panoptic_map import IndexedPanoptic
from eagleray_vision.samples.placement import ImageNormalization
from eagleray_vision.samples.sample import PanopticSample

_XYXY = [1, 0, 3, 2]
_NOT_BELOW = 1 + 1e-9
"""Keeps an enlargement from ending one pixel short by rounding."""


def network_settings(settings: EfficientPsSettings) -> NetworkSettings:
    """Return the network's settings, its detections from the lowest score on that is asked for."""
    roi = settings.network.roi
    thresholds = [roi.score_threshold, settings.fusion.score_threshold]
    evaluation = settings.evaluation
    if not settings.faithful and (evaluation.cityscapes_ap or evaluation.coco_ap):
        thresholds.append(evaluation.ap_score_threshold)
    lowest = roi.model_copy(update={"score_threshold": min(thresholds)})
    return settings.network.model_copy(update={"roi": lowest})


def predict_panoptic(
    network: EfficientPsNetwork, samples: Sequence[PanopticSample], settings: EfficientPsSettings
) -> list[PanopticPrediction]:
    """Run the network on a batch; its output is fused when it is asked for.

    Args:
        network: The network, on any device.
        samples: Images, with or without labels; images of unequal size get a forward pass each.
        settings: Settings of the experiment.

    Returns:
        One prediction per sample.
    """
    normalization = image_normalization(settings)

    def infer(group: Sequence[PanopticSample]) -> list[PanopticInference]:
        found = infer_samples(
            network,
            group,
            settings.test_time,
            normalization,
            multiple=PAD_MULTIPLE,
            resizing="opencv",
            chunk_pixels=settings.network.semantic.loss_chunk_pixels,
        )
        return [one.cpu() for one in found]

    fuse = partial(prediction_of, settings=settings, num_stuff=network.num_stuff)
    return predict_samples(samples, infer, fuse, mixed=False, at_network_size=settings.faithful)


def image_normalization(settings: EfficientPsSettings) -> ImageNormalization:
    """Return the colors that the network expects."""
    return ImageNormalization(settings.input.rgb_mean, settings.input.rgb_std)


def prediction_of(
    inference: PanopticInference,
    network_hw: Size,
    fused_hw: Size,
    settings: EfficientPsSettings,
    num_stuff: int,
) -> PanopticPrediction:
    """Return what is known about one image, fused at a size of choice when it is asked for.

    Args:
        inference: Output of the network, on the CPU.
        network_hw: Size of the unpadded network input in pixels.
        fused_hw: Size of the fused map in pixels.
        settings: Settings of the experiment.
        num_stuff: Number of stuff classes.
    """
    fuse = partial(fuse_inference, inference, network_hw, fused_hw, settings, num_stuff)
    classes = partial(semantic_classes, inference, network_hw, fused_hw, settings)
    return PanopticPrediction(fuse, classes, inference)


def fuse_inference(
    inference: PanopticInference,
    network_hw: Size,
    fused_hw: Size,
    settings: EfficientPsSettings,
    num_stuff: int,
) -> IndexedPanoptic:
    """Fuse the output of the network by the method of the settings; see `prediction_of`."""
    logits = _logits(inference, network_hw, fused_hw, settings)
    boxes = scaled_boxes(inference.boxes_yxyx, network_hw, fused_hw)
    return fuse_full(inference, logits, boxes, settings, num_stuff)


def fuse_full(
    inference: PanopticInference,
    logits: Tensor,
    boxes_yxyx: Tensor,
    settings: EfficientPsSettings,
    num_stuff: int,
) -> IndexedPanoptic:
    """Fuse at the size of the semantic logits that are given.

    Args:
        inference: Classes, scores and masks of the detections.
        logits: ``(classes, H, W)`` semantic logits.
        boxes_yxyx: Boxes of the detections by their edges, in pixels of ``logits``.
        settings: Settings of the experiment.
        num_stuff: Number of stuff classes.
    """
    fusion = settings.fusion
    chosen = inference.scores > fusion.score_threshold
    detections = (inference.classes[chosen], inference.scores[chosen])
    masks = inference.mask_logits[chosen]
    if fusion.method == "heuristic":
        return fuse_panoptic(
            logits.argmax(0).numpy(),
            boxes_yxyx[chosen],
            *detections,
            masks,
            num_stuff=num_stuff,
            thresholds=FusionThresholds(
                fusion.score_threshold, fusion.overlap_threshold, fusion.min_stuff_area_px
            ),
        )
    return fuse_logits(
        logits,
        inclusive(boxes_yxyx[chosen][:, _XYXY]),
        *detections,
        masks,
        size_hw=(logits.shape[1], logits.shape[2]),
        num_stuff=num_stuff,
        rule=fusion_rule(settings),
    )


def semantic_classes(
    inference: PanopticInference, network_hw: Size, fused_hw: Size, settings: EfficientPsSettings
) -> npt.NDArray[np.int64]:
    """Return the class per pixel of the semantic head, ``(H, W)``; see `prediction_of`."""
    return _logits(inference, network_hw, fused_hw, settings).argmax(0).numpy()


def fusion_rule(settings: EfficientPsSettings) -> FusionRule:
    """Return the parameters of the proposed fusion."""
    fusion = settings.fusion
    return FusionRule(
        overlap=fusion.overlap_threshold,
        min_stuff_area_px=fusion.min_stuff_area_px,
        mask_logit_gain=fusion.mask_logit_gain,
        fill_void=fusion.fill_void,
        faithful=settings.faithful,
    )


def _logits(
    inference: PanopticInference, network_hw: Size, fused_hw: Size, settings: EfficientPsSettings
) -> Tensor:
    squeezed = settings.faithful and not settings.test_time.is_on
    return full_logits(inference.semantic_logits, network_hw, fused_hw, squeezed=squeezed)


def full_logits(
    logits: Tensor, network_hw: Size, size_hw: Size, *, squeezed: bool = False
) -> Tensor:
    """Enlarge semantic logits to a size, leaving out the padding.

    Args:
        logits: ``(classes, h, w)`` at stride 4 of the padded network input.
        network_hw: Size of the unpadded network input in pixels.
        size_hw: Wanted size.
        squeezed: Squeeze the padding into the result instead, as the released code does: all of
            the padded map is resized to the wanted size.

    Returns:
        ``(classes, H, W)``: bilinear, without corner alignment.
    """
    stride = PYRAMID_STRIDES[0]
    if squeezed:
        padded = (stride * logits.shape[1], stride * logits.shape[2])
        full = F.interpolate(logits[None], padded, mode="bilinear")
        return full[0] if padded == size_hw else F.interpolate(full, size_hw, mode="bilinear")[0]
    rows, columns = (-(-side // stride) for side in network_hw)
    # the scale maps the valid part to the wanted size, also where a cell is valid in part only
    scales = [stride * new / old * _NOT_BELOW for new, old in zip(size_hw, network_hw, strict=True)]
    full = F.interpolate(
        logits[None, :, :rows, :columns],
        scale_factor=tuple(scales),
        mode="bilinear",
        recompute_scale_factor=False,
    )[0]
    return full[:, : size_hw[0], : size_hw[1]]
