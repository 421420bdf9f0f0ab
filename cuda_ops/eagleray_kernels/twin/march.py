"""Ray marching, all rays one lattice step at a time.

Rounds exactly like the compiled operator: the same operations in the same order, each in float32.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from eagleray_kernels.twin.morton import encode_morton

_SQRT3 = np.float32(1.73205080757)


class Grid(NamedTuple):
    """Occupancy bits and step lengths."""

    bitfield: Tensor
    cascades: int
    size: int
    scale: float
    step_factor: float
    min_step: float
    max_step: float

    def step_at(self, t: Tensor) -> Tensor:
        """Length of the step that begins at t."""
        return (t * self.step_factor).clamp(max=self.max_step).clamp(min=self.min_step)

    def level_at(self, largest: Tensor, step: Tensor) -> Tensor:
        """Cascade by the largest coordinate and the step's length."""
        by_position = torch.frexp(largest).exponent + 1
        by_step = torch.frexp(step * self.size).exponent
        return torch.maximum(by_position, by_step).clamp(0, self.cascades - 1)


class Emitted(NamedTuple):
    """Occupied lattice points, in the order of the rays, each ray's front to back."""

    ray: Tensor
    t: Tensor
    step: Tensor


def make_grid(
    bitfield: Tensor,
    cascades: int,
    scale: float,
    step_factor: float,
    grid_size: int,
    max_samples: int,
    step_scale: float,
) -> Grid:
    """Gather what marching needs; step lengths are rounded to single precision as on the device."""
    return Grid(
        bitfield,
        cascades,
        grid_size,
        float(np.float32(scale)),
        float(np.float32(step_factor)),
        float(_SQRT3 / np.float32(max_samples)),
        float(_SQRT3 * np.float32(2.0) * np.float32(step_scale) / np.float32(grid_size)),
    )


def march_train(
    rays_o: Tensor,
    rays_d: Tensor,
    hits_t: Tensor,
    bitfield: Tensor,
    noise: Tensor,
    cascades: int,
    scale: float,
    step_factor: float,
    grid_size: int,
    max_samples: int,
    max_total_samples: int,
    skip_empty_blocks: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Twin of `torch.ops.eagleray.march_train`; it never skips blocks."""
    grid = make_grid(bitfield, cascades, scale, step_factor, grid_size, max_samples, scale)
    near, far = hits_t.unbind(1)
    start = near + grid.step_at(near) * noise
    end = torch.where(near >= 0.0, far, -1.0)  # a ray that misses the cube ends before it begins
    emitted = _march(grid, rays_o, rays_d, start, end, max_samples)

    num_rays = rays_o.shape[0]
    counts = torch.bincount(emitted.ray, minlength=num_rays)
    ends = counts.cumsum(0)
    marched = torch.ones_like(counts, dtype=torch.bool)
    if max_total_samples > 0:
        marched = ends <= max_total_samples
    counts = torch.where(marched, counts, 0)
    starts = counts.cumsum(0) - counts
    total = int(counts.sum())
    rays_a = torch.stack([torch.arange(num_rays, device=counts.device), starts, counts], 1)
    counter = torch.tensor([total, int(marched.sum())], dtype=torch.int32, device=counts.device)
    return rays_a, emitted.step[:total], emitted.t[:total], counter


def march_test(
    rays_o: Tensor,
    rays_d: Tensor,
    hits_t: Tensor,
    alive: Tensor,
    bitfield: Tensor,
    cascades: int,
    scale: float,
    step_factor: float,
    grid_size: int,
    max_samples: int,
    num_samples: int,
    step_scale: float,
    skip_empty_blocks: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Twin of `torch.ops.eagleray.march_test`; it never skips blocks."""
    grid = make_grid(bitfield, cascades, scale, step_factor, grid_size, max_samples, step_scale)
    origins, directions = rays_o[alive], rays_d[alive]
    near, far = hits_t[alive].unbind(1)
    end = torch.where(alive >= 0, far, -float("inf"))
    emitted = _march(grid, origins, directions, near, end, num_samples)

    counts = torch.bincount(emitted.ray, minlength=len(alive))
    firsts = counts.cumsum(0) - counts
    slot = torch.arange(len(emitted.ray), device=alive.device) - firsts[emitted.ray]
    deltas, ts = near.new_zeros(2, len(alive), num_samples).unbind(0)
    xyzs, dirs = near.new_zeros(2, len(alive), num_samples, 3).unbind(0)
    deltas[emitted.ray, slot], ts[emitted.ray, slot] = emitted.step, emitted.t
    dirs[emitted.ray, slot] = directions[emitted.ray]
    xyzs[emitted.ray, slot] = origins[emitted.ray] + emitted.t[:, None] * directions[emitted.ray]
    has_samples = counts > 0
    last = (firsts + counts - 1)[has_samples]
    hits_t[alive[has_samples], 0] = emitted.t[last] + emitted.step[last]
    return xyzs, dirs, deltas, ts, counts.int()


def _march(
    grid: Grid, rays_o: Tensor, rays_d: Tensor, start: Tensor, end: Tensor, max_count: int
) -> Emitted:
    """Walk every ray along its lattice t, t + dt(t), ...

    An empty cell sets a target, its far side; lattice points before the target are not tested.
    """
    ray = torch.arange(len(start), device=start.device)
    t, target = start.clone(), torch.full_like(start, -float("inf"))
    count = torch.zeros_like(ray)
    found: list[Emitted] = []
    while len(ray) > 0:
        walks = (t < end[ray]) & (count < max_count)
        ray, t, target, count = ray[walks], t[walks], target[walks], count[walks]
        step = grid.step_at(t)
        tested = (t >= target).nonzero()[:, 0]
        occupied, exit_t = _test_cells(
            grid, rays_o[ray[tested]], rays_d[ray[tested]], t[tested], step[tested]
        )
        samples, empty = tested[occupied], tested[~occupied]
        found.append(Emitted(ray[samples], t[samples], step[samples]))
        count[samples] += 1
        target[empty] = exit_t[~occupied]
        after = t + step
        t = torch.where(
            (after == t) & (target > t), float("inf"), after
        )  # the lattice stands still
    if not found:
        return Emitted(ray, t, t)
    flat = Emitted(*(torch.cat(column) for column in zip(*found, strict=True)))
    order = flat.ray.argsort(stable=True)
    return Emitted(flat.ray[order], flat.t[order], flat.step[order])


def _test_cells(
    grid: Grid, origins: Tensor, directions: Tensor, t: Tensor, step: Tensor
) -> tuple[Tensor, Tensor]:
    """Whether the cells at t are occupied, and where the rays leave them."""
    position = origins + t[:, None] * directions
    level = grid.level_at(position.abs().amax(1), step)
    bound = (0.5 * 2.0 ** level.float()).clamp(max=grid.scale)[:, None]
    index = 0.5 * (position * (1.0 / bound) + 1.0) * grid.size
    cell = index.clamp(0.0, grid.size - 1.0).int()
    bit = level.long() * grid.size**3 + encode_morton(cell)
    occupied = ((grid.bitfield[bit >> 3] >> (bit & 7)) & 1).bool()

    ahead = (~torch.signbit(directions)).int()
    far_side = ((cell + ahead) * (1.0 / grid.size) * 2.0 - 1.0) * bound
    x, y, z = ((far_side - position) * (1.0 / directions)).unbind(1)
    leaving = torch.fmin(torch.fmin(x, y), z).nan_to_num(nan=float("inf"), posinf=float("inf"))
    return occupied, t + leaving.clamp(min=0.0)
