"""The image tower: features after any block, pooled and dense, for images of any grid.

Names and numerics are open_clip's; the position table is resized on every forward whose grid
differs from it, as OPS does (docs/originals/ops.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eagleray.task import InputError

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
"""Mean of CLIP's training images, RGB in 0..1."""
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
"""Standard deviation of CLIP's training images, RGB in 0..1."""


def normalized(images: Tensor) -> Tensor:
    """Return (B, 3, H, W) uint8 RGB images as CLIP reads them, float32."""
    mean = torch.tensor(CLIP_MEAN, device=images.device)[:, None, None]
    std = torch.tensor(CLIP_STD, device=images.device)[:, None, None]
    return (images.to(torch.float32) / 255.0 - mean) / std


class ClipImageTower(nn.Module):
    """A CLIP image tower that gives what its blocks see.

    Args:
        visual: open_clip's ``VisionTransformer`` with a class token; used as it is, not copied.
    """

    def __init__(self, visual: Any) -> None:
        super().__init__()
        self.visual = visual

    @property
    def blocks(self) -> nn.ModuleList:
        """The transformer blocks (open_clip's ``ResidualAttentionBlock``, batch first)."""
        return self.visual.transformer.resblocks  # type: ignore[no-any-return]

    @property
    def width(self) -> int:
        """Channels of the tokens."""
        return int(self.visual.conv1.out_channels)

    @property
    def heads(self) -> int:
        """Attention heads of a block."""
        return int(self.visual.transformer.resblocks[0].attn.num_heads)

    @property
    def patch_size(self) -> int:
        """Side of a patch, pixels."""
        return int(self.visual.conv1.kernel_size[0])

    @property
    def embed_dim(self) -> int:
        """Channels of the common space of images and words."""
        return int(self.visual.proj.shape[1])

    @property
    def ln_post(self) -> nn.Module:
        """The norm behind the last block."""
        return self.visual.ln_post  # type: ignore[no-any-return]

    @property
    def proj(self) -> Tensor:
        """(width, embed_dim) projection into the common space."""
        return self.visual.proj  # type: ignore[no-any-return]

    def freeze(self, *, except_positions: bool) -> None:
        """Take all parameters out of training, or all but the position table (as OPS trains)."""
        for parameter in self.parameters():
            parameter.requires_grad_(False)
        self.visual.positional_embedding.requires_grad_(except_positions)

    def positions(self, grid_hw: tuple[int, int]) -> Tensor:
        """Return the position table for a grid of patches.

        Args:
            grid_hw: Rows and columns of patches.

        Returns:
            (1 + rows * columns, width); the patches' part is resized bicubically
            (``align_corners=False``) where the grid is another.
        """
        table = self.visual.positional_embedding
        side = self.visual.grid_size
        if tuple(side) == grid_hw:
            return table  # type: ignore[no-any-return]
        patches = table[1:].reshape(1, *side, -1).permute(0, 3, 1, 2)
        resized = F.interpolate(patches, size=grid_hw, mode="bicubic", align_corners=False)
        return torch.cat([table[:1], resized[0].flatten(1).T])

    def tokens(self, images: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Return what the first block reads.

        Args:
            images: (B, 3, H, W) images in CLIP's normalization.

        Returns:
            (B, 1 + h * w, width) tokens after ``ln_pre``, class token first, and the grid (h, w).

        Raises:
            InputError: The images are smaller than a patch.
        """
        height, width = images.shape[-2:]
        grid = (height // self.patch_size, width // self.patch_size)
        if min(grid) < 1:
            raise InputError(
                f"images of {height} x {width} pixels hold no patch of {self.patch_size} x "
                f"{self.patch_size}; give larger ones"
            )
        patches = self.visual.conv1(images).flatten(2).transpose(1, 2)
        cls = self.visual.class_embedding.to(patches.dtype).expand(len(images), 1, -1)
        table = self.positions(grid).to(patches.dtype)
        return self.visual.ln_pre(torch.cat([cls, patches], dim=1) + table), grid

    def features(self, images: Tensor, after: Sequence[int]) -> list[tuple[Tensor, Tensor]]:
        """Return patch maps and class tokens at some depths; later blocks are not run.

        Args:
            images: (B, 3, H, W) images in CLIP's normalization.
            after: Depths, ascending: 0 is behind ``ln_pre``, i behind i blocks.

        Returns:
            Per depth a (B, width, h, w) map and a (B, width) class token, without a final norm.

        Raises:
            InputError: The images are smaller than a patch.
            ValueError: The depths do not ascend, or the tower has fewer blocks.
        """
        if list(after) != sorted(set(after)) or not 0 <= min(after) <= max(after) <= len(
            self.blocks
        ):
            raise ValueError(f"after must ascend within 0..{len(self.blocks)}, got {list(after)}")
        x, grid = self.tokens(images)
        out = []
        for depth in range(max(after) + 1):
            if depth:
                x = self.blocks[depth - 1](x)
            if depth in after:
                out.append((_as_map(x[:, 1:], grid), x[:, 0]))
        return out

    def pooled(self, images: Tensor) -> Tensor:
        """Return (B, embed_dim) embeddings that CLIP compares with text, not normalized."""
        x, _ = self.tokens(images)
        for block in self.blocks:
            x = block(x)
        return self.ln_post(x[:, 0]) @ self.proj  # type: ignore[no-any-return]

    def dense(self, images: Tensor) -> Tensor:
        """Return an embedding of every patch, comparable with text.

        In the last block a patch's value goes through the attention's output projection,
        ``ln_post`` and ``proj``, without looking at other patches (Zhou et al., Extract Free Dense
        Labels from CLIP, arXiv 2112.01071).

        Args:
            images: (B, 3, H, W) images in CLIP's normalization.

        Returns:
            (B, embed_dim, h, w), not normalized.
        """
        x, grid = self.tokens(images)
        for block in self.blocks[:-1]:
            x = block(x)
        return _as_map(self.values(x)[:, 1:], grid)

    def values(self, tokens: Tensor) -> Tensor:
        """Return the value path of the last block, in the common space.

        Args:
            tokens: (B, n, width) tokens before the last block.

        Returns:
            (B, n, embed_dim).
        """
        block: Any = self.blocks[-1]
        attention = block.attn
        width = self.width
        value = F.linear(
            block.ln_1(tokens),
            attention.in_proj_weight[2 * width :],
            attention.in_proj_bias[2 * width :],
        )
        return self.ln_post(attention.out_proj(value)) @ self.proj  # type: ignore[no-any-return]


def _as_map(tokens: Tensor, grid_hw: tuple[int, int]) -> Tensor:
    """Return (B, h * w, C) tokens as a (B, C, h, w) map."""
    return tokens.transpose(1, 2).reshape(len(tokens), -1, *grid_hw)
