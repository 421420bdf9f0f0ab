"""Features at lidar pixels of one photograph: the two resizes composed per point against full maps,
one core.

    OMP_NUM_THREADS=1 python experiments/benchmarks/feature_sampling.py

The sizes are MaskCLIP+'s: 512 x 128 x 228 to 1024 x 1820 to 900 x 1600. The full maps (6.8 GB
together) are made a few channels at a time, which changes neither their values nor the time per
channel; their memory is stated by arithmetic. Ours is measured in this process beside the small
map.
"""

from __future__ import annotations

import resource
import time
from typing import Any

import torch
import torch.nn.functional as F
from record import write_record

from eagleray_vision.dense_features.two_resizes import sample_through_resizes

SMALL, MIDDLE, OUTPUT = (128, 228), (1024, 1820), (900, 1600)
CHANNELS, POINTS, CHANNELS_AT_A_TIME = 512, 3738, 16


def through_full_maps(channels: torch.Tensor, pixels: torch.Tensor) -> torch.Tensor:
    """Return (n, C) values at pixels of maps that were enlarged as a whole."""
    whole = channels[None]
    for size in (MIDDLE, OUTPUT):
        whole = F.interpolate(whole, size=size, mode="bilinear", align_corners=False)
    return whole[0][:, pixels[:, 0], pixels[:, 1]].T


def main() -> None:
    """Measure and record."""
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    small = torch.rand((CHANNELS, *SMALL), generator=generator)
    rows = torch.randint(OUTPUT[0], (POINTS,), generator=generator)
    pixels = torch.stack([rows, torch.randint(OUTPUT[1], (POINTS,), generator=generator)], dim=1)
    sample_through_resizes(small[:1], pixels, middle_hw=MIDDLE, output_hw=OUTPUT)  # libraries
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    times = []
    for _ in range(5):
        begin = time.process_time()
        ours = sample_through_resizes(small, pixels, middle_hw=MIDDLE, output_hw=OUTPUT)
        times.append(time.process_time() - begin)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begin, error = time.process_time(), 0.0
    for first in range(0, CHANNELS, CHANNELS_AT_A_TIME):
        part = slice(first, first + CHANNELS_AT_A_TIME)
        error = max(
            error, float((through_full_maps(small[part], pixels) - ours[:, part]).abs().max())
        )
    full_s = time.process_time() - begin
    exact = through_full_maps(small[:2].double(), pixels)
    full_gb = 4e-9 * CHANNELS * (MIDDLE[0] * MIDDLE[1] + OUTPUT[0] * OUTPUT[1])
    results: dict[str, Any] = {
        "ours_ms": 1e3 * min(times),
        "full_maps_ms": 1e3 * full_s,
        "ratio": full_s / min(times),
        "ours_mb": (after - before) / 1024,
        "full_maps_gb": full_gb,
        "largest_difference": error,
        "largest_difference_from_float64": float((exact - ours[:, :2]).abs().max()),
        "points": POINTS,
    }
    print(results)
    # PyTorch computes positions along 1820 columns in float32: most of the difference.
    if error > 1e-4 or results["largest_difference_from_float64"] > 1e-6:
        raise SystemExit("the two ways differ")
    write_record("feature_sampling", results)


if __name__ == "__main__":
    main()
