"""A toy scene: three balls, photographed from a circle. Delete it when you have data."""

from __future__ import annotations

import numpy as np

from .cameras import View, looking_at_middle, rays_of

CENTERS = np.array([[-0.4, 0.1, 0.0], [0.4, 0.3, -0.1], [0.1, -0.45, 0.25]])
RADII = np.array([0.42, 0.3, 0.26])
COLORS = np.array([[205.0, 80.0, 60.0], [70.0, 125.0, 210.0], [90.0, 180.0, 90.0]])
LIGHT = np.array([0.3, -0.5, 0.8]) / np.linalg.norm([0.3, -0.5, 0.8])
FOCAL = 1.3
"""Focal length over the picture's width."""


def photograph(key: str, turn: float, size_px: int) -> View:
    """Photograph the balls.

    Args:
        key: Name of the view.
        turn: Where the camera stands on the circle, 0 to 1.
        size_px: Height and width.
    """
    angle = 2 * np.pi * turn
    height = 1.0 + 0.6 * np.sin(2 * angle)
    place = looking_at_middle(np.array([2.6 * np.cos(angle), 2.6 * np.sin(angle), height]))
    blank = np.zeros((size_px, size_px, 3), np.uint8)
    view = View(key, blank, place, FOCAL * size_px)
    origins, directions = rays_of(view)
    colors = np.full(origins.shape, 20.0)
    nearest = np.full(len(origins), np.inf)
    for center, radius, color in zip(CENTERS, RADII, COLORS, strict=True):
        along = (directions * (center - origins)).sum(1)
        beside = ((center - origins) ** 2).sum(1) - along**2
        distance = along - np.sqrt((radius**2 - beside).clip(0))
        is_hit = (beside < radius**2) & (distance < nearest)
        points = origins[is_hit] + distance[is_hit, None] * directions[is_hit]
        lit = 0.4 + 0.6 * ((points - center) @ LIGHT / radius).clip(0)
        colors[is_hit], nearest[is_hit] = lit[:, None] * color, distance[is_hit]
    return View(key, colors.reshape(blank.shape).astype(np.uint8), place, view.focal_px)
