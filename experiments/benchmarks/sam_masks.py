"""Automatic masks after Segment Anything's networks: our way against SamAutomaticMaskGenerator's,
one core.

    python experiments/benchmarks/sam_masks.py

Both run the same small network with the same thresholds on the same image and must give equal
masks. Times are CPU seconds; ``after_networks_s`` leaves out what encoder and decoder take.
"""

from __future__ import annotations

import dataclasses
import time

import numpy as np
import torch
from record import write_record
from segment_anything import SamAutomaticMaskGenerator
from small_sam import local_sam

from eagleray_omniseg3d.masks.sam import SamMaskGenerator, SamMaskSettings

_SIZE_HW = (480, 640)
_SIDE_PX = 512


class Stopwatch(torch.nn.Module):
    """Adds up the CPU time of a module."""

    def __init__(self, module: torch.nn.Module) -> None:
        super().__init__()
        self.module, self.seconds = module, 0.0

    def __getattr__(self, name: str) -> object:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(self.module, name)

    def forward(self, *inputs: object, **named: object) -> object:
        """Run the module."""
        begin = time.process_time()
        result = self.module(*inputs, **named)
        self.seconds += time.process_time() - begin
        return result


def main() -> None:
    """Measure and record."""
    torch.set_num_threads(1)
    network = local_sam(_SIDE_PX)
    watches = []
    for name in ("image_encoder", "prompt_encoder", "mask_decoder"):
        watches.append(Stopwatch(getattr(network, name)))
        setattr(network, name, watches[-1])
    settings = SamMaskSettings(
        points_per_side=16,
        pred_iou_thresh=0.85,
        stability_score_thresh=0.6,
        stability_score_offset=0.5,
    )
    rng = np.random.default_rng(0)
    image = np.kron(rng.integers(0, 255, (15, 20, 3)), np.ones((32, 32, 1))).astype(np.uint8)
    stock = SamAutomaticMaskGenerator(network, **dataclasses.asdict(settings))
    ours = SamMaskGenerator(network, settings)
    results: dict[str, float] = {}
    masks = {}
    for name, run in (("stock", stock.generate), ("ours", ours.generate)):
        for watch in watches:
            watch.seconds = 0.0
        begin = time.process_time()
        masks[name] = run(image)
        total = time.process_time() - begin
        results[f"{name}_s"] = total
        results[f"{name}_after_networks_s"] = total - sum(w.seconds for w in watches)
    expected = np.array([record["segmentation"] for record in masks["stock"]])
    if not np.array_equal(expected, masks["ours"]):
        raise SystemExit("the masks differ")
    results["num_masks"] = len(expected)
    results["ratio"] = results["stock_after_networks_s"] / results["ours_after_networks_s"]
    print(results)
    write_record("sam_masks", results, packages=["segment-anything", "opencv-python-headless"])


if __name__ == "__main__":
    main()
