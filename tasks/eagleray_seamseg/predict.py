"""Network output to panoptic maps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import numpy.typing as npt

from eagleray_seamseg.model.network import SeamlessNetwork
from eagleray_seamseg.settings import SeamlessSettings
from eagleray_vision.detection.boxes import scaled_boxes
from eagleray_vision.images.resizing import resize_nearest
from eagleray_vision.inference.prediction import PanopticInference, PanopticPrediction
from eagleray_vision.inference.views import infer_samples, predict_samples
from eagleray_vision.panoptic.fusion import FusionThresholds, fuse_panoptic
from eagleray_vision.panoptic.panoptic_map import IndexedPanoptic
from eagleray_vision.samples.placement import ImageNormalization
from eagleray_vision.samples.sample import PanopticSample


def image_normalization(settings: SeamlessSettings) -> ImageNormalization:
    """Return the colors that the network expects: the backbone's, else the data's."""
    body, given = settings.network.body, settings.input
    return ImageNormalization(body.rgb_mean or given.rgb_mean, body.rgb_std or given.rgb_std)


def predict_panoptic(
    network: SeamlessNetwork, samples: Sequence[PanopticSample], settings: SeamlessSettings
) -> list[PanopticPrediction]:
    """Run the network on a batch; its output is fused when it is asked for.

    Args:
        network: The network, on any device.
        samples: Images, with or without labels; those of unequal size get a forward pass each,
            unless ``input.pad_mixed_sizes``.
        settings: Settings of the experiment.

    Returns:
        One prediction per sample.
    """

    def infer(group: Sequence[PanopticSample]) -> list[PanopticInference]:
        inferences = infer_samples(
            network,
            group,
            settings.test_time,
            image_normalization(settings),
            chunk_pixels=settings.network.sem.loss_chunk_pixels,
        )
        # logits of 65 classes are the largest part of the output, and nothing here reads them
        return [replace(one, semantic_logits=one.semantic_logits[:0]).cpu() for one in inferences]

    return predict_samples(
        samples,
        infer,
        partial(fuse_inference, settings=settings, num_stuff=network.num_stuff),
        mixed=settings.input.pad_mixed_sizes,
        at_network_size=settings.faithful,
    )


def fuse_inference(
    inference: PanopticInference,
    network_hw: tuple[int, int],
    fused_hw: tuple[int, int],
    settings: SeamlessSettings,
    num_stuff: int,
) -> PanopticPrediction:
    """Fuse detections and semantic classes at a size of choice, when the map is asked for.

    At another size than the network's, boxes are scaled and their masks pasted at that size;
    semantic classes are enlarged by nearest neighbor.

    Args:
        inference: Output of the network, on the CPU.
        network_hw: Size of the network input in pixels.
        fused_hw: Size of the fused map in pixels.
        settings: Settings of the experiment.
        num_stuff: Number of stuff classes.

    Returns:
        The prediction.
    """

    def semantic_classes() -> npt.NDArray[np.int64]:
        return resize_nearest(inference.semantic_classes.numpy(), fused_hw)

    def fused() -> IndexedPanoptic:
        return fuse_panoptic(
            semantic_classes(),
            scaled_boxes(inference.boxes_yxyx, network_hw, fused_hw),
            inference.classes,
            inference.scores,
            inference.mask_logits,
            num_stuff=num_stuff,
            thresholds=thresholds,
        )

    thresholds = fusion_thresholds(settings, network_hw, fused_hw)
    return PanopticPrediction(fused, semantic_classes, inference)


def fuse_truth(
    output: PanopticInference,
    network_hw: tuple[int, int],
    settings: SeamlessSettings,
    num_stuff: int,
) -> IndexedPanoptic:
    """Fuse labels that are written as the network's output, at their own size.

    Args:
        output: What `truth_as_output` returned.
        network_hw: Size of the network input in pixels.
        settings: Settings of the experiment.
        num_stuff: Number of stuff classes.
    """
    semantic = output.semantic_classes.numpy()
    return fuse_panoptic(
        semantic,
        output.boxes_yxyx,
        output.classes,
        output.scores,
        output.mask_logits,
        num_stuff=num_stuff,
        thresholds=fusion_thresholds(settings, network_hw, semantic.shape),
    )


def fusion_thresholds(
    settings: SeamlessSettings, network_hw: tuple[int, int], fused_hw: tuple[int, ...]
) -> FusionThresholds:
    """Return the thresholds of the fusion at a size; the least area is one of the network input.

    Args:
        settings: Settings of the experiment.
        network_hw: Size of the network input in pixels.
        fused_hw: Size at which maps are fused.

    Returns:
        Thresholds with the least area converted to pixels of the fused map.
    """
    share = fused_hw[0] * fused_hw[1] / (network_hw[0] * network_hw[1])
    fusion = settings.fusion
    return FusionThresholds(
        fusion.score_threshold, fusion.overlap_threshold, round(fusion.min_stuff_area_px * share)
    )
