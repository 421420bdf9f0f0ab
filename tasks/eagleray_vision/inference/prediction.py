"""What a network predicts for one image, before and after panoptic fusion."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from eagleray_vision.panoptic.panoptic_map import IndexedPanoptic


@dataclass(frozen=True, slots=True)
class PanopticInference:
    """Detections and semantic classes of one image; n detections may be 0.

    Args:
        boxes_yxyx: Boxes in pixels of the network input, ``(n, 4)``, floating point.
        classes: Thing index from 0 (add ``num_stuff`` for the class id), ``(n,)`` int64.
        scores: Softmax score of the class, ``(n,)``.
        mask_logits: Logits of the class's mask over the box, ``(n, 28, 28)``.
        semantic_classes: Class of highest semantic logit per pixel of the unpadded input, the
            first one on ties, ``(h, w)`` int64; ``(0, 0)`` of a network that ``fuses_logits``.
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


class PanopticPrediction:
    """What is known about one image.

    Fusion takes CPU time. Where it is given as a function it runs when the map is first asked for,
    in a thread behind the device, which so need not wait.

    Args:
        fused: Panoptic map, or the function that makes it; at the size of the network input or at
            that at which results are reported.
        semantic_classes: ``(H, W)`` int64 class per pixel of the semantic head, at the size of
            ``fused``; or the function that makes it.
        inference: The network's output on the CPU, in pixels of its input; its semantic logits
            need not be there.
    """

    def __init__(
        self,
        fused: IndexedPanoptic | Callable[[], IndexedPanoptic],
        semantic_classes: npt.NDArray[np.int64] | Callable[[], npt.NDArray[np.int64]],
        inference: PanopticInference,
    ) -> None:
        self._fused, self._semantic_classes = fused, semantic_classes
        self.inference = inference

    @cached_property
    def fused(self) -> IndexedPanoptic:
        """The panoptic map."""
        return self._fused() if callable(self._fused) else self._fused

    @property
    def semantic_classes(self) -> npt.NDArray[np.int64]:
        """Class per pixel of the semantic head, ``(H, W)``."""
        given = self._semantic_classes
        return given() if callable(given) else given
