"""Sampling at learned positions and product codes on one CPU thread, compiled against their twins.

    python experiments/benchmarks/learned_sampling.py [--repeats 9] [--scale 1.0] [--check]

Deformable convolution v3 at OPS' size (40 x 40, 240 channels in 12 groups), deformable attention at
POP-3D's (the plane's attention to itself; a camera's four levels), decoding and scoring of POP-3D's
features (512 channels in 64 parts). The twins are grid_sample on one map per image and group with
the points before the positions, the fastest of four forms that were tried; decoding is measured
against index_select with and without making its indices from the codes, into new memory and into
memory that is there (new memory costs both more than the lookups do). Beside each stands the
time of summing as many weighted random rows (embedding_bag), which no sampler goes without. How it
is timed: operator_timing.py.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from operator_timing import Accesses, MemoryLimits, Run, Workload, measure, print_table
from record import RESULTS, write_record
from torch import Tensor

import eagleray_kernels as kernels

CAMERA_LEVELS = ((116, 200), (58, 100), (29, 50), (15, 25))
"""A camera's feature maps for images of 928 x 1600 (POP-3D)."""
PLANE = ((100, 100),)
HEADS, HEAD_CHANNELS = 8, 32
PARTS, PART_SIZE = 64, 8


def off_pixels(positions: Tensor) -> Tensor:
    """Positions in pixels moved a little off the centers, where the gradient jumps."""
    below = positions.floor()
    return below + 0.01 + 0.98 * (positions - below)


def forward_and_both(
    name: str,
    forward: Run,
    leaves: Sequence[Tensor],
    num_taps: int,
    rows: tuple[int, int],
    goal: float,
) -> list[Workload]:
    """Workloads of an operator without and with its backward pass; four rows per tap."""
    generator = torch.Generator().manual_seed(1)
    upstream = torch.randn(forward()[0].shape, generator=generator)

    def alone() -> tuple[Tensor, ...]:
        with torch.no_grad():
            return forward()

    def both() -> tuple[Tensor, ...]:
        (out,) = forward()
        return (out.detach(), *torch.autograd.grad(out, leaves, upstream))

    # Backward reads the rows again, and the rows of the map's gradient, to which it adds.
    once, thrice = (Accesses(rows=((*rows, 4.0 * times),)) for times in (1, 3))
    return [
        Workload(f"{name}, forward", alone, num_taps, once, goal),
        Workload(f"{name}, forward + backward", both, num_taps, thrice, goal),
    ]


def deformable_convolution(scale: float) -> list[Workload]:
    """OPS' blocks: offsets of about 2 pixels."""
    generator = torch.Generator().manual_seed(2)
    height, width, groups, channels, points = max(int(40 * scale), 2), 40, 12, 20, 9
    size = 1, height, width
    value = torch.randn(*size, groups * channels, generator=generator).requires_grad_()
    offsets = off_pixels(torch.randn(*size, groups * points * 2, generator=generator) * 2)
    offsets.requires_grad_()
    weights = torch.rand(*size, groups * points, generator=generator).requires_grad_()
    return forward_and_both(
        "deformable convolution v3, 240 channels in 12 groups",
        lambda: (kernels.dcn_v3(value, offsets, weights, groups=groups),),
        [value, offsets, weights],
        weights.numel(),
        (height * width * groups, channels),
        goal=5.0,
    )


def attention(
    name: str, levels: Sequence[tuple[int, int]], batch: int, grid: tuple[int, int], points: int
) -> list[Workload]:
    """Queries in rows over the maps, as both of POP-3D's have them; offsets of 3 pixels."""
    generator = torch.Generator().manual_seed(3)
    num_rows = sum(height * width for height, width in levels)
    value = torch.randn(batch, num_rows, HEADS, HEAD_CHANNELS, generator=generator)
    y, x = ((torch.arange(count) + 0.5) / count for count in grid)
    centers = torch.stack([x.expand(grid), y[:, None].expand(grid)], -1).reshape(-1, 1, 1, 1, 2)
    sizes = torch.tensor([[width, height] for height, width in levels])[:, None]
    places = batch, len(centers), HEADS, len(levels), points
    around = torch.randn(*places, 2, generator=generator) * 3
    locations = ((off_pixels(centers * sizes + around) + 0.5) / sizes).requires_grad_()
    weights = torch.rand(*places, generator=generator).requires_grad_()
    value.requires_grad_()
    return forward_and_both(
        name,
        lambda: (kernels.deformable_attention(value, levels, locations, weights),),
        [value, locations, weights],
        weights.numel(),
        (batch * num_rows * HEADS, HEAD_CHANNELS),
        goal=4.0,
    )


