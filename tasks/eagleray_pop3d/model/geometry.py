"""Anchors in space of the three planes, and where they fall in the camera images.

Planes: ``hw`` seen from above (query y * W + x), ``zh`` seen along x (z * H + y), ``wz`` seen along
y (x * Z + z). Coordinates of anchors are parts (0..1) of the box along x, y and z.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from eagleray_pop3d.model.config import GridSettings

MIN_DEPTH_M = 1e-5
"""Nearer anchors are behind the camera (the original's image cross attention)."""


def anchors(grid: GridSettings, pillars: tuple[int, int, int]) -> list[Tensor]:
    """Return the anchors of the three planes, each ``(P_i, Q_i, 3)`` float32.

    Along the axis that a plane does not resolve, anchors stand 0.5 m from the box' faces and evenly
    between them, whatever the size of the cells.
    """
    h, w, z = grid.size_hwz
    x_c, y_c, z_c = (_centers(n) for n in (w, h, z))
    x_p, y_p, z_p = (
        torch.linspace(0.5, extent - 0.5, count) / extent
        for extent, count in zip(grid.extent_m, (pillars[1], pillars[2], pillars[0]), strict=True)
    )
    hw = torch.cartesian_prod(z_p, y_c, x_c)[:, [2, 1, 0]]
    zh = torch.cartesian_prod(x_p, z_c, y_c)[:, [0, 2, 1]]
    wz = torch.cartesian_prod(y_p, x_c, z_c)[:, [1, 0, 2]]
    return [p.reshape(count, -1, 3) for p, count in zip((hw, zh, wz), pillars, strict=True)]


def plane_positions(grid: GridSettings) -> Tensor:
    """Return the centers ``(H * W, 2)`` of the cells seen from above, (x, y) as parts of the
    plane.
    """
    h, w, _ = grid.size_hwz
    return torch.cartesian_prod(_centers(h), _centers(w)).flip(1)


@dataclass(frozen=True)
class Sightings:
    """Where the anchors of one plane fall in the images.

    Attributes:
        uv: ``(B, N, Q, P, 2)`` float32, parts of the image's width and height; huge or meaningless
            where an anchor is not visible.
        visible: ``(B, N, Q, P)`` bool.
    """

    uv: Tensor
    visible: Tensor


def project_anchors(
    plane_anchors: Tensor, grid: GridSettings, lidar2img: Tensor, image_hw: tuple[int, int]
) -> Sightings:
    """Project anchors into every camera.

    Args:
        plane_anchors: ``(P, Q, 3)`` parts of the box.
        grid: The box.
        lidar2img: ``(B, N, 4, 4)``, metres to pixels times depth; used in float32.
        image_hw: Size in pixels of the padded images.
    """
    low = plane_anchors.new_tensor(grid.range_min_m)
    high = plane_anchors.new_tensor(grid.range_max_m)
    metric = plane_anchors.transpose(0, 1) * (high - low) + low
    points = torch.cat((metric, torch.ones_like(metric[..., :1])), dim=-1)
    matrices = lidar2img.to(points.dtype)[:, :, None, None]
    projected = (matrices @ points[..., None])[..., :3, 0]
    depth = projected[..., 2:]
    height, width = image_hw
    uv = projected[..., :2] / depth.clamp(min=MIN_DEPTH_M) / depth.new_tensor((width, height))
    inside = ((uv > 0) & (uv < 1)).all(dim=-1)
    return Sightings(uv, inside & (depth[..., 0] > MIN_DEPTH_M))


def _centers(count: int) -> Tensor:
    return torch.linspace(0.5, count - 0.5, count) / count
