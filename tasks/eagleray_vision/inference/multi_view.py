"""Test-time augmentation: one prediction out of several views of an image.

A view is the image at another size, mirrored or not. Neither Seamless' original nor that of
EfficientPS has such a mode, so the procedure is the field's common one:

* Semantic classes: the class probabilities (softmax) of all views, brought to the size of the
  network input, are averaged. Scales and mirror images are those of Chen et al., "Rethinking Atrous
  Convolution for Semantic Image Segmentation", 2017, section 4.
* Instances: the boxes of all views are united and class-wise non-maximum suppression chooses among
  them; for the chosen boxes every view's mask branch gives a mask, and the probabilities are
  averaged before the threshold. Scores are those of the boxes that were kept. That detections of
  scales and mirror images are combined is in He et al., "Mask R-CNN", ICCV 2017 (appendix on
  enhanced results).

The papers leave the details open; here they are settled like this: views count equally; suppression
has the settings of the detections of one view (`PanopticNetwork.merge_detections`);
proposals are not shared between views, and a box takes its pyramid level in each view's own pixels.
The features of a view are computed again for the masks, so that memory does not grow with the
number of views, and full-size probabilities are made strip by strip.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from eagleray_vision.detection.boxes import clip_boxes, scaled_boxes
from eagleray_vision.detection.detections import Detections
from eagleray_vision.inference.network import PanopticNetwork, Size, no_classes
from eagleray_vision.inference.prediction import PanopticInference
from eagleray_vision.losses.bootstrapped_ce import VOID_ID, upsample_rows

CHUNK_PIXELS = 1 << 18
"""Pixels whose full-size probabilities are held at a time where nothing else is said."""

LEAST_PROBABILITY = 1e-7
"""Averaged probabilities are kept this far from 0 and 1 before they become logits again."""


@dataclass(frozen=True, slots=True)
class View:
    """One view of an image.

    Args:
        image: Normalized image ``(3, h, w)``, mirrored if ``is_mirrored``.
        is_mirrored: Whether it is mirrored left to right.
    """

    image: Tensor
    is_mirrored: bool

    @property
    def size_hw(self) -> Size:
        """Height and width in pixels."""
        return (self.image.shape[1], self.image.shape[2])


@torch.no_grad()
def infer_views(
    network: PanopticNetwork,
    views: Sequence[View],
    size_hw: Size,
    *,
    chunk_pixels: int = CHUNK_PIXELS,
) -> PanopticInference:
    """Predict one image from several views.

    Args:
        network: The network, on any device.
        views: The views, at least one.
        size_hw: Height and width of the network input without augmentation; the prediction is in
            its pixels.
        chunk_pixels: Pixels whose full-size probabilities are held at a time; changes no result.

    Returns:
        The prediction; the softmax of ``semantic_logits`` is the averaged probability, and
        ``mask_logits`` are the logits of the averaged masks.
    """
    looks = [_look(network, view, size_hw) for view in views]
    merged = network.merge_detections([detections for detections, _ in looks])
    logits = [one for _, one in looks]
    return PanopticInference(
        boxes_yxyx=merged.boxes,
        classes=merged.classes,
        scores=merged.scores,
        mask_logits=_mean_masks(network, views, merged, size_hw),
        semantic_classes=(
            no_classes(logits[0])
            if network.fuses_logits
            else _mean_classes(network, views, logits, size_hw, chunk_pixels)
        ),
        semantic_logits=_mean_logits(network, views, logits, size_hw),
    )


def _look(network: PanopticNetwork, view: View, size_hw: Size) -> tuple[Detections, Tensor]:
    """Return a view's detections in the frame of the network input, and its semantic logits."""
    images = _on_device(network, view)
    levels = network.features(images)
    (seen,) = network.detect(levels, view.size_hw, [view.size_hw])
    boxes = clip_boxes(_from_view(seen.boxes, view, size_hw), size_hw)
    (logits,) = network.infer_semantics(images, levels)
    return Detections(boxes, seen.classes, seen.scores), logits


