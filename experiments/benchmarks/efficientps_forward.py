"""Time of EfficientPS-B5 with its fusion, beside that of its convolutions and matrix products.

    python experiments/benchmarks/efficientps_forward.py [--height 1024] [--repeats 3]

The released network (random weights, so thresholds are lowered until 100 detections are fused)
predicts one image of 1024 x 2048 pixels on one thread, from the normalized image to the panoptic
map. PyTorch's profiler records every operator of that run; what convolutions and matrix products
take of it is the least that any program needs which computes this network. The ratio compares both
within one profile, so other load on the machine lengthens both. The aim is at most 1.25.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from typing import Any

import torch
from prettytable import PrettyTable
from record import write_record
from torch.profiler import ProfilerActivity, profile

from eagleray_efficientps.model.config import NetworkSettings
from eagleray_efficientps.model.network import EfficientPsNetwork
from eagleray_efficientps.predict import prediction_of
from eagleray_efficientps.settings import EfficientPsSettings
from eagleray_vision.panoptic.label_space import CITYSCAPES

BUDGET = 1.25
"""Largest accepted ratio of the whole time to that of the products."""

PRODUCTS = frozenset(f"aten::{name}" for name in ("convolution", "addmm", "mm", "bmm"))
"""Operators of convolutions and matrix products, by the profiler's names. Their time is that of the
calls, so what PyTorch does inside of one to compute it belongs to it; none calls another."""


def prediction(size_hw: tuple[int, int]) -> Callable[[], int]:
    """Return a function that predicts and fuses one image, and returns the detections."""
    torch.manual_seed(0)
    network = EfficientPsNetwork(
        NetworkSettings.model_validate({"roi": {"score_threshold": 0.0}}),
        num_stuff=CITYSCAPES.num_stuff,
        num_thing=CITYSCAPES.num_things,
    ).eval()
    settings = EfficientPsSettings.model_validate({"fusion": {"score_threshold": 0.0}})
    image = torch.randn(1, 3, *size_hw, generator=torch.Generator().manual_seed(1))

    def run() -> int:
        with torch.inference_mode():
            (found,) = network.infer(image, [size_hw])
            fused = prediction_of(found, size_hw, size_hw, settings, CITYSCAPES.num_stuff).fused
        assert fused.id_map.shape == size_hw
        return len(found.scores)

    return run


def measure(run: Callable[[], int]) -> dict[str, Any]:
    """Profile one run; times in seconds, those of the ten slowest operators too."""
    with profile(activities=[ProfilerActivity.CPU]) as found, torch.profiler.record_function("all"):
        detections = run()
    events = found.key_averages()
    whole = next(e.cpu_time_total for e in events if e.key == "all")
    own = {e.key: e.self_cpu_time_total / 1e6 for e in events}
    products = sum(e.cpu_time_total for e in events if e.key in PRODUCTS) / 1e6
    slowest = sorted(own.items(), key=lambda pair: -pair[1])[:10]
    return {
        "detections": detections,
        "whole_s": whole / 1e6,
        "products_s": products,
        "ratio": whole / 1e6 / products,
        "slowest_s": dict(slowest),
    }


def main() -> None:
    """Measure, print a table and write the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--height", type=int, default=1024, help="image height; twice as wide")
    parser.add_argument("--repeats", type=int, default=3, help="profiles after the first")
    options = parser.parse_args()
    torch.set_num_threads(1)
    size_hw = (options.height, 2 * options.height)
    run = prediction(size_hw)
    run()
    rows = [measure(run) for _ in range(options.repeats)]
    table = PrettyTable(["detections", "whole s", "convolutions and products s", "ratio"])
    for row in rows:
        times = [f"{row[name]:.2f}" for name in ("whole_s", "products_s")]
        table.add_row([row["detections"], *times, f"{row['ratio']:.3f}"])
    print(table)
    for name, seconds in rows[-1]["slowest_s"].items():
        print(f"{seconds:8.3f} s  {name}")
    results = {
        "size_hw": size_hw,
        "threads": 1,
        "budget_ratio": BUDGET,
        "ratio": statistics.median(row["ratio"] for row in rows),
        "runs": rows,
    }
    print("written to", write_record("efficientps_forward", results, packages=["torchvision"]))


if __name__ == "__main__":
    main()
