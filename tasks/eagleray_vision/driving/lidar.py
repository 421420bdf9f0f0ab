"""A sweep's file and the labels of its points, checked as they are read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from eagleray.task import is_transient
from eagleray_vision.driving.errors import DrivingDataError
from eagleray_vision.driving.lidarseg import RAW_NAMES

COLUMNS = 5
"""x, y, z, intensity, ring (docs/originals/pop3d.md 1.1)."""


def read_sweep(path: Path, token: str = "") -> NDArray[np.float32]:
    """Read the points of a sweep.

    Args:
        path: float32 rows of x, y, z, intensity, ring.
        token: The key frame, for messages.

    Returns:
        (n, 5) float32, meters in the lidar's frame.

    Raises:
        DrivingDataError: Missing, truncated, empty, or coordinates that are not finite.
    """
    content = _bytes(path, token)
    row_bytes = 4 * COLUMNS
    if not content or len(content) % row_bytes:
        raise DrivingDataError(
            f"{path} of key frame {token}: {len(content)} bytes are not rows of {COLUMNS} float32 "
            f"({row_bytes} bytes each): the sweep is truncated or of another layout"
        )
    points = np.frombuffer(content, dtype="<f4").reshape(-1, COLUMNS)
    # The whole file first, in one piece: fast, and nearly always enough.
    if not np.isfinite(points).all() and len(bad := _not_finite(points)):
        raise DrivingDataError(
            f"{path} of key frame {token}: {len(bad)} of {len(points)} points have NaN or infinite "
            f"coordinates (first: row {bad[0]}); leave them out where the file comes from"
        )
    return points


def _not_finite(points: NDArray[np.float32]) -> NDArray[np.int64]:
    return np.flatnonzero(~np.isfinite(points[:, :3]).all(axis=1))


def read_lidarseg(path: Path, num_points: int, token: str = "") -> NDArray[np.uint8]:
    """Read the raw ids of a sweep's points.

    Args:
        path: uint8 per point.
        num_points: Points of the sweep.
        token: The key frame, for messages.

    Returns:
        (n,) uint8, 0 to 31.

    Raises:
        DrivingDataError: Missing, another number of points, or an id beyond 31.
    """
    labels = np.frombuffer(_bytes(path, token), dtype=np.uint8)
    if len(labels) != num_points:
        raise DrivingDataError(
            f"{path} of key frame {token}: labels of {len(labels)} points, the sweep has "
            f"{num_points}"
        )
    if len(labels) and labels.max() >= len(RAW_NAMES):
        raise DrivingDataError(
            f"{path} of key frame {token}: id {labels.max()}, allowed 0 to {len(RAW_NAMES) - 1}"
        )
    return labels


def _bytes(path: Path, token: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        if is_transient(error):
            raise
        raise DrivingDataError(
            f"{path} of key frame {token} cannot be read ({error.strerror}); unpack the part "
            "of the data that holds it"
        ) from error
