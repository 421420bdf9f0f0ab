"""Multiresolution hash encoding of positions (Instant-NGP, Müller 2022, arXiv 2201.05989)."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from eagleray_kernels import twin
from eagleray_kernels.dispatch import LIBRARY, define_operator, uses_compiled
from eagleray_kernels.errors import KernelInputError, require_rows, require_shape

_LEVELS = "Tensor offsets, Tensor resolutions, Tensor scales"
define_operator(f"hash_grid_encode(Tensor positions, Tensor table, {_LEVELS}) -> Tensor")
define_operator(
    f"hash_grid_table_gradient(Tensor grad, Tensor positions, {_LEVELS}, "
    "int num_entries, int num_features) -> Tensor"
)
define_operator(
    f"hash_grid_position_gradient(Tensor grad, Tensor positions, Tensor table, {_LEVELS}) -> Tensor"
)

_FEATURE_COUNTS = (1, 2, 4, 8)


class HashGridLevels(NamedTuple):
    """A layout's numbers as tensors, to be kept as buffers beside the table."""

    offsets: Tensor
    """(L + 1,) int64: first row of each level in the table, then the number of rows."""
    resolutions: Tensor
    """(L,) int32: grid points per axis."""
    scales: Tensor
    """(L,) float32: factor from [0, 1] to grid coordinates."""
    num_entries: int
    """Rows of the table, all levels."""


