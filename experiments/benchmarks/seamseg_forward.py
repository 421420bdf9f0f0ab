"""Time of a Seamless prediction per unit of arithmetic, beside torchvision's Mask R-CNN.

Both networks have ResNet-50 and FPN, random weights, 1000 proposals and the same 512 x 1024 input.
Seamless computes more (masks of up to 256 detections, a semantic head, panoptic fusion), so seconds
are divided by the multiply-accumulates of convolutions and matrix products, counted while running.
The networks take turns in one process on one thread, and CPU time is measured, so that other load
on the machine does as little harm as possible. The aim is a ratio of at most 1.2.

Run: ``python experiments/benchmarks/seamseg_forward.py``
"""

import argparse
import time
from collections.abc import Callable
from typing import Any

import prettytable
import torch
import torchvision
from record import write_record
from torch.utils.flop_counter import FlopCounterMode

from eagleray_seamseg.model.config import vistas_r50
from eagleray_seamseg.model.network import SeamlessNetwork
from eagleray_vision.panoptic.fusion import FusionThresholds, fuse_panoptic

NUM_STUFF, NUM_THING = 28, 37
SIZE = (512, 1024)
BUDGET = 1.2
"""Largest accepted ratio of CPU seconds per GMAC."""
REFERENCE = "torchvision maskrcnn_resnet50_fpn"


def seamless(image: torch.Tensor) -> tuple[Callable[[], int], Callable[[], int]]:
    """Return functions that run network and fusion, or the network alone, and count detections."""
    torch.manual_seed(0)
    network = SeamlessNetwork(vistas_r50(), num_stuff=NUM_STUFF, num_thing=NUM_THING).eval()
    thresholds = FusionThresholds(score=0.0)  # random weights are sure of nothing: paste them all

    def network_alone() -> int:
        return len(network.infer(image, [SIZE])[0].scores)

    def with_fusion() -> int:
        found = network.infer(image, [SIZE])[0]
        fuse_panoptic(
            found.semantic_classes.numpy(),
            found.boxes_yxyx,
            found.classes,
            found.scores,
            found.mask_logits,
            num_stuff=NUM_STUFF,
            thresholds=thresholds,
        )
        return len(found.scores)

    return with_fusion, network_alone


def mask_rcnn(image: torch.Tensor) -> Callable[[], int]:
    """Return a function that runs torchvision's network and counts its detections."""
    torch.manual_seed(0)
    network = torchvision.models.detection.maskrcnn_resnet50_fpn(
        weights=None,
        weights_backbone=None,
        min_size=SIZE[0],
        max_size=SIZE[1],
        rpn_pre_nms_top_n_test=1000,
        rpn_post_nms_top_n_test=1000,
    ).eval()
    pictures = list(image.clamp(0, 1))

    def run() -> int:
        with torch.no_grad():
            return len(network(pictures)[0]["scores"])

    return run


def measure(runs: dict[str, Callable[[], int]], repeats: int) -> dict[str, dict[str, Any]]:
    """Return detections, GMAC and CPU seconds of each function, run in turns."""
    rows: dict[str, dict[str, Any]] = {}
    for name, run in runs.items():  # also warms up
        with FlopCounterMode(display=False) as counter:
            detections = run()
        gmac = counter.get_total_flops() / 2e9  # the counter counts both multiply and add
        rows[name] = {"detections": detections, "gmac": gmac, "cpu_s": []}
    for _ in range(repeats):
        for name, run in runs.items():
            start = time.process_time()
            run()
            rows[name]["cpu_s"].append(time.process_time() - start)
    for row in rows.values():
        row["cpu_s"].sort()
        row["cpu_s_per_gmac"] = row["cpu_s"][repeats // 2] / row["gmac"]
    for row in rows.values():
        row["ratio"] = row["cpu_s_per_gmac"] / rows[REFERENCE]["cpu_s_per_gmac"]
    return rows


def show(rows: dict[str, dict[str, Any]]) -> None:
    """Print the figures as a table."""
    table = prettytable.PrettyTable(
        ["network", "detections", "GMAC", "CPU s (median)", "CPU s / GMAC", "ratio"]
    )
    for name, row in rows.items():
        median = row["cpu_s_per_gmac"] * row["gmac"]
        table.add_row(
            [
                name,
                row["detections"],
                f"{row['gmac']:.1f}",
                f"{median:.2f}",
                f"{row['cpu_s_per_gmac']:.4f}",
                f"{row['ratio']:.3f}",
            ]
        )
    print(table)


def main() -> None:
    """Measure, print a table and write the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5, help="timed runs of each network")
    options = parser.parse_args()
    torch.set_num_threads(1)
    image = torch.rand(1, 3, *SIZE, generator=torch.Generator().manual_seed(1))
    with_fusion, network_alone = seamless(image)
    runs = {
        "seamless vistas_r50 + fusion": with_fusion,
        "seamless vistas_r50": network_alone,
        REFERENCE: mask_rcnn(image),
    }
    rows = measure(runs, options.repeats)
    show(rows)
    results = {"input_hw": SIZE, "threads": 1, "budget_ratio": BUDGET, "networks": rows}
    print("written to", write_record("seamseg_forward", results, packages=["torchvision"]))


if __name__ == "__main__":
    main()
