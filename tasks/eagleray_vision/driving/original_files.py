"""Matches and features as the original stores them, a file each per photograph
(docs/originals/pop3d.md 2.3 and 3.4).

Read instead of computed where somebody has them; written for those who want to go on with the
original's programs.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from numpy.typing import NDArray

from eagleray.task import is_transient
from eagleray_vision.driving.errors import DrivingDataError
from eagleray_vision.driving.key_frame import CameraTime
from eagleray_vision.driving.projection import Matches

_POINTS, _PIXELS = "__points.npy", "__pixels.npy"
FEATURE_ENDINGS = ("", ".pth.npy", ".pth", "_fts.pth")
"""Endings of feature files in the order in which the original's loader tries them."""
_NUMPY_MAGIC = b"\x93NUMPY"


@dataclass(frozen=True)
class StoredMatches:
    """Matches of one photograph.

    Attributes:
        points: (n,) int64 rows of the sweep.
        pixels: (n, 2) int64 (row, column).
    """

    points: NDArray[np.int64]
    pixels: NDArray[np.int64]


def projection_files(camera: CameraTime, matches: Matches) -> dict[str, bytes]:
    """Return the two files of a photograph by relative path ``<camera>/<stem>__points.npy``."""
    stem = f"{camera.name}/{PurePosixPath(camera.path).stem}"
    return {
        f"{stem}{_POINTS}": _npy(matches.points.astype(np.int64)),
        f"{stem}{_PIXELS}": _npy(matches.pixels),
    }


def feature_file(camera: CameraTime, features: NDArray[np.float32]) -> dict[str, bytes]:
    """Return a photograph's features as ``<camera>/<stem>.pth.npy``."""
    return {f"{camera.name}/{PurePosixPath(camera.path).stem}.pth.npy": _npy(features)}


def read_projection(
    folder: Path, camera: CameraTime, *, num_points: int, size_hw: tuple[int, int], token: str
) -> StoredMatches:
    """Read the matches of a photograph.

    Args:
        folder: Folder with a folder per camera.
        camera: The photograph.
        num_points: Points of the sweep.
        size_hw: Height and width of the photograph.
        token: The key frame, for messages.

    Raises:
        DrivingDataError: A file is missing or no such array, counts differ, or a point or pixel
            lies outside.
    """
    stem = folder / camera.name / PurePosixPath(camera.path).stem
    points, pixels = (_read_npy(Path(f"{stem}{end}"), token) for end in (_POINTS, _PIXELS))
    if points.ndim != 1 or pixels.shape != (len(points), 2):
        raise DrivingDataError(
            f"{stem}{_POINTS} of key frame {token} has shape {points.shape}, its pixels "
            f"{pixels.shape}; expected are (n,) and (n, 2)"
        )
    if points.dtype.kind not in "iu" or pixels.dtype.kind not in "iu":
        raise DrivingDataError(f"{stem}{_POINTS} of key frame {token}: expected are whole numbers")
    rows: NDArray[np.int64] = points.astype(np.int64)
    places: NDArray[np.int64] = pixels.astype(np.int64)
    if len(rows) and not 0 <= rows.min() <= rows.max() < num_points:
        raise DrivingDataError(
            f"{stem}{_POINTS} of key frame {token}: rows {rows.min()} to {rows.max()}, the "
            f"sweep has {num_points}; the matches belong to another sweep"
        )
    if ((places < 0) | (places >= np.array(size_hw))).any():
        raise DrivingDataError(
            f"{stem}{_PIXELS} of key frame {token}: pixels outside of {size_hw[0]} x {size_hw[1]}"
        )
    return StoredMatches(rows, places)


def read_features(
    folder: Path, camera: CameraTime, num_matches: int, token: str
) -> NDArray[np.float32]:
    """Read the features of a photograph's matches, whatever the original calls the file.

    Args:
        folder: Folder with a folder per camera.
        camera: The photograph.
        num_matches: Matches of the photograph.
        token: The key frame, for messages.

    Returns:
        (n, D) float32.

    Raises:
        DrivingDataError: No file, another number of features than matches, or not finite.
    """
    stem = folder / camera.name / PurePosixPath(camera.path).stem
    tried = [Path(f"{stem}{end}") for end in FEATURE_ENDINGS]
    path = next((one for one in tried if one.is_file()), None)
    if path is None:
        raise DrivingDataError(
            f"{stem}: key frame {token} has no features (tried endings "
            f"{', '.join(FEATURE_ENDINGS)}); compute them, or complete the folder"
        )
    features = _read_array(path, token)
    if features.ndim != 2 or len(features) != num_matches or features.dtype.kind != "f":
        raise DrivingDataError(
            f"{path} of key frame {token}: {features.dtype} {features.shape}, expected are "
            f"({num_matches}, D) floats, one row per match: features and matches are of different "
            "versions"
        )
    if not np.isfinite(features).all():
        raise DrivingDataError(f"{path} of key frame {token}: holds NaN or infinite values")
    return features.astype(np.float32, copy=False)


def _read_array(path: Path, token: str) -> NDArray[np.generic]:
    with path.open("rb") as file:
        is_numpy = file.read(len(_NUMPY_MAGIC)) == _NUMPY_MAGIC
    if is_numpy:
        return _read_npy(path, token)
    try:
        value = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a damaged or hostile file provokes
        raise DrivingDataError(
            f"{path} of key frame {token} is neither a NumPy array nor a tensor"
        ) from error
    if not isinstance(value, torch.Tensor):
        raise DrivingDataError(f"{path} of key frame {token} holds a {type(value).__name__}")
    array: NDArray[np.generic] = value.detach().float().numpy()
    return array


def _read_npy(path: Path, token: str) -> NDArray[np.generic]:
    try:
        array: NDArray[np.generic] = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        if is_transient(error):
            raise
        raise DrivingDataError(
            f"{path} of key frame {token} cannot be read as a NumPy array ({error})"
        ) from error
    if not isinstance(array, np.ndarray):
        raise DrivingDataError(f"{path} of key frame {token} holds several arrays, expected one")
    return array


def _npy(array: NDArray[np.generic]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()
