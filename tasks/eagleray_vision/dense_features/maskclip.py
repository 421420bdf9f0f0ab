"""MaskCLIP (arXiv 2112.01071) without training: the value path of CLIP's last block, per patch."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor

from eagleray_vision.clip.tower import ClipImageTower, normalized
from eagleray_vision.dense_features.extractor import DenseExtractor, keep_ratio


class MaskClip(DenseExtractor):
    """CLIP's patches in the space of its words.

    Args:
        visual: open_clip's image tower.
        long_px: Bound of a photograph's longer side after resizing.
        short_px: Bound of the shorter one.
    """

    name: ClassVar[str] = "MaskCLIP"

    def __init__(self, visual: Any, *, long_px: int = 1024, short_px: int = 512) -> None:
        super().__init__()
        self.tower, self._bounds = ClipImageTower(visual), (long_px, short_px)
        self.channels = self.tower.embed_dim
        self.eval().requires_grad_(False)

    def input_size(self, image_hw: tuple[int, int]) -> tuple[int, int]:
        """Return the photograph's ratio within the bounds, in whole patches."""
        patch = self.tower.patch_size
        height, width = keep_ratio(image_hw, *self._bounds)
        return max(1, round(height / patch)) * patch, max(1, round(width / patch)) * patch

    def normalize(self, image: Tensor) -> Tensor:
        """Return the image in CLIP's normalization."""
        return normalized(image[None])[0]

    def feature_map(self, inputs: Tensor) -> Tensor:
        """Map (B, 3, H, W) to (B, C, H / patch, W / patch)."""
        return self.tower.dense(inputs)
