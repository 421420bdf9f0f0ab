"""One entrance to all scene formats, and the box that replaces a format's own centering."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np

from eagleray_omniseg3d.errors import SceneError
from eagleray_omniseg3d.scenes.colmap import read_colmap_scene
from eagleray_omniseg3d.scenes.mvsnet import read_mvsnet_scene
from eagleray_omniseg3d.scenes.poses import FloatArray, invert, transform_poses
from eagleray_omniseg3d.scenes.replica import read_replica_scene, read_replica_small_scene
from eagleray_omniseg3d.scenes.scene import Scene
from eagleray_omniseg3d.scenes.transforms import read_synthetic_scene, read_transforms_scene
from eagleray_omniseg3d.settings import DataSettings

_EXPORT_FORMATS = ("replica", "replica_small", "mvsnet")


def read_scene(data: DataSettings, *, scale: float, faithful: bool) -> Scene:
    """Read the scene that the settings name.

    Args:
        data: Which scene.
        scale: Half side S of the cube, used with ``data.box``.
        faithful: Keep the original's defects (see ``OmniSeg3DSettings.faithful``).

    Raises:
        SceneError: The scene cannot be used; the subclasses say why.
    """
    root = data.folder
    if root == Path() or not root.is_dir():
        raise SceneError(f"data.root {str(root)!r} is no folder; set it to the scene's folder")
    if data.format in _EXPORT_FORMATS and data.downsample != 1:
        raise SceneError(
            f"data.format {data.format!r} has images of one size: data.downsample must be 1, "
            f"found {data.downsample}"
        )
    scene = _read(data, root, faithful=faithful)
    _check_scene(scene, root)
    return scene if data.box is None else fit_to_box(scene, np.array(data.box), scale)


def _read(data: DataSettings, root: Path, *, faithful: bool) -> Scene:
    centered = data.box is None
    if data.format == "colmap":
        return read_colmap_scene(
            root,
            downsample=data.downsample,
            split=data.split,
            faithful=faithful,
            centered=centered,
            with_depth=data.colmap_depth,
        )
    if data.format == "replica":
        return read_replica_scene(root)
    if data.format == "replica_small":
        return read_replica_small_scene(root, hierarchy_folder=data.hierarchy_folder)
    if data.format == "nerf_synthetic":
        return read_synthetic_scene(root, downsample=data.downsample)
    if data.format == "mvsnet":
        return read_mvsnet_scene(root)
    return read_transforms_scene(root, downsample=data.downsample, centered=centered)


def _check_scene(scene: Scene, root: Path) -> None:
    """Check what every format can get wrong: sizes, intrinsics, names."""
    matrix, (height, width) = scene.camera_matrix, scene.size_hw
    focals = matrix[[0, 1], [0, 1]]
    if min(height, width) < 1 or not (np.isfinite(matrix).all() and (focals > 0).all()):
        raise SceneError(
            f"{root}: images of {width} x {height} pixels with intrinsics {matrix.tolist()} cannot "
            "be used; check the camera and data.downsample"
        )
    if not (np.isfinite(scene.shift).all() and np.isfinite(scene.scale) and scene.scale > 0):
        raise SceneError(
            f"{root}: the scene has center {scene.shift.tolist()} and scale {scene.scale}; check "
            "its bounding box"
        )
    counts = Counter(view.name for view in scene.views)
    twice = [name for name, count in counts.items() if count > 1]
    if twice:
        raise SceneError(
            f"{root}: several images are called {', '.join(sorted(twice)[:3])} (apart from their "
            "suffix); rename them"
        )


def fit_to_box(scene: Scene, box_world: FloatArray, scale: float) -> Scene:
    """Center and scale a scene so that a box in world coordinates fills the cube with its longest
    side.

    Args:
        scene: A scene in its format's own coordinates.
        box_world: (2, 3) lower and upper corner in the file's world coordinates.
        scale: Half side S of the cube.

    Raises:
        SceneError: The box has no extent.
    """
    extent = box_world[1] - box_world[0]
    if not (extent > 0).all():
        raise SceneError(f"data.box must have its lower corner first, found {box_world.tolist()}")
    poses = world_poses(scene)
    shift, unit = box_world.mean(axis=0), float(extent.max() / (2.0 * scale))
    poses[:, :, 3] = (poses[:, :, 3] - shift) / unit
    points = (world_points(scene, scene.points) - shift) / unit
    views = tuple(
        replace(view, world_from_cam=pose) for view, pose in zip(scene.views, poses, strict=True)
    )
    return replace(
        scene,
        views=views,
        shift=shift,
        scale=unit,
        box=(box_world - shift) / unit,
        points=points,
        depth_unit=scene.depth_unit * scene.scale / unit,
        frame=None,
    )


def world_points(scene: Scene, points: FloatArray) -> FloatArray:
    """Return scene points (n, 3) in the file's world coordinates."""
    scaled = points * scene.scale + scene.shift
    if scene.frame is None:
        return scaled
    back = invert(scene.frame)
    return np.asarray(scaled @ back[:, :3].T + back[:, 3], np.float64)


def world_poses(scene: Scene) -> FloatArray:
    """Return all poses (N, 3, 4) in the file's world coordinates."""
    poses = np.stack([view.world_from_cam for view in scene.views])
    poses[:, :, 3] = poses[:, :, 3] * scene.scale + scene.shift
    return poses if scene.frame is None else transform_poses(invert(scene.frame), poses)
