"""Occupancy grid: where the marcher may skip (Instant-NGP, arXiv 2201.05989, appendix E.2).

Cells are indexed by Morton code; cascade c covers [-s_c, s_c]^3 with s_c = min(2^(c-1), S). Cells
that no camera sees, or that lie before a camera's lens, hold -1 for ever.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from eagleray_kernels import decode_morton, encode_morton, pack_bits

NEAR = 0.01
"""Nearest distance that is rendered, scene units (ngp_pl)."""
DENSITY_THRESHOLD = 0.01 * 1024 / math.sqrt(3)
"""Cells denser than this are marched: optical depth 0.01 over the smallest step."""
UPDATE_EVERY = 16
WARMUP_STEPS = 256
_DECAY = 0.95
_LEAST_ERODED_DECAY = 0.1
_SAMPLED_SHARE = 4
_CELLS_AT_ONCE = 1 << 18

Density = Callable[[Tensor], Tensor]


def num_cascades(scale: float) -> int:
    """Return the number of cascades that cover a cube of half side ``scale``."""
    return max(1 + math.ceil(math.log2(2 * scale)), 1)


class OccupancyGrid(nn.Module):
    """Density per cell and its packed bits, as buffers.

    Args:
        scale: Half side S of the scene cube.
        grid_size: Cells per axis G.
        erode: Let cells seen by few cameras decay faster (the original's rule for COLMAP scenes).
    """

    density_grid: Tensor
    density_bitfield: Tensor
    count_grid: Tensor

    def __init__(self, *, scale: float, grid_size: int = 128, erode: bool = False) -> None:
        super().__init__()
        self.scale, self.grid_size, self.erode = scale, grid_size, erode
        self.cascades = num_cascades(scale)
        shape = (self.cascades, grid_size**3)
        self.register_buffer("density_grid", torch.zeros(shape))
        self.register_buffer("count_grid", torch.ones(shape))
        bits = torch.full((self.cascades * grid_size**3 // 8,), 255, dtype=torch.uint8)
        self.register_buffer("density_bitfield", bits)

    def half_side(self, cascade: int) -> float:
        """Return s_c, scene units."""
        return float(min(2.0 ** (cascade - 1), self.scale))

    def centers(self, cells: Tensor, cascade: int) -> Tensor:
        """Return the (n, 3) centers of cells given by Morton codes (n,)."""
        coords = decode_morton(cells.to(torch.int32)).float()
        return ((2.0 * coords + 1.0) / self.grid_size - 1.0) * self.half_side(cascade)

    @torch.no_grad()
    def mark_invisible(
        self,
        camera_matrix: Tensor,
        world_from_cam: Tensor,
        size_hw: tuple[int, int],
        box: Tensor,
        box_tolerance: float,
    ) -> None:
        """Begin anew: 0 in cells that some camera sees and none stands before, -1 elsewhere.

        Args:
            camera_matrix: (3, 3) intrinsics in pixels.
            world_from_cam: (N, 3, 4) poses of the training cameras.
            size_hw: Image height and width in pixels.
            box: (2, 3) lower and upper corner, scene units.
            box_tolerance: Cells count as inside the box up to this far outside it.
        """
        for cascade in range(self.cascades):
            for cells in self._all_cells():
                points = self.centers(cells, cascade)
                share, too_near = _visibility(points, camera_matrix, world_from_cam, size_hw)
                inside = (points >= box[0] - box_tolerance) & (points <= box[1] + box_tolerance)
                valid = (share > 0) & ~too_near & inside.all(dim=1)
                self.count_grid[cascade, cells] = share
                self.density_grid[cascade, cells] = torch.where(valid, 0.0, -1.0)

    @torch.no_grad()
    def update(
        self,
        density: Density,
        *,
        warmup: bool,
        generator: torch.Generator | None,
        threshold: float = DENSITY_THRESHOLD,
    ) -> None:
        """Let densities decay, raise them to what the field has now, and pack the bits.

        Cells that hold -1 are not looked up.

        Args:
            density: Densities (n,) at points (n, 3), scene coordinates.
            warmup: Look at all cells; otherwise at a quarter of them at random and as many
                occupied ones.
            generator: Draws cells and the places inside them; None takes cell centers.
            threshold: Cells denser than this, or than the mean, are marched.
        """
        found = torch.zeros_like(self.density_grid)
        for cascade in range(self.cascades):
            sampled = None if warmup else self._sample_cells(cascade, generator, threshold)
            parts = self._all_cells() if sampled is None else torch.split(sampled, _CELLS_AT_ONCE)
            for cells in parts:
                points = self.centers(cells, cascade)
                if generator is not None:
                    jitter = 2.0 * torch.rand(points.shape, generator=generator) - 1.0
                    points = points + jitter.to(points) * (self.half_side(cascade) / self.grid_size)
                valid = self.density_grid[cascade, cells.long()] >= 0
                found[cascade, cells[valid].long()] = density(points[valid]).to(found)
        # A cell keeps the largest density of late, fading: single samples may miss a thin surface,
        # and a cell that is dropped too early gets no sample, so no gradient, and never comes back.
        decay: Tensor | float = _DECAY
        if self.erode:
            decay = (_DECAY ** (1.0 / self.count_grid)).clamp(_LEAST_ERODED_DECAY, _DECAY)
        grown = torch.maximum(self.density_grid * decay, found)
        self.density_grid.copy_(torch.where(self.density_grid < 0, self.density_grid, grown))
        self.pack(threshold)

    def pack(self, threshold: float = DENSITY_THRESHOLD) -> None:
        """Set the bits of cells denser than the threshold or the mean over positive cells."""
        # Early in training no density reaches the threshold: then the mean decides, so that the
        # marcher still skips the emptier half instead of everything.
        positive = self.density_grid[self.density_grid > 0]
        mean = float(positive.mean()) if positive.numel() else 0.0
        self.density_bitfield.copy_(pack_bits(self.density_grid, min(mean, threshold)))

    @property
    def occupied_share(self) -> float:
        """Share of cells that are marched."""
        shifts = torch.arange(8, device=self.density_bitfield.device, dtype=torch.uint8)
        return float(((self.density_bitfield[:, None] >> shifts) & 1).float().mean())

    def _all_cells(self) -> tuple[Tensor, ...]:
        device = self.density_grid.device
        return torch.split(torch.arange(self.grid_size**3, device=device), _CELLS_AT_ONCE)

    def _sample_cells(
        self, cascade: int, generator: torch.Generator | None, threshold: float
    ) -> Tensor:
        device, count = self.density_grid.device, self.grid_size**3 // _SAMPLED_SHARE
        coords = torch.randint(self.grid_size, (count, 3), generator=generator, dtype=torch.int32)
        anywhere = encode_morton(coords.to(device)).long()
        occupied = torch.nonzero(self.density_grid[cascade] > threshold)[:, 0]
        if not len(occupied):
            return anywhere
        picks = torch.randint(len(occupied), (count,), generator=generator)
        return torch.cat([anywhere, occupied[picks.to(device)]])


def _visibility(
    points: Tensor, camera_matrix: Tensor, world_from_cam: Tensor, size_hw: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Return the share of cameras that see each point, and whether it is too near for any."""
    height, width = size_hw
    count = points.new_zeros(len(points))
    too_near = torch.zeros(len(points), dtype=torch.bool, device=points.device)
    for pose in world_from_cam:
        local = (points - pose[:, 3]) @ pose[:, :3]
        projected = local @ camera_matrix.T
        z = projected[:, 2]
        u, v = projected[:, 0] / z, projected[:, 1] / z
        in_image = (z >= 0) & (u >= 0) & (u < width) & (v >= 0) & (v < height)
        count += in_image & (z >= NEAR)
        too_near |= in_image & (z < NEAR)
    return count / len(world_from_cam), too_near