def _mean_masks(
    network: PanopticNetwork, views: Sequence[View], merged: Detections, size_hw: Size
) -> Tensor:
    """Return the logits of the mean mask of each merged detection, ``(n, rows, columns)``."""
    total = merged.boxes.new_zeros(len(merged.classes), *network.mask_hw)
    if len(merged.classes):
        for view in views:
            levels = network.features(_on_device(network, view))
            inside = Detections(
                _to_view(merged.boxes, view, size_hw), merged.classes, merged.scores
            )
            (masks,) = network.infer_masks(levels, [inside], view.size_hw)
            shares = masks.to(total.dtype).sigmoid()
            total += shares.flip(-1) if view.is_mirrored else shares
    return torch.logit(total / len(views), eps=LEAST_PROBABILITY)


def _mean_classes(
    network: PanopticNetwork,
    views: Sequence[View],
    logits: Sequence[Tensor],
    size_hw: Size,
    chunk_pixels: int,
) -> Tensor:
    """Return the class of highest mean probability per pixel, the first one on ties."""
    if not network.has_semantics:
        return torch.full(size_hw, VOID_ID, dtype=torch.int64, device=logits[0].device)
    step = max(1, chunk_pixels // size_hw[1])
    return torch.cat([part.argmax(0) for part in _mean_strips(views, logits, size_hw, step)])


def _mean_logits(
    network: PanopticNetwork, views: Sequence[View], logits: Sequence[Tensor], size_hw: Size
) -> Tensor:
    """Return logits whose softmax is the mean probability, at the stride of the finest level.

    A softmax leaves open what is added to all classes of a pixel. It is the views' mean
    log-sum-exp, so that one view gives its own logits: a fusion that holds logits against those of
    masks, or against 0, cannot take logarithms of probabilities, none of which is above 0.
    """
    if not network.has_semantics:
        return torch.zeros_like(logits[0])
    stride = network.semantic_stride
    coarse = (-(-size_hw[0] // stride), -(-size_hw[1] // stride))
    (mean,) = _mean_strips(views, logits, coarse, coarse[0])
    level = torch.zeros_like(mean[0])
    for view, one in zip(views, logits, strict=True):
        own = upsample_rows(one, coarse, (0, coarse[0])).logsumexp(0)
        level += (own.flip(-1) if view.is_mirrored else own) / len(views)
    return mean.clamp(min=torch.finfo(mean.dtype).tiny).log() + level


def _mean_strips(
    views: Sequence[View], logits: Sequence[Tensor], size_hw: Size, step: int
) -> Iterator[Tensor]:
    """Yield strips of the mean probabilities at a size, ``(classes, rows, width)``."""
    for start in range(0, size_hw[0], step):
        rows = (start, min(start + step, size_hw[0]))
        total: Tensor | None = None
        for view, one in zip(views, logits, strict=True):
            share = upsample_rows(one, size_hw, rows).softmax(0)
            share = share.flip(-1) if view.is_mirrored else share
            total = share if total is None else total + share
        if total is not None:
            yield total / len(views)


def _on_device(network: PanopticNetwork, view: View) -> Tensor:
    return view.image[None].to(next(network.parameters()).device)


def _from_view(boxes_yxyx: Tensor, view: View, size_hw: Size) -> Tensor:
    """Bring boxes from the pixels of a view to those of the network input."""
    return scaled_boxes(_mirrored(boxes_yxyx, view), view.size_hw, size_hw)


def _to_view(boxes_yxyx: Tensor, view: View, size_hw: Size) -> Tensor:
    """Bring boxes from the pixels of the network input to those of a view."""
    return _mirrored(scaled_boxes(boxes_yxyx, size_hw, view.size_hw), view)


def _mirrored(boxes_yxyx: Tensor, view: View) -> Tensor:
    if not view.is_mirrored:
        return boxes_yxyx
    y0, x0, y1, x1 = boxes_yxyx.unbind(-1)
    width = view.size_hw[1]
    return torch.stack([y0, width - x1, y1, width - x0], dim=-1)
