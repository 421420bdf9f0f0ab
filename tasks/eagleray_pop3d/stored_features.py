"""A row of the feature store: which points, seen by which camera, with which codes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from eagleray_vision.codecs import Codes
from eagleray_vision.driving.errors import DrivingDataError

FEATURE_SCHEMA: Mapping[str, str] = {
    "token": "string",
    "num_matches": "int32",
    "points": "binary",
    "cameras": "binary",
    "codes": "binary",
    "fingerprint": "string",
    "mean_cosine": "float32",
    "squared_error": "float64",
    "was_fitted": "bool",
}
"""``points``: int32, little-endian; ``cameras``: uint8 place in the key frame's rig; ``codes``: so
many bytes per match; the rest says how well the codec keeps this key frame.
"""
MOMENT_SCHEMA: Mapping[str, str] = {"moments": "binary"}
"""Where the codec keeps something of each photograph: float16, little-endian, (cameras, 2,
channels) mean and spread.
"""
INDEX_BYTES = 5
"""Bytes of a match beside its codes."""


@dataclass(frozen=True)
class StoredFeatures:
    """The matches of one key frame.

    Attributes:
        token: The key frame.
        points: (n,) int32 rows of the sweep, camera by camera.
        cameras: (n,) uint8 place of the camera in the rig.
        codes: Features, encoded.
    """

    token: str
    points: NDArray[np.int32]
    cameras: NDArray[np.uint8]
    codes: Codes

    def check_sweep(self, num_points: int) -> None:
        """Refuse features of another sweep.

        Raises:
            DrivingDataError: A point lies beyond the sweep's.
        """
        if len(self.points) and not 0 <= self.points.min() <= self.points.max() < num_points:
            raise DrivingDataError(
                f"features of key frame {self.token} name point {self.points.max()}, its sweep has "
                f"{num_points}: the sweep was replaced; compute the features again"
            )

    def to_row(self) -> dict[str, Any]:
        """Return the columns that hold the matches."""
        row = {
            "token": self.token,
            "num_matches": len(self.points),
            "points": self.points.astype("<i4").tobytes(),
            "cameras": self.cameras.tobytes(),
            "codes": self.codes.values.cpu().numpy().tobytes(),
            "fingerprint": self.codes.fingerprint,
        }
        if self.codes.moments is not None:
            row["moments"] = self.codes.moments.cpu().numpy().astype("<f2").tobytes()
        return row


def features_of_row(row: Mapping[str, Any]) -> StoredFeatures:
    """Return the matches of a row of `FEATURE_SCHEMA`, with or without `MOMENT_SCHEMA`.

    Raises:
        DrivingDataError: The columns are of different lengths.
    """
    token, count = str(row["token"]), int(row["num_matches"])
    points = np.frombuffer(row["points"], dtype="<i4")
    cameras = np.frombuffer(row["cameras"], dtype=np.uint8)
    content = np.frombuffer(row["codes"], dtype=np.uint8)
    if len(points) != count or len(cameras) != count or (count and len(content) % count):
        raise DrivingDataError(
            f"features of key frame {token}: {len(points)} points, {len(cameras)} cameras and "
            f"{len(content)} bytes of codes for {count} matches; the row is damaged"
        )
    codes = torch.from_numpy(content.copy()).reshape(count, -1 if count else 0)
    found = Codes(codes, str(row["fingerprint"]))
    if "moments" in row:
        found = replace(found, images=torch.from_numpy(cameras.copy()), moments=_moments(row))
    return StoredFeatures(token, points, cameras, found)


def _moments(row: Mapping[str, Any]) -> Tensor:
    """Return (cameras, 2, channels) float16: as many cameras as have matches, or lie before one."""
    cameras = np.frombuffer(row["cameras"], dtype=np.uint8)
    count = int(cameras.max()) + 1 if len(cameras) else 0
    content = np.frombuffer(row["moments"], dtype=np.uint8)
    if len(content) % (4 * count) if count else len(content):
        raise DrivingDataError(
            f"features of key frame {row['token']}: {len(content)} bytes of means and spreads are "
            f"not those of {count} photographs; the row is damaged"
        )
    values = torch.from_numpy(content.view("<f2").copy())
    return values.reshape(count, 2, -1) if count else values.reshape(0, 2, 0)
