"""The deformable adapter network (OPS, DAN): SAN's side transformer with deformable blocks.

It reads the image itself and, between its first layers, CLIP's features (docs/originals/ops.md 3).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from eagleray_ops.model.config import AdapterSettings
from eagleray_ops.model.dao import DeformableAdapter
from eagleray_ops.model.mask_decoder import MaskDecoder

_NORM_EPS = 1e-6
_EMBEDDING_STD = 0.02


@dataclass(frozen=True)
class ClipFeature:
    """What CLIP knows after some of its blocks.

    Attributes:
        map: ``(B, C, h, w)`` of its patches.
        token: ``(B, C)`` of its class token.
    """

    map: Tensor
    token: Tensor


class AdapterOutput(NamedTuple):
    """What the adapter gives behind one of its layers; a tuple, in which ZeRO 3 finds tensors.

    Attributes:
        queries: ``(B, Q, width)``.
        maps: ``(B, width, h, w)`` at the adapter's stride.
        mask_logits: ``(B, Q, h, w)``.
        biases: ``(B, heads, Q, h, w)`` attention biases.
    """

    queries: Tensor
    maps: Tensor
    mask_logits: Tensor
    biases: Tensor


class AdapterLayer(nn.Module):
    """A transformer layer that normalizes before attention and MLP.

    Args:
        settings: Width, heads and MLP ratio.
    """

    def __init__(self, settings: AdapterSettings) -> None:
        super().__init__()
        width = settings.width
        hidden = int(settings.mlp_ratio * width)
        self.norm1 = nn.LayerNorm(width, eps=_NORM_EPS)
        self.attention = nn.MultiheadAttention(width, settings.heads, batch_first=True)
        self.norm2 = nn.LayerNorm(width, eps=_NORM_EPS)
        self.expand = nn.Linear(width, hidden)
        self.reduce = nn.Linear(hidden, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return tokens of the same shape, ``(B, L, width)``."""
        normed = self.norm1(tokens)
        tokens = tokens + self.attention(normed, normed, normed, need_weights=False)[0]
        return tokens + self.reduce(F.gelu(self.expand(self.norm2(tokens))))


