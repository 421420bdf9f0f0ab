"""What is trained for a scene: its field and its occupancy grid."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from eagleray_kernels import HashGridLayout, MarchSettings
from eagleray_omniseg3d.model.field import FINEST_PER_SCALE, RadianceField
from eagleray_omniseg3d.model.layers import check_backend
from eagleray_omniseg3d.model.occupancy import OccupancyGrid
from eagleray_omniseg3d.model.rendering import LookSettings
from eagleray_omniseg3d.settings import FieldSettings

FEATURE_PREFIXES = ("field.feature_grid.", "field.feature_net.")
"""Names of the parameters that the semantic phase trains."""


class SceneModel(nn.Module):
    """Field and occupancy grid of one scene.

    Args:
        settings: Sizes of both.
        erode: Let cells that few cameras see decay faster (COLMAP scenes).
    """

    def __init__(self, settings: FieldSettings, *, erode: bool) -> None:
        super().__init__()
        check_backend(settings.backend)
        layout = HashGridLayout.up_to(
            settings.finest_resolution or FINEST_PER_SCALE * settings.scale,
            num_levels=settings.num_levels,
            log2_table_size=settings.log2_table_size,
            base_resolution=settings.base_resolution,
        )
        self.settings = settings
        self.field = RadianceField(
            layout,
            scale=settings.scale,
            feature_dim=settings.feature_dim,
            backend=settings.backend,
            box_tolerance=settings.box_tolerance,
        )
        self.occupancy = OccupancyGrid(
            scale=settings.scale, grid_size=settings.grid_size, erode=erode
        )

    @property
    def march(self) -> MarchSettings:
        """Grid and steps of the marcher."""
        return MarchSettings(
            scale=self.settings.scale,
            cascades=self.occupancy.cascades,
            grid_size=self.settings.grid_size,
            step_factor=self.settings.step_factor,
            max_samples=self.settings.max_samples,
        )

    def look(self, *, with_features: bool, faithful: bool) -> LookSettings:
        """Return how views are rendered for looking."""
        return LookSettings(
            march=self.march,
            max_samples=self.settings.max_samples,
            feature_dim=self.settings.feature_dim if with_features else 0,
            faithful=faithful,
        )

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.field.box.device

    def density(self, points: Tensor) -> Tensor:
        """Return the densities (n,) at points (n, 3), scene coordinates."""
        return self.field.density(points)[0]
