"""Deformable attention inside the plane seen from above, and from the planes into the images.

Sampling positions stay float32, whatever the precision of the rest: a pixel of a map 200 wide is
finer than what bfloat16 resolves.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from eagleray_kernels.deformable_attention import deformable_attention
from eagleray_pop3d.model.config import EncoderSettings
from eagleray_pop3d.model.geometry import Sightings

_QUEUE = 2
"""Copies of the plane that attention reads: the original keeps the slot of an earlier frame, and
fills it with the same one."""


class PlaneSelfAttention(nn.Module):
    """Attention inside the plane seen from above; the other two planes are not read."""

    def __init__(self, settings: EncoderSettings) -> None:
        super().__init__()
        c, self.num_heads, self.num_points = (
            settings.channels,
            settings.num_heads,
            settings.plane_points,
        )
        taps = self.num_heads * _QUEUE * self.num_points
        self.sampling_offsets = nn.Linear(_QUEUE * c, 2 * taps)
        self.attention_weights = nn.Linear(_QUEUE * c, taps)
        self.value_proj = nn.Linear(c, c)
        self.output_proj = nn.Linear(c, c)
        self.dropout = nn.Dropout(settings.dropout)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Begin with points in rings, uniform weights and Xavier projections."""
        ring = _ring(self.num_heads, self.num_points)
        bias = ring[:, None].expand(-1, _QUEUE, -1, -1)
        _begin(self.sampling_offsets, self.attention_weights, bias)
        _init_projections(self.value_proj, self.output_proj)

    def forward(
        self, query: Tensor, position: Tensor, centers: Tensor, size_hw: tuple[int, int]
    ) -> Tensor:
        """Attend, and add the query.

        Args:
            query: ``(B, Q, C)``.
            position: ``(Q, C)`` positional encoding, added where offsets and weights are made.
            centers: ``(Q, 2)`` (x, y) of the queries as parts of the plane.
            size_hw: Size of the plane.

        Returns:
            ``(B, Q, C)``.
        """
        batch, count, _ = query.shape
        value = self.value_proj(query)
        with torch.autocast(query.device.type, enabled=False):
            both = torch.cat((query, query + position), dim=-1).float()
            shape = (batch, count, self.num_heads, _QUEUE, self.num_points)
            offsets = self.sampling_offsets(both).view(*shape, 2)
            weights = self.attention_weights(both).view(shape).softmax(dim=-1) / _QUEUE
            height, width = size_hw
            places = centers[:, None, None, None] + offsets / offsets.new_tensor((width, height))
            # Both copies hold the same values, so their points are points of one map.
            sampled = deformable_attention(
                value.float().view(batch, count, self.num_heads, -1),
                torch.tensor([size_hw], device=query.device),
                places.flatten(3, 4)[:, :, :, None],
                weights.flatten(3, 4)[:, :, :, None],
            )
        return self.dropout(self.output_proj(sampled.to(value.dtype))) + query


