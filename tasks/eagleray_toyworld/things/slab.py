"""Floors, ceilings, walls and pavements: boxes that take no light from each other."""

from __future__ import annotations

from eagleray_toyworld.scene.material import Material
from eagleray_toyworld.scene.pose import Pose, Vector3
from eagleray_toyworld.scene.scene import Part
from eagleray_toyworld.scene.shape import Box


def slab(name: str, center: Vector3, half: Vector3, material: Material) -> Part:
    """Return a box without a shadow.

    Args:
        name: Name of the part.
        center: Where its middle is, meters.
        half: Half its extent along x, y, z, meters.
        material: Its surface.
    """
    return Part(
        name=name,
        shape=Box(half_size_m=half),
        pose=Pose(position_m=center),
        material=material,
        casts_shadow=False,
    )
