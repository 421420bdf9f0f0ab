"""The operators of the radiance field on one CPU thread, compiled against their twins in PyTorch.

    python experiments/benchmarks/kernels.py [--repeats 5] [--scale 1.0] [--check]

How it is timed and what stands beside the ratios: operator_timing.py.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

import torch
from operator_timing import Accesses, MemoryLimits, Workload, measure, print_table
from record import RESULTS, write_record
from torch import Tensor

import eagleray_kernels as kernels

NUM_POINTS = 200_000
LOG2_TABLE_SIZE = 19
NUM_RAYS = 8192
GRID_SIZE = 128
SAMPLES_PER_RAY = 64
FEATURES = 16


def hash_grid(scale: float) -> list[Workload]:
    """Forward, and forward with the table's gradient, of 16 levels."""
    generator = torch.Generator().manual_seed(0)
    num_points = int(NUM_POINTS * scale)
    layout = kernels.HashGridLayout.up_to(1024, log2_table_size=LOG2_TABLE_SIZE)
    levels = layout.levels()
    shape = layout.num_entries, layout.features_per_level
    table = (torch.rand(shape, generator=generator) * 2e-4 - 1e-4).requires_grad_()
    positions = torch.rand(num_points, 3, generator=generator)
    on_encoding = torch.randn(num_points, layout.num_outputs, generator=generator)

    def forward() -> tuple[Tensor, ...]:
        return (kernels.hash_grid_encode(positions, table.detach(), levels),)

    def both() -> tuple[Tensor, ...]:
        encoded = kernels.hash_grid_encode(positions, table, levels)
        return torch.autograd.grad(encoded, table, on_encoding)

    # Per level eight corners; two neighbors along x are mostly in one cache line.
    row_bytes = 4 * layout.features_per_level
    sizes = [(int(rows) * row_bytes, 4.0) for rows in layout.offsets[1:] - layout.offsets[:-1]]
    once, twice = Accesses(gathers=tuple(sizes)), Accesses(gathers=tuple(sizes + sizes))
    return [
        Workload("hash grid, forward", forward, num_points, once, goal=4.0),
        Workload("hash grid, forward + backward", both, num_points, twice, goal=6.0),
    ]


def coherent_occupancy() -> Tensor:
    """Bits of a scene: a floor, a ceiling and a dozen balls, some 8 percent of the cells."""
    generator = torch.Generator().manual_seed(1)
    axis = torch.arange(GRID_SIZE)
    cells = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 3)
    positions = (2 * cells + 1) / GRID_SIZE - 1.0
    occupied = positions[:, 1].abs() > 0.94
    for _ in range(12):
        center = torch.rand(3, generator=generator) * 1.4 - 0.7
        radius = float(torch.rand(1, generator=generator)) * 0.12 + 0.06
        occupied |= (positions - center).norm(dim=1) < radius
    grid = torch.zeros(GRID_SIZE**3)
    grid[kernels.encode_morton(cells).long()] = occupied.float()
    return kernels.pack_bits(grid, 0.5)


def marching(scale: float) -> list[Workload]:
    """Training rays through the scene, with and without crossing empty blocks at once."""
    generator = torch.Generator().manual_seed(2)
    num_rays = int(NUM_RAYS * scale)
    half = 0.5
    rays_o = torch.nn.functional.normalize(torch.randn(num_rays, 3, generator=generator)) * 1.2
    targets = torch.rand(num_rays, 3, generator=generator) * 0.6 - 0.3
    rays_d = torch.nn.functional.normalize(targets - rays_o)
    cube = torch.zeros(1, 3), torch.full((1, 3), half)
    hits_t = kernels.intersect_boxes(rays_o, rays_d, *cube).hits_t[:, 0]
    noise = torch.rand(num_rays, generator=generator)
    bits = coherent_occupancy()

    def workload(name: str, *, skip: bool, goal: float) -> Workload:
        settings = kernels.MarchSettings(
            scale=half, cascades=1, grid_size=GRID_SIZE, skip_empty_blocks=skip
        )

        def run() -> tuple[Tensor, ...]:
            samples = kernels.march_training_rays(rays_o, rays_d, hits_t, bits, noise, settings)
            return samples.packed_info, samples.step_sizes, samples.t_starts, samples.positions

        num_samples = len(run()[1])
        # Counting and writing both read the sample's bit; distance and step are written.
        accesses = Accesses(gathers=((len(bits), 2.0),), stream_bytes=8.0)
        return Workload(name, run, num_samples, accesses, goal=goal, is_exact=True)

    return [
        workload("marching, cell by cell", skip=False, goal=7.0),
        workload("marching, empty blocks crossed", skip=True, goal=15.0),
    ]


