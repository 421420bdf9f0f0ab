"""Reading the pixels of one view: color, depth, patches."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from eagleray_omniseg3d.errors import MaskError, MissingImageError, SceneError
from eagleray_omniseg3d.masks.hierarchy import Hierarchy, read_npz
from eagleray_omniseg3d.scenes.depth_map import MAP_SUFFIX, read_depth_map
from eagleray_omniseg3d.scenes.scene import Scene, View

FloatImage = npt.NDArray[np.float32]


def read_view_rgb(scene: Scene, view: View, *, faithful: bool = True) -> FloatImage:
    """Read an image at the scene's size; transparent pixels show the scene's background.

    Args:
        scene: Gives size and background.
        view: One of its views.
        faithful: Resize bilinearly as the original does; otherwise by area, without aliasing.

    Returns:
        (H, W, 3) float32 RGB in [0, 1].

    Raises:
        MissingImageError: The file is missing or no image.
    """
    pixels = _decoded(view.image_path)
    if pixels is None or pixels.dtype.kind != "u":
        raise MissingImageError(f"{view.image_path} is missing or no image that can be read")
    depth_range = np.float32(np.iinfo(pixels.dtype).max)
    values = pixels.astype(np.float32) / depth_range
    if values.ndim == 2:
        values = np.repeat(values[:, :, None], 3, axis=2)
    if values.shape[2] == 4:
        alpha = values[:, :, 3:]
        values = values[:, :, :3] * alpha + np.float32(scene.background) * (1 - alpha)
    rgb = np.ascontiguousarray(values[:, :, 2::-1])
    height, width = scene.size_hw
    if rgb.shape[:2] == (height, width):
        return rgb
    shrinks = rgb.shape[0] > height and not faithful
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(rgb, (width, height), interpolation=method), np.float32)


def read_view_depth(scene: Scene, view: View, *, faithful: bool = True) -> FloatImage | None:
    """Read a depth image as (H, W) float32 in scene units, 0 = unknown; None if the view has none.

    Args:
        scene: Gives size and unit.
        view: One of its views.
        faithful: Resize COLMAP's depth maps by area, as the original does, which mixes known with
            unknown depths; otherwise take the nearest.

    Raises:
        SceneError: The file is no single-channel image of the scene's size (of its proportions,
            for COLMAP's depth maps).
    """
    path = view.depth_path
    if path is None:
        return None
    if path.name.endswith(MAP_SUFFIX):
        raw: npt.NDArray[Any] | None = _fit_depth_map(read_depth_map(path), scene, path, faithful)
    else:
        raw = _decoded(path)
    if raw is None or raw.shape != scene.size_hw:
        raise SceneError(
            f"{path}: a depth image of {scene.size_hw} pixels (H, W) is needed, found "
            f"{'nothing' if raw is None else raw.shape}"
        )
    known = np.nan_to_num(raw.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    return np.asarray(known * scene.depth_unit, np.float32)


def _decoded(path: Path) -> npt.NDArray[Any] | None:
    """Return an image as stored; None where it is none, or no regular file (a pipe never ends)."""
    try:
        return cv2.imread(str(path), cv2.IMREAD_UNCHANGED) if path.is_file() else None
    except cv2.error:  # more pixels than OpenCV accepts
        return None


def _fit_depth_map(
    depth: FloatImage, scene: Scene, path: Path, faithful: bool
) -> npt.NDArray[np.float32]:
    height, width = scene.size_hw
    if abs(depth.shape[1] / width - depth.shape[0] / height) > 1.0 / min(height, width):
        raise SceneError(
            f"{path}: a depth map of {depth.shape} pixels (H, W) does not fit images of "
            f"{scene.size_hw}; reconstruct it from the same images"
        )
    method = cv2.INTER_AREA if faithful else cv2.INTER_NEAREST
    return np.asarray(cv2.resize(depth, (width, height), interpolation=method), np.float32)


def read_view_hierarchy(scene: Scene, view: View) -> Hierarchy | None:
    """Read the view's own hierarchy file at the scene's size; None if it has none.

    Raises:
        MaskError: The file is no hierarchy, or of other proportions than the image.
    """
    if view.hierarchy_path is None:
        return None
    if not view.hierarchy_path.is_file():
        raise MaskError(f"{view.hierarchy_path}: is no regular file; prepare it again")
    hierarchy = read_npz(view.hierarchy_path.read_bytes(), str(view.hierarchy_path))
    return fit_hierarchy(hierarchy, scene.size_hw, str(view.hierarchy_path))


def fit_hierarchy(hierarchy: Hierarchy, size_hw: tuple[int, int], name: str) -> Hierarchy:
    """Bring patch ids to an image's size by nearest neighbor.

    Args:
        hierarchy: Patches at any size of the same proportions.
        size_hw: Height and width in pixels.
        name: Whose patches, for the error message.

    Raises:
        MaskError: The proportions differ by more than a pixel's rounding.
    """
    found, wanted = hierarchy.indices.shape, size_hw
    if found == wanted:
        return hierarchy
    factor = found[0] / wanted[0]
    if abs(found[1] - factor * wanted[1]) > max(factor, 1.0):
        raise MaskError(
            f"{name}: masks of {found} pixels (H, W) do not fit an image of {wanted}; "
            "prepare them from the same images"
        )
    size_wh = wanted[1], wanted[0]
    ids = cv2.resize(hierarchy.indices, size_wh, interpolation=cv2.INTER_NEAREST)
    return Hierarchy(ids, hierarchy.correlation, hierarchy.num_masks)


@dataclass(frozen=True, slots=True)
class ViewPixels:
    """The pixels of one view, all at the scene's size.

    Args:
        rgb: (H, W, 3) uint8.
        depth: (H, W) float32 in scene units, 0 = unknown, or None.
        hierarchy: Patches, or None.
    """

    rgb: npt.NDArray[np.uint8]
    depth: FloatImage | None
    hierarchy: Hierarchy | None


def read_view(scene: Scene, view: View, *, faithful: bool = True) -> ViewPixels:
    """Read everything that a view has; raises what the single readers raise."""
    rgb = np.rint(read_view_rgb(scene, view, faithful=faithful) * 255).astype(np.uint8)
    depth = read_view_depth(scene, view, faithful=faithful)
    return ViewPixels(rgb, depth, read_view_hierarchy(scene, view))