def deformable_attention(scale: float) -> list[Workload]:
    """POP-3D's two attentions, the second with a part of its queries."""
    plane, camera = (max(int(count * scale), 1) for count in (100, 50))
    return [
        *attention("attention, 100 x 100 plane", PLANE, 2, (plane, 100), 4),
        *attention("attention, four levels", CAMERA_LEVELS, 1, (camera, 50), 8),
    ]


def product_codes(scale: float) -> list[Workload]:
    """A picture's 3,738 points and a key frame's 22,400; products with one text and with 8."""
    generator = torch.Generator().manual_seed(4)
    num_rows, num_frame = int(3_738 * scale), int(22_400 * scale)
    frame = torch.randint(0, 256, (num_frame, PARTS), dtype=torch.uint8, generator=generator)
    codes = frame[:num_rows]
    place = torch.zeros(num_frame, PARTS * PART_SIZE)
    codebook = torch.randn(PARTS, 256, PART_SIZE, generator=generator)
    tables = torch.randn(8, PARTS, 256, generator=generator)
    rows = (codes.long() + 256 * torch.arange(PARTS)).reshape(-1)
    entries = codebook.reshape(-1, PART_SIZE)

    def score(table: Tensor) -> Run:
        return lambda: (kernels.pq_scores(codes, table),)

    def decode() -> tuple[Tensor, ...]:
        return (kernels.pq_decode(codes, codebook),)

    def decode_into(some: Tensor) -> Run:
        return lambda: (kernels.pq_decode(some, codebook, out=place[: len(some)]),)

    written = Accesses(stream_bytes=PARTS * (1 + 4 * PART_SIZE))
    lookups = Accesses(rows=((PARTS * 256, 1, PARTS),))
    many = Accesses(rows=((PARTS * 256, 8, PARTS),))
    return [
        Workload("decoding of 512 channels", decode, num_rows, written, goal=3.0, is_exact=True),
        Workload(
            "decoding, against index_select alone",
            decode,
            num_rows,
            written,
            goal=1.0,
            is_exact=True,
            rival=lambda: (entries.index_select(0, rows),),
        ),
        Workload(
            "decoding into memory that is there",
            decode_into(codes),
            num_rows,
            written,
            goal=3.0,
            is_exact=True,
        ),
        Workload(
            "decoding of a key frame into memory that is there",
            decode_into(frame),
            num_frame,
            written,
            goal=3.0,
            is_exact=True,
        ),
        Workload("scores of a text", score(tables[0]), num_rows, lookups, goal=1.0),
        Workload("scores of 8 texts", score(tables), num_rows, many, goal=1.0),
    ]


def main(arguments: list[str] | None = None) -> int:
    """Run all workloads; with --check, return 1 if a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--repeats", type=int, default=9, help="runs of each, median counts")
    parser.add_argument("--only", default="", help="part of a function's name")
    parser.add_argument("--scale", type=float, default=1.0, help="part of the positions")
    parser.add_argument("--check", action="store_true", help="fail if a goal is missed")
    parser.add_argument("--folder", type=Path, default=RESULTS, help="where the JSON goes")
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(1)
    limits = MemoryLimits(chosen.repeats)
    timings = [
        measure(workload, chosen.repeats, limits)
        for make in (deformable_convolution, deformable_attention, product_codes)
        if chosen.only in make.__name__
        for workload in make(chosen.scale)
    ]
    print_table(timings)
    decoding = next(timing for timing in timings if timing.name.startswith("decoding"))
    gigabytes = 4.0 * PARTS * PART_SIZE / decoding.ns_per_sample
    print(f"decoding: {gigabytes:.2f} GB/s of float32")
    results = {
        "operators": [asdict(timing) for timing in timings],
        "decoded_gb_per_s": round(gigabytes, 2),
        "threads": 1,
        "repeats": chosen.repeats,
    }
    print(write_record("learned_sampling", results, folder=chosen.folder))
    missed = [timing.name for timing in timings if timing.ratio < timing.goal]
    return 1 if chosen.check and (missed or gigabytes < 1.0) else 0


if __name__ == "__main__":
    raise SystemExit(main())