class ConvolutionFusion(nn.Module):
    """CLIP's features, normalized over channels and projected.

    Args:
        clip_width: Channels of CLIP.
        width: Channels of the adapter.
    """

    def __init__(self, clip_width: int, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(clip_width, eps=_NORM_EPS)
        self.projection = nn.Conv2d(clip_width, width, 1)
        bound = math.sqrt(3 / clip_width)
        nn.init.uniform_(self.projection.weight, -bound, bound)
        nn.init.zeros_(self.projection.get_parameter("bias"))

    def forward(self, tokens: Tensor, feature: ClipFeature, size_hw: tuple[int, int]) -> Tensor:
        """Add the features, enlarged to the adapter's grid, to its patch tokens.

        Args:
            tokens: ``(B, Q + h w, width)``, queries first.
            feature: CLIP's.
            size_hw: Rows h and columns w of the patches.
        """
        maps = self.norm(feature.map.movedim(1, -1)).movedim(-1, 1)
        maps = F.interpolate(self.projection(maps), size_hw, mode="bilinear")
        num_patches = size_hw[0] * size_hw[1]
        queries, patches = tokens[:, :-num_patches], tokens[:, -num_patches:]
        return torch.cat([queries, patches + maps.flatten(2).mT], dim=1)


class AttentionFusion(nn.Module):
    """All tokens become what they read from CLIP's tokens, as the original's unused variant.

    Args:
        clip_width: Channels of CLIP.
        settings: Width and heads.
    """

    def __init__(self, clip_width: int, settings: AdapterSettings) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(
            settings.width,
            settings.fusion_heads,
            bias=False,
            kdim=clip_width,
            vdim=clip_width,
            batch_first=True,
        )

    def forward(self, tokens: Tensor, feature: ClipFeature, size_hw: tuple[int, int]) -> Tensor:
        """Return tokens of the same shape, ``(B, Q + h w, width)``."""
        given = torch.cat([feature.token[:, None], feature.map.flatten(2).mT], dim=1)
        return self.attention(tokens, given, given, need_weights=False)[0]


class SideAdapter(nn.Module):
    """Proposes masks and attention biases from an image and CLIP's features.

    Args:
        settings: The variant.
        clip_width: Channels of CLIP's features.
        clip_heads: Heads of CLIP's blocks.
        faithful: Resize the table of positions only where the number of patches is another one, as
            the original does, instead of wherever their grid is.
    """

    def __init__(
        self, settings: AdapterSettings, clip_width: int, clip_heads: int, *, faithful: bool
    ) -> None:
        super().__init__()
        self.settings, self.faithful = settings, faithful
        width, side = settings.width, settings.patch_px
        self.patches = nn.Conv2d(3, width, side, stride=side)
        rows, columns = settings.grid
        self.positions = nn.Parameter(torch.empty(1, rows * columns, width))
        self.queries = nn.Parameter(torch.empty(1, settings.queries, width))
        self.query_positions = nn.Parameter(torch.empty(1, settings.queries, width))
        nn.init.trunc_normal_(self.positions, std=_EMBEDDING_STD)
        nn.init.normal_(self.queries, std=_EMBEDDING_STD)
        nn.init.normal_(self.query_positions, std=_EMBEDDING_STD)
        self.layers = nn.ModuleList(AdapterLayer(settings) for _ in range(settings.layers))
        by_conv = settings.fusion == "conv"
        self.fusions = nn.ModuleList(
            ConvolutionFusion(clip_width, width)
            if by_conv
            else AttentionFusion(clip_width, settings)
            for _ in settings.fusion_layers
        )
        dao = settings.dao
        self.dao_before, self.dao_after = (
            nn.ModuleDict({str(index): DeformableAdapter(width, dao) for index in sorted(chosen)})
            for chosen in (dao.before_fusion, dao.after_fusion)
        )
        bias_heads = clip_heads if settings.bias_heads == "all" else 1
        self.mask_decoder = MaskDecoder(settings, bias_heads)

    def forward(
        self, images: Tensor, features: Sequence[ClipFeature], *, supervised: Sequence[int] = ()
    ) -> list[AdapterOutput]:
        """Return what stands behind the supervised layers, in their order, and the last one.

        Args:
            images: ``(B, 3, H, W)``, normalized as for CLIP; sides are multiples of the patch.
            features: CLIP's, one per fusion.
            supervised: Layers from 1 whose output is wanted beside the last one's.
        """
        maps = self.patches(images)
        size = (maps.shape[2], maps.shape[3])
        patches = maps.flatten(2).mT
        positions = torch.cat([self.query_positions, self._resized_positions(size)], dim=1)
        positions = positions.expand(len(images), -1, -1)
        queries = self.queries.expand(len(images), -1, -1)
        tokens = torch.cat([queries, patches], dim=1) + positions
        tokens = self._inject(0, tokens, features, size)
        outputs = []
        for number, layer in enumerate(self.layers, start=1):
            tokens = self._inject(number, layer(tokens), features, size)
            if number in supervised or number == len(self.layers):
                outputs.append(self._decode(tokens, size))
            if number < len(self.layers):
                tokens = tokens + positions
        return outputs

    def _inject(
        self,
        number: int,
        tokens: Tensor,
        features: Sequence[ClipFeature],
        size: tuple[int, int],
    ) -> Tensor:
        """Let deformable blocks and CLIP's features in, where there are any behind this layer."""
        if number not in self.settings.fusion_layers:
            return tokens
        index = self.settings.fusion_layers.index(number)
        tokens = self._deform(self.dao_before, index, tokens, size)
        tokens = self.fusions[index](tokens, features[index], size)
        return self._deform(self.dao_after, index, tokens, size)

    def _deform(
        self, blocks: nn.ModuleDict, index: int, tokens: Tensor, size: tuple[int, int]
    ) -> Tensor:
        if str(index) not in blocks:
            return tokens
        queries, patches = self._split(tokens)
        deformed = blocks[str(index)](torch.unflatten(patches, 1, size))
        return torch.cat([queries, deformed.flatten(1, 2)], dim=1)

    def _split(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        return tokens[:, : self.settings.queries], tokens[:, self.settings.queries :]

    def _decode(self, tokens: Tensor, size: tuple[int, int]) -> AdapterOutput:
        queries, patches = self._split(tokens)
        maps = torch.unflatten(patches.mT, 2, size)
        return AdapterOutput(queries, maps, *self.mask_decoder(queries, maps))

    def _resized_positions(self, size: tuple[int, int]) -> Tensor:
        """Return the table of positions for a grid of patches, ``(1, h w, width)``."""
        grid = self.settings.grid
        by_number = self.faithful and size[0] * size[1] == grid[0] * grid[1]
        if size == grid or by_number:
            return self.positions
        table = torch.unflatten(self.positions.mT, 2, grid)
        return F.interpolate(table, size, mode="bicubic").flatten(2).mT