class PlaneToImageSampling(nn.Module):
    """What queries of the three planes read around their anchors in the pyramids' maps."""

    def __init__(self, settings: EncoderSettings, num_levels: int) -> None:
        super().__init__()
        c, heads = settings.channels, settings.num_heads
        self.num_heads, self.num_levels = heads, num_levels
        self.pillars = settings.pillars
        taps = [heads * num_levels * points for points in settings.image_points]
        self.sampling_offsets = nn.ModuleList(nn.Linear(c, 2 * n) for n in taps)
        self.attention_weights = nn.ModuleList(nn.Linear(c, n) for n in taps)
        self.value_proj = nn.Linear(c, c)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Begin with points in rings around every anchor, uniform weights, a Xavier projection."""
        for layers in zip(self.sampling_offsets, self.attention_weights, self.pillars, strict=True):
            offsets, weights, anchors = cast(tuple[nn.Linear, nn.Linear, int], layers)
            per_anchor = weights.out_features // (self.num_heads * self.num_levels * anchors)
            bias = _ring(self.num_heads, per_anchor)[:, None, None]
            _begin(offsets, weights, bias.expand(-1, self.num_levels, anchors, -1, -1))
        _init_projections(self.value_proj)

    def forward(
        self, plane: int, query: Tensor, value: Tensor, level_hw: Tensor, seen: Sightings
    ) -> Tensor:
        """Read the images for the queries of one plane.

        Args:
            plane: 0 (hw), 1 (zh) or 2 (wz).
            query: ``(B, Q, C)``.
            value: ``(B, N, S, heads, C / heads)``, projected.
            level_hw: ``(L, 2)`` sizes of the maps.
            seen: The plane's anchors in the images.

        Returns:
            ``(B, Q, C)``: the mean over the cameras that see a query, zero where none does.
        """
        batch, cameras = seen.visible.shape[:2]
        width = query.shape[2]
        sees = seen.visible.any(dim=-1)
        places, weights = self._points(plane, query, level_hw)
        # Only queries that a camera sees are computed: the first ones of every row, padded to the
        # longest row; each batch element has its own.
        longest = max(int(sees.sum(dim=-1).max()), 1)
        rows = sees.to(torch.uint8).argsort(dim=-1, descending=True, stable=True)[..., :longest]
        filled = sees.gather(-1, rows)
        element = torch.arange(batch, device=query.device)[:, None, None]
        camera = torch.arange(cameras, device=query.device)[None, :, None]
        uv = seen.uv[element, camera, rows]
        anchored = uv[:, :, :, None, None, :, None] + places[element, rows]
        sampled = deformable_attention(
            value.flatten(0, 1),
            level_hw,
            anchored.flatten(5, 6).flatten(0, 1),
            weights[element, rows].flatten(0, 1),
        ).view(batch, cameras, longest, width)
        sampled = sampled * filled[..., None]
        total = torch.zeros_like(query, dtype=sampled.dtype).scatter_add(
            1,
            rows.flatten(1, 2)[..., None].expand(-1, -1, width),
            sampled.flatten(1, 2),
        )
        return total / sees.sum(dim=1).clamp(min=1)[..., None]

    def _points(self, plane: int, query: Tensor, level_hw: Tensor) -> tuple[Tensor, Tensor]:
        """Return offsets ``(B, Q, M, L, anchors, points per anchor, 2)`` as parts of the maps, and
        weights ``(B, Q, M, L, points)``.
        """
        batch, count = query.shape[:2]
        shape = (batch, count, self.num_heads, self.num_levels)
        offsets = self.sampling_offsets[plane](query)
        offsets = offsets.view(*shape, self.pillars[plane], -1, 2)
        weights = self.attention_weights[plane](query).view(*shape[:3], -1).softmax(dim=-1)
        return offsets / level_hw.flip(1)[:, None, None].to(offsets.dtype), weights.view(*shape, -1)


class ImageCrossAttention(nn.Module):
    """Planes read the camera images at the projections of their anchors."""

    def __init__(self, settings: EncoderSettings, num_levels: int) -> None:
        super().__init__()
        self.deformable_attention = PlaneToImageSampling(settings, num_levels)
        self.output_proj = nn.Linear(settings.channels, settings.channels)
        self.dropout = nn.Dropout(settings.dropout)
        _init_projections(self.output_proj)

    def forward(
        self, planes: Sequence[Tensor], tokens: Tensor, level_hw: Tensor, seen: Sequence[Sightings]
    ) -> list[Tensor]:
        """Attend, and add the queries.

        Args:
            planes: Three ``(B, Q_i, C)``.
            tokens: ``(B, N, S, C)`` of all levels, finest first.
            level_hw: ``(L, 2)`` sizes of the levels.
            seen: Anchors of the three planes in the images.
        """
        sampling = self.deformable_attention
        value = sampling.value_proj(tokens)
        with torch.autocast(value.device.type, enabled=False):
            value32 = value.float().view(*value.shape[:3], sampling.num_heads, -1)
            read = [
                sampling(plane, query.float(), value32, level_hw, sightings)
                for plane, (query, sightings) in enumerate(zip(planes, seen, strict=True))
            ]
        return [
            self.dropout(self.output_proj(x.to(value.dtype))) + query
            for x, query in zip(read, planes, strict=True)
        ]


def _ring(num_heads: int, num_points: int) -> Tensor:
    """Return ``(heads, points, 2)`` offsets in cells: head m looks along angle 2 pi m / heads,
    point k at k + 1 cells in the larger coordinate.
    """
    angle = torch.arange(num_heads) * (2 * math.pi / num_heads)
    direction = torch.stack((angle.cos(), angle.sin()), dim=-1)
    direction = direction / direction.abs().amax(dim=-1, keepdim=True)
    return direction[:, None] * torch.arange(1, num_points + 1)[:, None]


def _begin(offsets: nn.Linear, weights: nn.Linear, bias: Tensor) -> None:
    with torch.no_grad():
        for part in (offsets.weight, weights.weight, weights.bias):
            part.zero_()
        offsets.bias.copy_(bias.reshape(-1))


def _init_projections(*layers: nn.Linear) -> None:
    for layer in layers:
        nn.init.xavier_uniform_(layer.weight)
        nn.init.zeros_(layer.bias)
