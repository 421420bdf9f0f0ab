"""Rooms in the on-disk format of Replica as NeRF-SLAM exports it.

transforms_train.json               all poses (camera to world, axes right, down, forward)
results/rgb/frame<n>.jpg            every tenth pose
results/depth/frame<n>.png          16-bit depth along z, times ``integer_depth_scale`` = meters
instance/frame<n>.png       16-bit object numbers, 0 = nothing (ours, for evaluation)
masks/frame<n>.json         object and part masks (ours, see ``hierarchy.py``)
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from eagleray.task import InputError
from eagleray_toyworld.formats.folder import DatasetFolder
from eagleray_toyworld.formats.hierarchy import hierarchy_json
from eagleray_toyworld.rendering.render import Frame, render
from eagleray_toyworld.scene.scene import Scene
from eagleray_toyworld.worlds.room import RoomPath, room_bounds_m, room_scene
from eagleray_vision.panoptic.label_image import deep_ids_png, encode_png

INTEGER_DEPTH_SCALE = 1.0 / 6553.5
"""Meters per step of the depth files (Replica export of NeRF-SLAM)."""
TRANSFORMS_FILE = "transforms_train.json"
POSES_PER_FILE = 10
"""Only every tenth pose has pictures."""
_JPEG_QUALITY = 95


def depth_png(depth_m: NDArray[np.float32]) -> bytes:
    """Encode depth along z as 16-bit PNG; 0 where there is no surface.

    Raises:
        InputError: A depth is beyond the 10 m that the format can hold.
    """
    finite = np.where(np.isfinite(depth_m), depth_m, np.float32(0.0))
    steps = np.rint(finite.astype(np.float64) / INTEGER_DEPTH_SCALE)
    if steps.max(initial=0) > np.iinfo(np.uint16).max:
        raise InputError(
            f"depth {float(finite.max()):.2f} m does not fit in the format, which ends at "
            f"{np.iinfo(np.uint16).max * INTEGER_DEPTH_SCALE:.2f} m"
        )
    return encode_png(steps.astype(np.uint16))


def _jpeg(rgb: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, "JPEG", quality=_JPEG_QUALITY, subsampling=0)
    return buffer.getvalue()


def replica_file_names(pose_idx: int) -> tuple[str, str, str, str]:
    """Return the relative paths of picture, depth, instances and masks of a pose."""
    stem = f"frame{pose_idx:06d}"
    return (
        f"results/rgb/{stem}.jpg",
        f"results/depth/{stem}.png",
        f"instance/{stem}.png",
        f"masks/{stem}.json",
    )


def replica_files(frame: Frame, scene: Scene, pose_idx: int) -> dict[str, bytes]:
    """Return the four files of a view by relative path.

    Raises:
        InputError: A depth is beyond the 10 m that the format can hold.
    """
    contents = (
        _jpeg(frame.rgb),
        depth_png(frame.depth_m),
        deep_ids_png(frame.object_id),
        hierarchy_json(frame, scene),
    )
    return dict(zip(replica_file_names(pose_idx), contents, strict=True))


def transforms(path: RoomPath) -> dict[str, Any]:
    """Return the content of ``transforms_train.json`` for all poses of a path."""
    height, width = path.size_hw
    focal = path.camera(0).focal_px
    frames = []
    for pose_idx in range(path.num_views):
        entry: dict[str, Any] = {"transform_matrix": path.camera(pose_idx).world_from_cam.tolist()}
        if pose_idx % POSES_PER_FILE == 0:
            rgb, depth, _, _ = replica_file_names(pose_idx)
            entry |= {"file_path": rgb, "depth_path": depth}
        frames.append(entry)
    return {
        "aabb": [list(corner) for corner in room_bounds_m()],
        "w": width,
        "h": height,
        "fl_x": focal[0],
        "fl_y": focal[1],
        "cx": 0.5 * width,
        "cy": 0.5 * height,
        "integer_depth_scale": INTEGER_DEPTH_SCALE,
        "frames": frames,
    }


def replica_scene_files(
    *, seed: int, index: int, num_views: int, size_hw: tuple[int, int]
) -> Iterator[Mapping[str, bytes]]:
    """Yield all files of a room by relative path, view after view, the poses last.

    Args:
        seed: Seed of the world.
        index: Number of the room.
        num_views: Rendered views; there are ten times as many poses.
        size_hw: Image height and width, pixels.
    """
    scene = room_scene(seed, index)
    path = RoomPath(num_views=num_views * POSES_PER_FILE, size_hw=size_hw)
    for pose_idx in range(0, path.num_views, POSES_PER_FILE):
        yield replica_files(render(scene, path.camera(pose_idx)), scene, pose_idx)
    yield {TRANSFORMS_FILE: json.dumps(transforms(path)).encode()}


def write_replica(
    root: Path,
    *,
    seed: int,
    index: int,
    num_views: int = 200,
    size_hw: tuple[int, int] = (340, 600),
) -> None:
    """Write one room; an interrupted call continues where it ended.

    Args:
        root: Folder of the scene.
        seed: Seed of the world.
        index: Number of the room.
        num_views: Rendered views; there are ten times as many poses.
        size_hw: Image height and width, pixels.

    Raises:
        FolderError: The folder holds another scene.
        EaglerayError: The folder cannot be written.
    """
    scene = room_scene(seed, index)
    path = RoomPath(num_views=num_views * POSES_PER_FILE, size_hw=size_hw)
    recipe = {"format": "replica", "seed": seed, "index": index, "num_views": num_views}
    folder = DatasetFolder(root, recipe | {"size_hw": list(size_hw)})
    for pose_idx in range(0, path.num_views, POSES_PER_FILE):
        if not folder.has(replica_file_names(pose_idx)):
            frame = render(scene, path.camera(pose_idx))
            folder.write(replica_files(frame, scene, pose_idx))
    folder.write({TRANSFORMS_FILE: json.dumps(transforms(path)).encode()})
