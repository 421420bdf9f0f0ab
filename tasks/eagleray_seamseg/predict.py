"""Network output to panoptic maps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from eagleray_seamseg.evaluation import scaled_boxes
from eagleray_seamseg.model.network import SeamlessNetwork
from eagleray_seamseg.model.prediction import PanopticInference
from eagleray_seamseg.settings import SeamlessSettings
from eagleray_seamseg.views import infer_samples
from eagleray_vision.images.resizing import resize_nearest
from eagleray_vision.panoptic.fusion import FusionThresholds, fuse_panoptic
from eagleray_vision.panoptic.panoptic_map import IndexedPanoptic
from eagleray_vision.samples.sample import PanopticSample


class PanopticPrediction:
    """What is known about one image.

    Args:
        fused: Panoptic map; at the network input's size where the original's defects are kept, else
            at the size at which results are reported.
        semantic_classes: ``(H, W)`` int64 class per pixel of the semantic head, at the size of
            ``fused``.
        inference: The network's output on the CPU, in pixels of its input; its semantic logits
            need not be there.
    """

    def __init__(
        self,
        fused: IndexedPanoptic,
        semantic_classes: npt.NDArray[np.int64],
        inference: PanopticInference,
    ) -> None:
        self._fused, self._semantic_classes = fused, semantic_classes
        self.inference = inference

    @property
    def fused(self) -> IndexedPanoptic:
        """The panoptic map."""
        return self._fused

    @property
    def semantic_classes(self) -> npt.NDArray[np.int64]:
        """Class per pixel of the semantic head, ``(H, W)``."""
        return self._semantic_classes


class FusedOnDemand(PanopticPrediction):
    """A prediction that is fused when its map is first asked for, so that the device need not wait.

    Args:
        inference: Output of the network, on the CPU.
        network_hw: Size of the network input in pixels.
        fused_hw: Size of the fused map in pixels.
        settings: Settings of the experiment.
        num_stuff: Number of stuff classes.
    """

    def __init__(
        self,
        inference: PanopticInference,
        network_hw: tuple[int, int],
        fused_hw: tuple[int, int],
        settings: SeamlessSettings,
        num_stuff: int,
    ) -> None:
        self.inference = inference
        self._network_hw, self._fused_hw, self._num_stuff = network_hw, fused_hw, num_stuff
        self._thresholds = fusion_thresholds(settings, network_hw, fused_hw)

    @property
    def fused(self) -> IndexedPanoptic:
        """The panoptic map."""
        return self._fused_once

    @property
    def semantic_classes(self) -> npt.NDArray[np.int64]:
        """Class per pixel of the semantic head, ``(H, W)``."""
        return resize_nearest(self.inference.semantic_classes.numpy(), self._fused_hw)

    @cached_property
    def _fused_once(self) -> IndexedPanoptic:
        inference = self.inference
        return fuse_panoptic(
            self.semantic_classes,
            scaled_boxes(inference.boxes_yxyx, self._network_hw, self._fused_hw),
            inference.classes,
            inference.scores,
            inference.mask_logits,
            num_stuff=self._num_stuff,
            thresholds=self._thresholds,
        )


def predict_panoptic(
    network: SeamlessNetwork, samples: Sequence[PanopticSample], settings: SeamlessSettings
) -> list[PanopticPrediction]:
    """Run the network on a batch; its output is fused when it is asked for.

    What a network without batch statistics predicts for an image does not depend on the others of
    its batch: images of unequal size get a forward pass each, unless ``input.pad_mixed_sizes``.

    Args:
        network: The network, on any device.
        samples: Images, with or without labels.
        settings: Settings of the experiment.

    Returns:
        One prediction per sample.
    """
    found: dict[int, PanopticPrediction] = {}
    for group in _groups(samples, mixed=settings.input.pad_mixed_sizes):
        inferences = _infer(network, [samples[index] for index in group], settings)
        for index, inference in zip(group, inferences, strict=True):
            sample = samples[index]
            fused_hw = sample.network_hw if settings.faithful else sample.output_hw
            found[index] = fuse_inference(
                inference, sample.network_hw, fused_hw, settings, network.num_stuff
            )
    return [found[index] for index in range(len(samples))]


def _groups(samples: Sequence[PanopticSample], *, mixed: bool) -> list[list[int]]:
    """Return the positions of samples that may share a forward pass."""
    groups: dict[tuple[int, int] | None, list[int]] = {}
    for index, sample in enumerate(samples):
        groups.setdefault(None if mixed else sample.network_hw, []).append(index)
    return list(groups.values())


def _infer(
    network: SeamlessNetwork, samples: Sequence[PanopticSample], settings: SeamlessSettings
) -> list[PanopticInference]:
    # logits of 65 classes are the largest part of the output, and nothing here reads them
    return [
        replace(inference, semantic_logits=inference.semantic_logits[:0]).cpu()
        for inference in infer_samples(network, samples, settings)
    ]


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
    return FusedOnDemand(inference, network_hw, fused_hw, settings, num_stuff)


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
