"""What a panoptic network offers, so that views and batches of it are handled alike."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol, cast

import torch
from torch import Tensor, nn

from eagleray.task import Settings
from eagleray_vision.detection.boxes import clip_boxes
from eagleray_vision.detection.detections import (
    DetectionRule,
    Detections,
    merge_detections,
    select_by_image,
)
from eagleray_vision.inference.prediction import PanopticInference

Size = tuple[int, int]


class PanopticNetwork(Protocol):
    """A network with boxes, masks and semantic classes on one feature pyramid.

    Boxes are yxyx edges in pixels of the padded input; a network that computes with others turns
    them in these methods. ``valid_sizes`` are heights and widths before padding.
    """

    @property
    def has_semantics(self) -> bool:
        """Whether there is a semantic head."""

    @property
    def fuses_logits(self) -> bool:
        """Whether the fusion reads semantic logits alone; then no classes per pixel are made."""

    @property
    def semantic_stride(self) -> int:
        """Stride of the semantic logits in pixels of the input."""

    @property
    def mask_hw(self) -> Size:
        """Rows and columns of a detection's mask."""

    def parameters(self, recurse: bool = True) -> Iterator[nn.Parameter]:
        """Return the parameters, whose device the images go to."""

    def infer(self, images: Tensor, valid_sizes: Sequence[Size]) -> list[PanopticInference]:
        """Predict a batch of padded images ``(n, 3, h, w)``, each in pixels of its input."""

    def features(self, images: Tensor) -> list[Tensor]:
        """Map images ``(n, 3, h, w)`` to pyramid levels, finest first."""

    def detect(
        self, levels: list[Tensor], image_size: Size, valid_sizes: Sequence[Size]
    ) -> list[Detections]:
        """Return each image's detections, without masks."""

    def merge_detections(self, views: Sequence[Detections]) -> Detections:
        """Choose among the united detections of several views as among those of one."""

    def infer_masks(
        self, levels: list[Tensor], detections: Sequence[Detections], image_size: Size
    ) -> list[Tensor]:
        """Return the mask logits of each image's detections, ``(k_i, *mask_hw)``."""

    def infer_semantics(self, images: Tensor, levels: list[Tensor]) -> Tensor:
        """Return semantic logits ``(n, classes, h, w)`` that cover the images."""

    def semantic_classes(self, logits: Tensor, image_size: Size, valid_size: Size) -> Tensor:
        """Return the class of every pixel of one image ``valid_size``; void without a head."""


class PanopticModule(nn.Module):
    """What panoptic networks do alike.

    Attributes:
        settings: Settings of the network.
        num_stuff: Stuff classes.
        num_thing: Thing classes.
    """

    settings: Settings
    num_stuff: int
    num_thing: int

    def load_pretrained(self) -> None:
        """Put the pretrained weights that the settings name into the backbone, if they name any."""
        raise NotImplementedError

    def detection_rule(self) -> DetectionRule:
        """Return how detections are chosen among scored boxes."""
        raise NotImplementedError

    def decode_rois(self, references: Tensor, codes: Tensor) -> Tensor:
        """Return the boxes that the box head's codes make of proposals.

        Args:
            references: ``(k, 1, 4)`` as the network computes with them.
            codes: ``(k, classes, 4)`` of its box head; the background's too where that has some.

        Returns:
            ``(k, things, 4)``, not clipped.
        """
        raise NotImplementedError

    def clip_rois(self, boxes: Tensor, valid_size: Size) -> Tensor:
        """Clip boxes to an image without its padding."""
        return clip_boxes(boxes, valid_size)

    def detections(
        self,
        proposals: Sequence[Tensor],
        class_logits: Tensor,
        codes: Tensor,
        valid_sizes: Sequence[Size],
    ) -> list[Detections]:
        """Choose each image's detections; boxes as the network computes with them.

        Args:
            proposals: ``(k_i, 4)`` per image.
            class_logits: ``(sum of k_i, things + 1)``, background first.
            codes: ``(sum of k_i, classes, 4)``.
            valid_sizes: Unpadded height and width per image.
        """
        references = torch.cat(list(proposals))
        return select_by_image(
            self.decode_rois(references[:, None], codes.to(references.dtype)),
            class_logits.to(references.dtype).softmax(dim=1)[:, 1:],
            [len(own) for own in proposals],
            self.roi_rule(),
            lambda own, image: self.clip_rois(own, valid_sizes[image]),
        )

    def roi_rule(self) -> DetectionRule:
        """Return how detections are chosen among boxes that the network computes with."""
        return self.detection_rule()

    def infer(self, images: Tensor, valid_sizes: Sequence[Size]) -> list[PanopticInference]:
        """Predict padded images ``(n, 3, h, w)``, each in pixels of its input."""
        return infer_images(cast("PanopticNetwork", self), images, valid_sizes)

    def merge_detections(self, views: Sequence[Detections]) -> Detections:
        """Choose among the united detections of several views as among those of one."""
        return merge_detections(views, self.num_thing, self.detection_rule())


def channels_last(images: Tensor) -> Tensor:
    """Store channels last, which CPUs and half precision on GPUs compute faster; double precision
    stays as it is.
    """
    if images.dtype == torch.float64:
        return images
    return images.contiguous(memory_format=torch.channels_last)


def no_classes(logits: Tensor) -> Tensor:
    """Return the classes per pixel where nobody asks for them, ``(0, 0)`` int64."""
    return torch.zeros((0, 0), dtype=torch.int64, device=logits.device)


@torch.no_grad()
def infer_images(
    network: PanopticNetwork, images: Tensor, valid_sizes: Sequence[Size]
) -> list[PanopticInference]:
    """Predict detections and semantic classes of a batch.

    Args:
        network: The network.
        images: Normalized images padded with zeros at the bottom and right, ``(n, 3, h, w)``, on
            its device.
        valid_sizes: Height and width of each image before padding.

    Returns:
        One prediction per image, coordinates in pixels of the network input.
    """
    image_size = (images.shape[2], images.shape[3])
    levels = network.features(images)
    detections = network.detect(levels, image_size, valid_sizes)
    masks = network.infer_masks(levels, detections, image_size)
    logits = network.infer_semantics(images, levels)
    return [
        PanopticInference(
            boxes_yxyx=detection.boxes,
            classes=detection.classes,
            scores=detection.scores,
            mask_logits=mask.to(detection.boxes.dtype),
            semantic_classes=(
                no_classes(one)
                if network.fuses_logits
                else network.semantic_classes(one, image_size, size)
            ),
            semantic_logits=one,
        )
        for detection, mask, one, size in zip(detections, masks, logits, valid_sizes, strict=True)
    ]
