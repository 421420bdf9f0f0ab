"""Discrete objects without clicks: clusters of surface points in feature space, spread to all
pixels.

The paper describes a global discretization and the original has no code for it; here surface
points are clustered with HDBSCAN (Campello et al. 2013, scikit-learn) and pixels take the nearest
prototype.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.cluster import HDBSCAN

from eagleray_omniseg3d.click.selection import FloatArray, unit_features
from eagleray_omniseg3d.errors import SelectionError

IdArray = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Objects:
    """Discrete objects of a scene.

    Args:
        prototypes: (K, D) unit features of the objects.
        spreads: (K,) smallest cosine of an object's own points with its prototype.
    """

    prototypes: FloatArray
    spreads: FloatArray

    def assign(self, features: FloatArray) -> IdArray:
        """Return the object of each pixel by the nearest prototype.

        Args:
            features: (n, D) rendered features.

        Returns:
            (n,) ids from 1; 0 where a pixel is less similar to its prototype than any of the
            object's own points.
        """
        cosine = unit_features(features) @ self.prototypes.T
        nearest = cosine.argmax(axis=1)
        inside = cosine[np.arange(len(features)), nearest] >= self.spreads[nearest]
        return np.where(inside, nearest + 1, 0).astype(np.int64)


def find_objects(
    features: FloatArray,
    positions: FloatArray,
    *,
    min_points: int = 50,
    position_weight: float = 0.0,
    max_points: int = 5000,
    seed: int = 0,
) -> Objects:
    """Cluster surface points into objects.

    Args:
        features: (n, D) features of surface points.
        positions: (n, 3) the points, scene units.
        min_points: Smallest object, in points of the sample that is clustered.
        position_weight: How much a scene unit of distance counts beside the feature distance (0
            to 2).
        max_points: Points are thinned to this number before clustering, at random.
        seed: Seed of the thinning.

    Raises:
        SelectionError: No cluster of that size was found.
    """
    chosen = np.random.default_rng(seed).permutation(len(features))[:max_points]
    unit = unit_features(features[chosen])
    space = np.concatenate([unit, position_weight * positions[chosen]], axis=1)
    if len(space) < min_points:
        raise SelectionError(f"objects of {min_points} points need more than {len(space)} points")
    labels = HDBSCAN(min_cluster_size=min_points, copy=True).fit_predict(space)
    count = int(labels.max(initial=-1)) + 1
    if count == 0:
        raise SelectionError(
            f"no object of at least {min_points} points among {len(space)}; lower min_points"
        )
    prototypes = unit_features(np.stack([unit[labels == k].mean(axis=0) for k in range(count)]))
    spreads = [float((unit[labels == k] @ prototypes[k]).min()) for k in range(count)]
    return Objects(prototypes, np.array(spreads, np.float32))
