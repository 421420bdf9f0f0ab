"""The tri-perspective view head: three planes of queries that read the images, layer by layer.

The variant that POP-3D takes from TPVFormer attends inside the plane seen from above only; the
attention across planes of the TPVFormer paper is not part of it (docs/originals/pop3d.md).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from eagleray_pop3d.model.attention import (
    ImageCrossAttention,
    PlaneSelfAttention,
    PlaneToImageSampling,
)
from eagleray_pop3d.model.config import EncoderSettings, GridSettings
from eagleray_pop3d.model.geometry import Sightings, anchors, plane_positions, project_anchors


class FeedForward(nn.Module):
    """Two linear layers with ReLU and a residual."""

    def __init__(self, settings: EncoderSettings) -> None:
        super().__init__()
        width, hidden, drop = settings.channels, settings.feedforward_channels, settings.dropout
        inner = nn.Sequential(nn.Linear(width, hidden), nn.ReLU(inplace=True), nn.Dropout(drop))
        self.layers = nn.Sequential(inner, nn.Linear(hidden, width), nn.Dropout(drop))

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(..., C)`` to ``(..., C)``."""
        return x + self.layers(x)


class EncoderLayer(nn.Module):
    """Plane attention, image attention and a feed-forward net, each with a norm behind it."""

    def __init__(self, settings: EncoderSettings, num_levels: int) -> None:
        super().__init__()
        self.attentions = nn.ModuleList(
            [PlaneSelfAttention(settings), ImageCrossAttention(settings, num_levels)]
        )
        self.ffns = nn.ModuleList([FeedForward(settings)])
        self.norms = nn.ModuleList(nn.LayerNorm(settings.channels) for _ in range(3))

    def forward(
        self,
        planes: Sequence[Tensor],
        position: Tensor,
        centers: Tensor,
        size_hw: tuple[int, int],
        tokens: Tensor,
        level_hw: Tensor,
        seen: Sequence[Sightings],
    ) -> list[Tensor]:
        """Map three planes ``(B, Q_i, C)`` to three planes."""
        plane_attention, image_attention = self.attentions
        hw, zh, wz = planes
        hw = plane_attention(hw, position, centers, size_hw)
        read = image_attention([self.norms[0](p) for p in (hw, zh, wz)], tokens, level_hw, seen)
        return [self.norms[2](self.ffns[0](self.norms[1](p))) for p in read]


class _PlaneEncoding(nn.Module):
    """Learned positional encoding of the plane seen from above: columns' part first."""

    def __init__(self, size_hw: tuple[int, int], channels: int) -> None:
        super().__init__()
        self.row_embed = nn.Embedding(size_hw[0], channels // 2)
        self.col_embed = nn.Embedding(size_hw[1], channels // 2)

    def forward(self) -> Tensor:
        """Return ``(H * W, C)``."""
        rows, columns = self.row_embed.weight, self.col_embed.weight
        grid = (len(rows), len(columns), -1)
        both = (columns[None].expand(*grid), rows[:, None].expand(*grid))
        return torch.cat(both, dim=-1).flatten(0, 1)


class _Layers(nn.Module):
    """The encoder's layers under the name that published checkpoints have."""

    def __init__(self, settings: EncoderSettings, num_levels: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            EncoderLayer(settings, num_levels) for _ in range(settings.num_layers)
        )


class TpvHead(nn.Module):
    """Queries of three planes, and the encoder that fills them from image features.

    Args:
        settings: Sizes of the encoder.
        grid: The voxel grid.
        num_levels: Levels of the image pyramid.
    """

    anchors_0: Tensor
    anchors_1: Tensor
    anchors_2: Tensor
    centers: Tensor

    def __init__(self, settings: EncoderSettings, grid: GridSettings, num_levels: int) -> None:
        super().__init__()
        self.settings, self.grid = settings, grid
        channels = settings.channels
        h, w, z = grid.size_hwz
        self.level_embeds = nn.Parameter(torch.empty(num_levels, channels))
        self.cams_embeds = nn.Parameter(torch.empty(settings.num_cameras, channels))
        self.positional_encoding = _PlaneEncoding((h, w), channels)
        self.tpv_embedding_hw = nn.Embedding(h * w, channels)
        self.tpv_embedding_zh = nn.Embedding(z * h, channels)
        self.tpv_embedding_wz = nn.Embedding(w * z, channels)
        self.encoder = _Layers(settings, num_levels)
        for plane, points in enumerate(anchors(grid, settings.pillars)):
            self.register_buffer(f"anchors_{plane}", points, persistent=False)
        self.register_buffer("centers", plane_positions(grid), persistent=False)
        self._initialize()

    def _initialize(self) -> None:
        # The original draws every matrix of the head, embedding tables included, and then lets the
        # attentions begin in their own way.
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)
        nn.init.normal_(self.level_embeds)
        nn.init.normal_(self.cams_embeds)
        for module in self.modules():
            if isinstance(module, PlaneSelfAttention | PlaneToImageSampling):
                module.reset_parameters()

    def forward(
        self, levels: Sequence[Tensor], lidar2img: Tensor, image_hw: tuple[int, int]
    ) -> list[Tensor]:
        """Fill the planes.

        Args:
            levels: Maps ``(B, N, C, h_l, w_l)``, finest first.
            lidar2img: ``(B, N, 4, 4)``, lidar metres to pixels times depth.
            image_hw: Size in pixels of the padded images that the maps come from.

        Returns:
            Planes ``(B, H * W, C)``, ``(B, Z * H, C)`` and ``(B, W * Z, C)``.
        """
        batch = levels[0].shape[0]
        tokens = torch.cat(
            [
                level.flatten(3).transpose(2, 3) + self.cams_embeds[:, None] + embed
                for level, embed in zip(levels, self.level_embeds, strict=True)
            ],
            dim=2,
        )
        level_hw = torch.tensor([x.shape[-2:] for x in levels], device=tokens.device)
        with torch.autocast(tokens.device.type, enabled=False):
            seen = [
                project_anchors(points, self.grid, lidar2img, image_hw)
                for points in (self.anchors_0, self.anchors_1, self.anchors_2)
            ]
        tables = (self.tpv_embedding_hw, self.tpv_embedding_zh, self.tpv_embedding_wz)
        planes = [table.weight.expand(batch, -1, -1) for table in tables]
        position = self.positional_encoding()
        size_hw = self.grid.size_hwz[:2]
        for layer in self.encoder.layers:
            planes = layer(planes, position, self.centers, size_hw, tokens, level_hw, seen)
        return planes