@dataclass(frozen=True, kw_only=True)
class HashGridLayout:
    """Sizes of the levels of a hash grid, rounded exactly as the reference implementation does.

    Raises:
        KernelInputError: if a value cannot be.
    """

    num_levels: int = 16
    """Number of levels L (arXiv 2201.05989, table 1)."""
    features_per_level: int = 2
    """Features F per table row: 1, 2, 4 or 8."""
    log2_table_size: int = 20
    """log2 of the largest number of rows of a level."""
    base_resolution: int = 16
    """Coarsest resolution N_min."""
    growth: float
    """Ratio b of the resolutions of neighboring levels."""

    def __post_init__(self) -> None:
        if self.features_per_level not in _FEATURE_COUNTS:
            message = (
                f"features_per_level must be one of {_FEATURE_COUNTS}, "
                f"found {self.features_per_level}"
            )
            raise KernelInputError(message)
        if self.num_levels < 1 or self.base_resolution < 1 or not self.growth >= 1.0:
            message = (
                "num_levels and base_resolution must be 1 or more, growth 1.0 or more; found "
                f"{self.num_levels}, {self.base_resolution}, {self.growth}"
            )
            raise KernelInputError(message)
        if not 3 <= self.log2_table_size <= 30:
            message = f"log2_table_size must be from 3 to 30, found {self.log2_table_size}"
            raise KernelInputError(message)

    @classmethod
    def up_to(
        cls,
        finest_resolution: float,
        *,
        num_levels: int = 16,
        features_per_level: int = 2,
        log2_table_size: int = 20,
        base_resolution: int = 16,
    ) -> "HashGridLayout":
        """Make the layout whose resolutions grow geometrically to a finest one (equation 3 there).

        Args:
            finest_resolution: N_max; 2048 times the half side of the scene cube in OmniSeg3D.
            num_levels: L.
            features_per_level: F.
            log2_table_size: log2 of the largest number of rows of a level.
            base_resolution: N_min.

        Raises:
            KernelInputError: if a value cannot be.
        """
        steps = max(num_levels - 1, 1)
        return cls(
            num_levels=num_levels,
            features_per_level=features_per_level,
            log2_table_size=log2_table_size,
            base_resolution=base_resolution,
            growth=math.exp(math.log(finest_resolution / base_resolution) / steps),
        )

    @cached_property
    def scales(self) -> np.ndarray[Any, np.dtype[np.float32]]:
        """(L,) float32. Each step is rounded to single precision, exp2 and log2 correctly.

        The last resolutions depend on that rounding where a scale is close to an integer.
        """
        exponent = np.float32(math.log2(float(np.float32(self.growth))))
        one, base = np.float32(1), np.float32(self.base_resolution)
        return np.array(
            [
                np.float32(2.0 ** float(np.float32(level) * exponent)) * base - one
                for level in range(self.num_levels)
            ],
            dtype=np.float32,
        )

    @cached_property
    def resolutions(self) -> np.ndarray[Any, np.dtype[np.int32]]:
        """(L,) int32 grid points per axis."""
        return (np.ceil(self.scales).astype(np.int64) + 1).astype(np.int32)

    @cached_property
    def offsets(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        """(L + 1,) int64 first rows of the levels; each level has a multiple of 8 rows."""
        dense = self.resolutions.astype(np.int64) ** 3
        sizes = np.minimum((dense + 7) // 8 * 8, 2**self.log2_table_size)
        return np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)

    @property
    def num_entries(self) -> int:
        """Rows of the table, all levels."""
        return int(self.offsets[-1])

    @property
    def num_outputs(self) -> int:
        """Length L F of an encoding."""
        return self.num_levels * self.features_per_level

    def levels(self, device: torch.device | str = "cpu") -> HashGridLevels:
        """Return the numbers as tensors on a device."""
        return HashGridLevels(
            torch.tensor(self.offsets.tolist(), dtype=torch.int64, device=device),
            torch.tensor(self.resolutions.tolist(), dtype=torch.int32, device=device),
            torch.tensor(self.scales.tolist(), dtype=torch.float32, device=device),
            self.num_entries,
        )


def hash_grid_encode(positions: Tensor, table: Tensor, levels: HashGridLevels) -> Tensor:
    """Encode positions by linear interpolation in every level of a hash grid.

    Differentiable in the table and in the positions. On the CPU the table's gradient is the same
    whatever the number of threads; on CUDA it is summed atomically.

    Args:
        positions: (N, 3) float32 or float64, in [0, 1]^3; positions outside wrap around.
        table: (rows, F), all levels one after another, of the positions' type.
        levels: from `HashGridLayout.levels`, on the same device.

    Returns:
        (N, L F), coarse to fine, a level's features side by side.

    Raises:
        KernelInputError: if shapes or types do not fit.
    """
    require_shape("positions", positions, ("N", 3))
    require_shape("table", table, ("rows", "F"))
    if table.shape[1] not in _FEATURE_COUNTS:
        message = f"table must have {_FEATURE_COUNTS} features per row, found {table.shape[1]}"
        raise KernelInputError(message)
    if positions.dtype != table.dtype:
        message = f"positions are {positions.dtype} but the table is {table.dtype}: cast one"
        raise KernelInputError(message)
    require_rows(levels.num_entries, table=table)
    numbers = levels.offsets, levels.resolutions, levels.scales
    if uses_compiled(positions.device.type):
        return torch.ops.eagleray.hash_grid_encode(positions, table, *numbers)
    return twin.hash_grid_encode(positions, table, *numbers)


@torch.library.register_fake("eagleray::hash_grid_encode", lib=LIBRARY)
def _encode_fake(
    positions: Tensor, table: Tensor, offsets: Tensor, resolutions: Tensor, scales: Tensor
) -> Tensor:
    return positions.new_empty(positions.shape[0], scales.shape[0] * table.shape[1])


@torch.library.register_fake("eagleray::hash_grid_table_gradient", lib=LIBRARY)
def _table_gradient_fake(
    grad: Tensor,
    positions: Tensor,
    offsets: Tensor,
    resolutions: Tensor,
    scales: Tensor,
    num_entries: int,
    num_features: int,
) -> Tensor:
    return positions.new_empty(num_entries, num_features)


@torch.library.register_fake("eagleray::hash_grid_position_gradient", lib=LIBRARY)
def _position_gradient_fake(
    grad: Tensor,
    positions: Tensor,
    table: Tensor,
    offsets: Tensor,
    resolutions: Tensor,
    scales: Tensor,
) -> Tensor:
    return positions.new_empty(positions.shape)


def _save(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
    positions, table, *levels = inputs
    ctx.table_shape = table.shape
    # The table itself is needed only for the gradient of the positions.
    ctx.save_for_backward(positions, table if positions.requires_grad else None, *levels)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    positions, table, *levels = ctx.saved_tensors
    on_positions = on_table = None
    if ctx.needs_input_grad[0]:
        on_positions = torch.ops.eagleray.hash_grid_position_gradient(
            grad, positions, table, *levels
        )
    if ctx.needs_input_grad[1]:
        on_table = torch.ops.eagleray.hash_grid_table_gradient(
            grad, positions, *levels, *ctx.table_shape
        )
    return on_positions, on_table, None, None, None


torch.library.register_autograd(
    "eagleray::hash_grid_encode", _backward, setup_context=_save, lib=LIBRARY
)
