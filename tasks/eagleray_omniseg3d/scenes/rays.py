"""Rays of pinhole cameras (conventions in ``poses.py``)."""

from __future__ import annotations

import torch
from torch import Tensor


def camera_directions(camera_matrix: Tensor, size_hw: tuple[int, int]) -> Tensor:
    """Return the ray direction of every pixel in camera axes, z = 1.

    Args:
        camera_matrix: (3, 3) intrinsics in pixels.
        size_hw: Height and width in pixels.

    Returns:
        (H W, 3), row by row.
    """
    height, width = size_hw
    index = torch.arange(height * width, device=camera_matrix.device)
    return directions_of_pixels(camera_matrix, index, width)


def directions_of_pixels(camera_matrix: Tensor, pixel_idx: Tensor, width: int) -> Tensor:
    """Return the ray directions of some pixels in camera axes, z = 1.

    Args:
        camera_matrix: (3, 3) intrinsics in pixels.
        pixel_idx: (n,) int64 v W + u.
        width: W.

    Returns:
        (n, 3) in the dtype of the matrix.
    """
    u = (pixel_idx % width).to(camera_matrix)
    v = torch.div(pixel_idx, width, rounding_mode="floor").to(camera_matrix)
    x = (u - camera_matrix[0, 2] + 0.5) / camera_matrix[0, 0]
    y = (v - camera_matrix[1, 2] + 0.5) / camera_matrix[1, 1]
    return torch.stack([x, y, torch.ones_like(x)], dim=-1)


def world_rays(directions: Tensor, world_from_cam: Tensor) -> tuple[Tensor, Tensor]:
    """Turn camera directions into rays.

    Args:
        directions: (n, 3) in camera axes.
        world_from_cam: (3, 4), or (n, 3, 4) for one pose per ray.

    Returns:
        Origins and directions, both (n, 3); directions keep their length.
    """
    rotation = world_from_cam[..., :3]
    if world_from_cam.dim() == 2:
        rays_d = directions @ rotation.T
    else:
        rays_d = (rotation @ directions[:, :, None]).squeeze(-1)
    return world_from_cam[..., 3].expand_as(rays_d).contiguous(), rays_d.contiguous()
