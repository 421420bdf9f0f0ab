"""Time of a Seamless prediction per unit of arithmetic, beside torchvision's Mask R-CNN.

Both networks have ResNet-50 and FPN, random weights, 1000 proposals and the same 512 x 1024 input.
Seamless computes more (masks of up to 256 detections, a semantic head, panoptic fusion), so seconds
are divided by the multiply-accumulates of convolutions and matrix products, counted while running.
The networks take turns in one process on one thread, and CPU time is measured, so that other load
on the machine does as little harm as possible. The aim is a ratio of at most 1.2.

Run: ``python experiments/benchmarks/seamseg_forward.py --out seamseg_forward.json``
"""

import argparse
import json
import os
import platform
import subprocess
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import prettytable
import torch
import torchvision
from torch.utils.flop_counter import FlopCounterMode

from eagleray_seamseg.model.config import vistas_r50
from eagleray_seamseg.model.network import SeamlessNetwork
from eagleray_vision.panoptic.fusion import FusionThresholds, fuse_panoptic

NUM_STUFF, NUM_THING = 28, 37
SIZE = (512, 1024)
LIMIT = 1.2


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


def machine() -> dict[str, Any]:
    """Return what the figures depend on besides the code."""
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    models = [
        line.split(":", 1)[1].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    return {
        "cpu": models[0] if models else platform.processor(),
        "cores": os.cpu_count(),
        "load": os.getloadavg(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "commit": commit,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def main() -> None:
    """Measure, print a table and write a JSON file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5, help="timed runs of each network")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    options = parser.parse_args()
    torch.set_num_threads(1)
    image = torch.rand(1, 3, *SIZE, generator=torch.Generator().manual_seed(1))
    with_fusion, network_alone = seamless(image)
    runs = {
        "seamless vistas_r50 + fusion": with_fusion,
        "seamless vistas_r50": network_alone,
        "torchvision maskrcnn_resnet50_fpn": mask_rcnn(image),
    }
    rows = {}
    for name, run in runs.items():  # also warms up
        with FlopCounterMode(display=False) as counter:
            detections = run()
        rows[name] = {"gmac": counter.get_total_flops() / 2e9, "detections": detections}
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(options.repeats):
        for name, run in runs.items():
            start = time.process_time()
            run()
            seconds[name].append(time.process_time() - start)
    for name, row in rows.items():
        row["cpu_seconds"] = sorted(seconds[name])
        row["best_seconds_per_gmac"] = min(seconds[name]) / row["gmac"]
        median = sorted(seconds[name])[options.repeats // 2]
        row["median_seconds_per_gmac"] = median / row["gmac"]
    reference = rows["torchvision maskrcnn_resnet50_fpn"]
    table = prettytable.PrettyTable(
        ["network", "detections", "GMAC", "best s", "best s/GMAC", "median s/GMAC", "ratio"]
    )
    for name, row in rows.items():
        row["ratio"] = row["median_seconds_per_gmac"] / reference["median_seconds_per_gmac"]
        table.add_row(
            [
                name,
                row["detections"],
                f"{row['gmac']:.1f}",
                f"{row['cpu_seconds'][0]:.2f}",
                f"{row['best_seconds_per_gmac']:.4f}",
                f"{row['median_seconds_per_gmac']:.4f}",
                f"{row['ratio']:.3f}",
            ]
        )
    print(table)
    if options.out is not None:
        report = {"machine": machine(), "size": SIZE, "limit": LIMIT, "networks": rows}
        options.out.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
