"""A scene: posed images in scene coordinates, listed without opening the images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from eagleray_omniseg3d.errors import MissingImageError, SceneError
from eagleray_omniseg3d.scenes.poses import FloatArray

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")


@dataclass(frozen=True, slots=True)
class View:
    """One posed image.

    Args:
        name: Unique within the scene; the image's path without suffix.
        image_path: The image file.
        world_from_cam: (3, 4) float64 in scene coordinates (axes as in ``poses``).
        depth_path: Depth image (integers or floats), if there is one.
        hierarchy_path: Hierarchy in the original's npz layout, if there is one.
    """

    name: str
    image_path: Path
    world_from_cam: FloatArray
    depth_path: Path | None = None
    hierarchy_path: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """Posed images of one size.

    Args:
        views: All views, in the order of the original's poses.
        camera_matrix: (3, 3) float64 intrinsics in pixels at ``size_hw``.
        size_hw: Height and width that images are brought to.
        splits: View numbers by split name: ``train``, ``test``, and whatever a format has.
        shift: (3,) float64; scene = (world - shift) / scale after the rotation of the format.
        scale: World units per scene unit.
        box: (2, 3) float64 lower and upper corner of what is worth marching, scene units; None
            for the whole cube.
        points: (M, 3) float64 sparse points in scene units, possibly none.
        depth_unit: Scene units per unit of a depth image.
        background: Color under transparent pixels, 0 black to 1 white.
        frame: (3, 4) float64 rotation and translation that were applied before the scale, if any.
    """

    views: tuple[View, ...]
    camera_matrix: FloatArray
    size_hw: tuple[int, int]
    splits: Mapping[str, tuple[int, ...]]
    shift: FloatArray = field(default_factory=lambda: np.zeros(3))
    scale: float = 1.0
    box: FloatArray | None = None
    points: FloatArray = field(default_factory=lambda: np.zeros((0, 3)))
    depth_unit: float = 0.0
    background: float = 0.0
    frame: FloatArray | None = None

    def poses(self, split: str) -> FloatArray:
        """Return (n, 3, 4) float64 world_from_cam of a split."""
        return np.stack([self.views[i].world_from_cam for i in self.split(split)])

    def split(self, name: str) -> tuple[int, ...]:
        """Return the view numbers of a split.

        Raises:
            SceneError: There is no such split, or it is empty.
        """
        numbers = self.splits.get(name, ())
        if not numbers:
            raise SceneError(
                f"the scene has no views in split {name!r}; it has "
                f"{ {k: len(v) for k, v in self.splits.items()} }"
            )
        return tuple(numbers)

    def view_idx(self, name: str) -> int:
        """Return the number of a view by its name.

        Raises:
            MissingImageError: There is no view of that name.
        """
        for index, view in enumerate(self.views):
            if view.name == name:
                return index
        raise MissingImageError(
            f"the scene has no view {name!r}; it has {len(self.views)}, "
            f"such as {self.views[0].name!r}"
        )


def every_8th(count: int) -> dict[str, tuple[int, ...]]:
    """Split view numbers: every 8th from 0 is held out for testing (original COLMAP loader)."""
    return {
        "train": tuple(i for i in range(count) if i % 8 != 0),
        "test": tuple(i for i in range(count) if i % 8 == 0),
    }


def require_images(views: tuple[View, ...], root: Path) -> None:
    """Check that all images are there.

    Raises:
        MissingImageError: Names the first missing ones, or says that there is none at all.
    """
    if not views:
        raise MissingImageError(f"{root}: the scene has no posed images")
    missing = [v.image_path for v in views if not v.image_path.is_file()]
    if missing:
        listing = ", ".join(str(p) for p in missing[:5])
        raise MissingImageError(
            f"{root}: {len(missing)} of {len(views)} posed images are missing: {listing}; "
            "copy them or take their poses out"
        )
