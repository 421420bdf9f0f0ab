"""Rigid poses as recordings state them: a quaternion, w first, and a translation in meters."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eagleray_vision.driving.errors import DrivingDataError

FloatArray = NDArray[np.float64]
_UNIT_TOLERANCE = 1e-3
"""How far from 1 the length of a rotation's quaternion may be; nuScenes' are within 1e-7."""
_RIGID_TOLERANCE = 1e-3
"""How far a rotation matrix times its transpose may be from the unit matrix."""


@dataclass(frozen=True, slots=True)
class SensorPose:
    """``b_from_a``: turn, then move.

    Attributes:
        rotation_wxyz: Unit quaternion.
        translation_m: Origin of a in b, meters.
    """

    rotation_wxyz: tuple[float, float, float, float]
    translation_m: tuple[float, float, float]

    @property
    def rotation(self) -> FloatArray:
        """(3, 3) float64 rotation matrix.

        The product of the two 4 x 4 matrices of quaternion multiplication, as pyquaternion computes
        it, so that projections agree with nuScenes' own to the last bit.
        """
        q = np.array(self.rotation_wxyz)
        if abs(1.0 - np.dot(q, q)) >= 1e-14:  # pyquaternion's own bound
            q = q / math.sqrt(np.dot(q, q))
        w, x, y, z = q
        left = np.array([[w, -x, -y, -z], [x, w, -z, y], [y, z, w, -x], [z, -y, x, w]])
        right = np.array([[w, -x, -y, -z], [x, w, z, -y], [y, -z, w, x], [z, y, -x, w]])
        product: FloatArray = left @ right.T
        return product[1:, 1:]

    @property
    def matrix(self) -> FloatArray:
        """(4, 4) float64 transform."""
        out = np.eye(4)
        out[:3, :3], out[:3, 3] = self.rotation, self.translation_m
        return out

    def values(self) -> list[float]:
        """Return quaternion and translation as 7 numbers."""
        return [*self.rotation_wxyz, *self.translation_m]


def pose_of(rotation: Sequence[Any], translation: Sequence[Any], where: str) -> SensorPose:
    """Return a checked pose.

    Args:
        rotation: Quaternion, w first.
        translation: Meters.
        where: Token and file, for the message.

    Raises:
        DrivingDataError: Not 4 and 3 finite numbers, or the quaternion's length is not 1.
    """
    q, t = (
        numbers(rotation, 4, f"{where}: rotation"),
        numbers(translation, 3, f"{where}: translation"),
    )
    length = math.sqrt(sum(one * one for one in q))
    if abs(length - 1.0) > _UNIT_TOLERANCE:
        raise DrivingDataError(
            f"{where}: the rotation {list(q)} has length {length:.6g}; a rotation is a quaternion "
            "w, x, y, z of length 1"
        )
    return SensorPose((q[0], q[1], q[2], q[3]), (t[0], t[1], t[2]))


def pose_of_matrix(matrix: Any, where: str) -> SensorPose:
    """Return the pose of a 4 x 4 transform.

    Raises:
        DrivingDataError: It is no rigid transform.
    """
    transform = rigid_matrix(matrix, where)
    q = _quaternion(transform[:3, :3])
    return SensorPose(q, tuple(float(one) for one in transform[:3, 3]))  # type: ignore[arg-type]


def rigid_matrix(matrix: Any, where: str) -> FloatArray:
    """Return a checked (4, 4) float64 rigid transform.

    Raises:
        DrivingDataError: Another shape, not finite, or not a rotation and a translation.
    """
    try:
        out: FloatArray = np.asarray(matrix, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DrivingDataError(f"{where}: is no 4 x 4 matrix of numbers ({error})") from error
    if out.shape != (4, 4) or not np.isfinite(out).all():
        raise DrivingDataError(f"{where}: is no finite 4 x 4 matrix, found shape {out.shape}")
    turn = out[:3, :3]
    away = float(np.abs(turn @ turn.T - np.eye(3)).max())
    if away > _RIGID_TOLERANCE or np.linalg.det(turn) < 0 or not np.allclose(out[3], (0, 0, 0, 1)):
        raise DrivingDataError(
            f"{where}: is no rigid transform (rotation times its transpose is {away:.3g} away from "
            "the unit matrix, or mirrored, or the last row is not 0 0 0 1)"
        )
    return out


def numbers(values: Any, count: int, where: str) -> tuple[float, ...]:
    """Return so many finite numbers.

    Raises:
        DrivingDataError: Another count, no numbers, or not finite.
    """
    try:
        out = tuple(float(one) for one in values)
    except (TypeError, ValueError) as error:
        raise DrivingDataError(f"{where} is not {count} numbers ({error})") from error
    if len(out) != count or not all(map(math.isfinite, out)):
        raise DrivingDataError(f"{where} is not {count} finite numbers, found {list(out)[:16]}")
    return out


def _quaternion(turn: FloatArray) -> tuple[float, float, float, float]:
    """Return the quaternion of a rotation: the eigenvector of Bar-Itzhack's symmetric matrix."""
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = turn
    symmetric = np.array(
        [
            [xx - yy - zz, xy + yx, xz + zx, zy - yz],
            [xy + yx, yy - xx - zz, yz + zy, xz - zx],
            [xz + zx, yz + zy, zz - xx - yy, yx - xy],
            [zy - yz, xz - zx, yx - xy, xx + yy + zz],
        ]
    )
    x, y, z, w = np.linalg.eigh(symmetric)[1][:, -1] * 1.0
    sign = -1.0 if w < 0 else 1.0
    return float(sign * w), float(sign * x), float(sign * y), float(sign * z)
