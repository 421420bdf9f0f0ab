"""What the network predicts for one image, before panoptic fusion."""

from dataclasses import dataclass, fields
from typing import Self

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class PanopticInference:
    """Detections and semantic classes of one image; n detections may be 0.

    Args:
        boxes_yxyx: Boxes in pixels of the network input, ``(n, 4)``, floating point.
        classes: Thing index from 0 (add ``num_stuff`` for the class id), ``(n,)`` int64.
        scores: Softmax score of the class, ``(n,)``.
        mask_logits: Logits of the class's mask over the box, ``(n, 28, 28)``.
        semantic_classes: Class of highest semantic logit per pixel of the unpadded input, the
            first one on ties, ``(h, w)`` int64.
        semantic_logits: Semantic logits of the padded input at the stride of the finest feature
            level, ``(classes, H / 4, W / 4)``.
    """

    boxes_yxyx: Tensor
    classes: Tensor
    scores: Tensor
    mask_logits: Tensor
    semantic_classes: Tensor
    semantic_logits: Tensor

    def to(self, device: torch.device | str) -> Self:
        """Return a copy with all tensors on ``device``."""
        return type(self)(*(getattr(self, f.name).to(device) for f in fields(self)))

    def cpu(self) -> Self:
        """Return a copy with all tensors on the CPU."""
        return self.to("cpu")