def compositing(scale: float) -> list[Workload]:
    """Forward and backward of colors, and of colors with features."""
    generator = torch.Generator().manual_seed(3)
    num_rays = int(NUM_RAYS * scale)
    counts = torch.randint(0, 2 * SAMPLES_PER_RAY + 1, (num_rays,), generator=generator)
    packed_info = torch.stack([torch.arange(num_rays), counts.cumsum(0) - counts, counts], 1)
    num_samples = int(counts.sum())
    sigmas = (torch.rand(num_samples, generator=generator) * 30.0).requires_grad_()
    rgbs = torch.rand(num_samples, 3, generator=generator).requires_grad_()
    feats = torch.randn(num_samples, FEATURES, generator=generator).requires_grad_()
    step_sizes = torch.full((num_samples,), 1.7e-3)
    t_starts = torch.rand(num_samples, generator=generator)

    def workload(name: str, features: Tensor | None, goal: float) -> Workload:
        leaves = [sigmas, rgbs] + ([] if features is None else [features])

        def run() -> tuple[Tensor, ...]:
            out = kernels.composite_training_rays(
                sigmas, rgbs, features, step_sizes, t_starts, packed_info
            )
            total = out.rgb.sum() + out.opacity.sum() + out.depth.sum() + out.features.sum()
            return torch.autograd.grad(total, leaves)

        channels = 3 + (0 if features is None else FEATURES)
        # Forward reads densities, steps, distances and values and writes weights; backward reads
        # all but the densities and writes two gradients.
        floats = (3 + channels + 1) + (4 + channels) + (1 + channels)
        accesses = Accesses(stream_bytes=4.0 * floats)
        return Workload(name, run, num_samples, accesses, goal=goal)

    return [
        workload("compositing, color, forward + backward", None, goal=5.0),
        workload(f"compositing, {FEATURES} features, forward + backward", feats, goal=4.0),
    ]


def main(arguments: list[str] | None = None) -> int:
    """Run all workloads; with --check, return 1 if a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--repeats", type=int, default=5, help="runs of each, median counts")
    parser.add_argument("--scale", type=float, default=1.0, help="part of the points and rays")
    parser.add_argument("--check", action="store_true", help="fail if a goal is missed")
    parser.add_argument("--folder", type=Path, default=RESULTS, help="where the JSON goes")
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(1)
    limits = MemoryLimits(chosen.repeats)
    timings = [
        measure(workload, chosen.repeats, limits)
        for make in (hash_grid, marching, compositing)
        for workload in make(chosen.scale)
    ]
    print_table(timings)
    results = {
        "random_gather_ns": {
            str(size): round(ns, 2) for size, ns in sorted(limits.known.items()) if size
        },
        "stream_ns_per_byte": round(limits.stream_ns_per_byte(), 4),
        "threads": 1,
        "repeats": chosen.repeats,
        "operators": [asdict(timing) for timing in timings],
    }
    print(write_record("kernels", results, folder=chosen.folder))
    missed = [timing.name for timing in timings if timing.ratio < timing.goal]
    return 1 if chosen.check and missed else 0


if __name__ == "__main__":
    raise SystemExit(main())
