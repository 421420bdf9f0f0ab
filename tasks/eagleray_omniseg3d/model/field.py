"""The field: density, color and features at points of the scene cube (Instant-NGP and
OmniSeg3D).

Differences from the original: networks run in the phase's precision instead of always fp16; the
color network is skipped where only features are wanted.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eagleray_kernels import HashGridLayout, spherical_harmonics
from eagleray_omniseg3d.model.layers import HashGrid, Mlp
from eagleray_omniseg3d.settings import Backend

HIDDEN_WIDTH = 64
GEOMETRY_WIDTH = 16
_SH_DEGREE = 4
_SH_WIDTH = _SH_DEGREE**2
_EXPONENT_LIMIT = 15.0
"""The density's gradient is cut at exp(15) (ngp_pl's TruncExp)."""
FINEST_PER_SCALE = 2048
"""Finest resolution of the grids per unit of scale S (original networks.py)."""


class Field(Protocol):
    """What the renderer asks for; points are in scene coordinates, directions of any length."""

    def density(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Return densities (n,) and what ``color`` needs of the geometry (n, any)."""
        ...

    def color(self, geometry: Tensor, directions: Tensor) -> Tensor:
        """Return colors (n, 3) in [0, 1]."""
        ...

    def features(self, points: Tensor) -> Tensor:
        """Return features (n, D)."""
        ...


class _TruncatedExp(torch.autograd.Function):
    """exp whose gradient does not explode."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return torch.exp(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # type: ignore[override]
        (x,) = ctx.saved_tensors
        return grad * torch.exp(x.clamp(-_EXPONENT_LIMIT, _EXPONENT_LIMIT))


def truncated_exp(x: Tensor) -> Tensor:
    """Return exp(x) whose derivative is exp(clamp(x, -15, 15))."""
    return _TruncatedExp.apply(x)  # type: ignore[no-any-return, no-untyped-call]


class RadianceField(nn.Module):
    """Two hash grids with their networks: geometry and color, and features.

    Args:
        layout: Sizes of either grid.
        scale: Half side S of the scene cube.
        feature_dim: D.
        backend: What computes grids and networks.
        box_tolerance: Density is 0 farther outside the box than this, scene units.
    """

    box: Tensor

    def __init__(
        self,
        layout: HashGridLayout,
        *,
        scale: float,
        feature_dim: int,
        backend: Backend = "eagleray",
        box_tolerance: float = 0.1,
    ) -> None:
        super().__init__()
        self.scale, self.box_tolerance = scale, box_tolerance
        encoded = layout.num_outputs
        self.geometry_grid = HashGrid(layout, backend)
        self.geometry_net = Mlp((encoded, HIDDEN_WIDTH, GEOMETRY_WIDTH), backend)
        self.color_net = Mlp((_SH_WIDTH + GEOMETRY_WIDTH, HIDDEN_WIDTH, HIDDEN_WIDTH, 3), backend)
        self.feature_grid = HashGrid(layout, backend)
        self.feature_net = Mlp((encoded, HIDDEN_WIDTH, feature_dim), backend)
        self.register_buffer("box", torch.tensor([[-scale] * 3, [scale] * 3]))

    def density(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Return densities and geometry outputs at points.

        Args:
            points: (n, 3) scene coordinates.

        Returns:
            (n,) float32 density per scene unit, and (n, 16) geometry outputs.
        """
        geometry = self.geometry_net(self.geometry_grid(self._unit(points)))
        sigma = truncated_exp(geometry[:, 0].float())
        low, high = self.box[0] - self.box_tolerance, self.box[1] + self.box_tolerance
        inside = ((points >= low) & (points <= high)).all(dim=1)
        return torch.where(inside, sigma, 0.0), geometry

    def color(self, geometry: Tensor, directions: Tensor) -> Tensor:
        """Return (n, 3) float32 colors seen along directions (n, 3) of any length."""
        harmonics = spherical_harmonics(F.normalize(directions.float(), dim=1), _SH_DEGREE)
        inputs = torch.cat([harmonics, geometry.to(harmonics.dtype)], dim=1)
        return torch.sigmoid(self.color_net(inputs).float())

    def features(self, points: Tensor) -> Tensor:
        """Return (n, D) float32 features at points (n, 3); not normalized."""
        return self.feature_net(self.feature_grid(self._unit(points))).float()  # type: ignore[no-any-return]

    def _unit(self, points: Tensor) -> Tensor:
        return (points + self.scale) / (2.0 * self.scale)
