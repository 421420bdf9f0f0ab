"""Voxels and points from three planes, and the two heads: occupied or free, and in which words."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from eagleray_pop3d.model.config import GridSettings, HeadSettings

NUM_STATES = 2
"""Free (0) and occupied (1)."""


@dataclass(frozen=True)
class Planes:
    """Features seen along the three axes: ``hw`` ``(B, C, H, W)``, ``zh`` ``(B, C, Z, H)`` and
    ``wz`` ``(B, C, W, Z)``.
    """

    hw: Tensor
    zh: Tensor
    wz: Tensor


class Aggregator(nn.Module):
    """Adds up the planes at voxels and points, and decodes occupancy and language features."""

    def __init__(self, channels: int, grid: GridSettings, settings: HeadSettings) -> None:
        super().__init__()
        self.grid, self.scale_hwz = grid, settings.scale_hwz
        self.decoder, width = _decoder(channels, settings.occupancy_hidden)
        self.classifier = nn.Linear(width, NUM_STATES)
        self.decoder_ft, width = _decoder(channels, settings.language_hidden)
        self.classifier_ft = nn.Linear(width, settings.feature_channels)

    def planes(self, queries: Sequence[Tensor]) -> Planes:
        """Lay the encoder's queries out, enlarged by ``scale_hwz``."""
        h, w, z = self.grid.size_hwz
        sh, sw, sz = self.scale_hwz
        sizes = ((h, w), (z, h), (w, z))
        scales = ((sh, sw), (sz, sh), (sw, sz))
        maps = []
        for x, size, scale in zip(queries, sizes, scales, strict=True):
            plane = x.transpose(1, 2).reshape(len(x), -1, *size)
            if scale != (1, 1):
                wanted = [n * s for n, s in zip(size, scale, strict=True)]
                plane = F.interpolate(plane, wanted, mode="bilinear", align_corners=False)
            maps.append(plane)
        return Planes(*maps)

    def voxels(self, planes: Planes) -> Tensor:
        """Return the sum of the planes at every voxel, ``(B, W, H, Z, C)``."""
        hw = planes.hw.permute(0, 3, 2, 1)[:, :, :, None]
        zh = planes.zh.permute(0, 3, 2, 1)[:, None]
        wz = planes.wz.permute(0, 2, 3, 1)[:, :, None]
        return hw + zh + wz

    def points(self, planes: Planes, places: Tensor) -> Tensor:
        """Return the sum of bilinear samples of the planes.

        Args:
            planes: Features.
            places: ``(B, n, 3)`` (x, y, z) in cells of the grid, 0 at the box' lower corner. In the
                outer half cell features fade to zero.

        Returns:
            ``(B, n, C)``.
        """
        h, w, z = self.grid.size_hwz
        x, y, depth = (2 * places / places.new_tensor((w, h, z)) - 1).unbind(dim=-1)
        sampled = [
            F.grid_sample(plane, torch.stack(at, dim=-1)[:, :, None], align_corners=False)
            for plane, at in (
                (planes.hw, (x, y)),
                (planes.zh, (y, depth)),
                (planes.wz, (depth, x)),
            )
        ]
        return sum(sampled[1:], sampled[0])[..., 0].transpose(1, 2)

    def occupancy(self, features: Tensor) -> Tensor:
        """Map ``(..., C)`` to logits ``(..., 2)`` of free and occupied."""
        return self.classifier(self.decoder(features))

    def language(self, features: Tensor) -> Tensor:
        """Map ``(..., C)`` to vectors ``(..., D)`` of the text space; their length is not 1."""
        return self.classifier_ft(self.decoder_ft(features))


def _decoder(channels: int, hidden: Sequence[int]) -> tuple[nn.Sequential, int]:
    """Return linear layers with Softplus between them, and their output's width."""
    widths = [channels, *hidden]
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(widths):
        layers += [nn.Linear(before, after), nn.Softplus()]
    return nn.Sequential(*layers[:-1]), widths[-1]
