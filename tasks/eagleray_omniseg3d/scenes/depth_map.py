"""Depth maps of COLMAP's dense reconstruction (``stereo/depth_maps/<image>.geometric.bin``)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from eagleray_omniseg3d.errors import MissingImageError, SceneError

MAP_SUFFIX = ".geometric.bin"
_FOLDERS = ("stereo/depth_maps", "dense/stereo/depth_maps", "dense/0/stereo/depth_maps")
_HEADER_BYTES = 64
"""More than three numbers with their separators take."""


def depth_map_paths(root: Path, names: list[str]) -> list[Path]:
    """Return the depth map of every image of a COLMAP scene.

    Args:
        root: Folder of the scene; maps are looked for in ``stereo`` and ``dense/stereo``.
        names: Names of the images, as COLMAP registered them.

    Raises:
        MissingImageError: There are no depth maps, or not for every image.
    """
    folder = next((root / name for name in _FOLDERS if (root / name).is_dir()), None)
    if folder is None:
        raise MissingImageError(
            f"{root} has no depth maps (tried {', '.join(_FOLDERS)}); run colmap "
            "patch_match_stereo, or set data.colmap_depth: false"
        )
    paths = [folder / f"{name}{MAP_SUFFIX}" for name in names]
    missing = [path.name for path in paths if not path.is_file()]
    if missing:
        raise MissingImageError(
            f"{folder}: {len(missing)} of {len(names)} depth maps are missing, such as "
            f"{', '.join(missing[:3])}"
        )
    return paths


def read_depth_map(path: Path) -> npt.NDArray[np.float32]:
    """Read a depth map as (H, W) float32 in the model's units, 0 = unknown.

    The file is a text header ``width&height&channels&`` and float32 values, columns first.

    Raises:
        SceneError: It is missing, cut short or no such file.
    """
    if path.exists() and not path.is_file():
        raise SceneError(f"{path}: is no regular file; give a depth map of COLMAP")
    try:
        content = path.read_bytes()
        *numbers, _ = content[:_HEADER_BYTES].split(b"&", 3)
        width, height, channels = (int(number) for number in numbers)
    except (OSError, ValueError) as error:
        raise SceneError(f"{path}: no depth map of COLMAP ({error})") from error
    start = sum(len(number) + 1 for number in numbers)
    found = len(content) - start
    if channels != 1 or min(width, height) < 1 or found != 4 * width * height:
        raise SceneError(
            f"{path}: a map of {width} x {height} x {channels} numbers must have one channel and "
            f"{4 * width * height} bytes of values, found {found}; copy it again"
        )
    values = np.frombuffer(content, "<f4", offset=start).reshape((width, height), order="F")
    return np.ascontiguousarray(values.T)
