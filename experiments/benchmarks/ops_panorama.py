"""Time of a panorama beside its windows' forward passes, and memory of a very large one.

    python experiments/benchmarks/ops_panorama.py [--repeats 3] [--skip-large]

One core. *Time*: 400 x 2048 pixels (WildPASS), seen at 512 x 2560 through 7 windows as the original
does, by the network at its real size (random weights), 8 words; processor time of the whole
prediction, from pixels to classes, over that of its windows' forward passes alone, in turns. Aim:
at most 1.1. Words are embedded once before; the number of passes of the text tower is counted.
*Memory*: 4096 x 8192 pixels at full size, 20 words, by a small network (width 64) in a process of
its own; its highest resident memory. Aim: below 3 GB.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from prettytable import PrettyTable
from record import write_record
from torch import Tensor

from eagleray_ops.data import network_image
from eagleray_ops.model.config import AdapterSettings, ClipSettings, DaoSettings
from eagleray_ops.model.network import OpsNetwork, named_architecture
from eagleray_ops.predict import predict_image
from eagleray_ops.settings import OpsSettings
from eagleray_vision.clip.architecture import ClipArchitecture
from eagleray_vision.inference.windows import sliding_windows
from eagleray_vision.samples.semantic import SemanticSample

MOST_OF_FORWARDS = 1.1
MOST_GB = 3.0
WILDPASS_HW = (400, 2048)
LARGE_HW = (4096, 8192)
SMALL_CLIP = ClipArchitecture(
    image_size=64,
    patch_size=16,
    width=64,
    layers=4,
    heads=1,
    embed_dim=32,
    text_width=64,
    text_layers=1,
    text_heads=1,
    context_length=8,
    vocab_size=16,
    quick_gelu=True,
)
SMALL_ADAPTER = AdapterSettings(
    width=48,
    layers=4,
    heads=2,
    queries=16,
    decoder_width=32,
    supervised_layers=(3,),
    dao=DaoSettings(groups=4),
)


def rows(count: int, channels: int) -> Tensor:
    """Return unit rows in place of embedded words."""
    drawn = torch.randn(count, channels, generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.normalize(drawn, dim=-1)


def sample_of(size_hw: tuple[int, int], settings: OpsSettings) -> SemanticSample:
    """Return a photograph of noise blocks."""
    noise = np.random.default_rng(0).integers(0, 256, (size_hw[0] // 16, size_hw[1] // 16, 3))
    photo = noise.astype(np.uint8).repeat(16, 0).repeat(16, 1)
    return SemanticSample("panorama", network_image(photo, settings), photo=photo)


def seconds(call: Callable[[], Any]) -> float:
    """Return the processor time of one call."""
    start = time.process_time()
    call()
    return time.process_time() - start


@torch.inference_mode()
def measure_time(repeats: int) -> dict[str, Any]:
    """Time a panorama and its windows, in turns."""
    settings = OpsSettings()
    form = named_architecture(settings.clip.model)
    network = OpsNetwork(settings.clip, settings.adapter, form, faithful=True).eval()
    words = rows(8, form.embed_dim)
    texts: list[int] = []
    network.clip.transformer.register_forward_hook(lambda *_: texts.append(1))

    def predict(images: Tensor) -> Tensor:
        return network.scores(images, words)

    sample = sample_of(WILDPASS_HW, settings)
    padded = torch.nn.functional.pad(sample.image, (0, 0, 0, -sample.image.shape[1] % 32))
    inference = settings.inference
    size = (padded.shape[1], padded.shape[2])
    windows = sliding_windows(size, inference.window_px, inference.stride_px)
    parts = [window.of(padded)[None].clone() for window in windows]
    predict(parts[0])
    whole, alone = [], []
    for _ in range(repeats):
        alone.append(sum(seconds(lambda part=part: predict(part)) for part in parts))
        whole.append(seconds(lambda: predict_image(sample, predict, settings)))
    return {
        "network_input_hw": list(size),
        "windows": len(windows),
        "cpu_s_windows": alone,
        "cpu_s_panorama": whole,
        "ratio": statistics.median(a / b for a, b in zip(whole, alone, strict=True)),
        "passes_of_the_text_tower": len(texts),
    }


@torch.inference_mode()
def measure_memory() -> dict[str, Any]:
    """Predict a very large panorama in this process, and say how much memory that took."""
    height, width = LARGE_HW
    settings = OpsSettings.model_validate(
        {
            "faithful": False,
            "input": {"short_edge_px": height, "long_edge_px": width},
            "inference": {"stride_px": 640},
        }
    )
    clip = ClipSettings(model="", image_scale=0.5)
    network = OpsNetwork(clip, SMALL_ADAPTER, SMALL_CLIP, faithful=False).eval()
    words = rows(20, SMALL_CLIP.embed_dim)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    sample = sample_of(LARGE_HW, settings)
    start = time.process_time()
    found = predict_image(sample, lambda images: network.scores(images, words), settings)
    return {
        "network_input_hw": [int(side) for side in sample.image.shape[1:]],
        "result_hw": list(found.classes.shape),
        "words": len(words),
        "cpu_s": time.process_time() - start,
        "before_gb": before * 1024 / 1e9,
        "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9,
    }


def main() -> None:
    """Measure, print a table and write the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3, help="timed runs of each")
    parser.add_argument("--skip-large", action="store_true", help="leave the memory out")
    parser.add_argument("--memory", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.memory:
        print(json.dumps(measure_memory()))
        return
    results: dict[str, Any] = {"most_of_forwards": MOST_OF_FORWARDS, "most_gb": MOST_GB}
    if not options.skip_large:
        command = [sys.executable, __file__, "--memory"]
        out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        results["large"] = json.loads(out.splitlines()[-1])
    results["panorama"] = measure_time(options.repeats)
    table = PrettyTable(["what", "found", "aim"])
    table.add_row(["panorama / windows", f"{results['panorama']['ratio']:.3f}", MOST_OF_FORWARDS])
    if "large" in results:
        table.add_row(["4096 x 8192, GB", f"{results['large']['peak_gb']:.2f}", MOST_GB])
    print(table)
    print("written to", write_record("ops_panorama", results, packages=["open_clip_torch"]))


if __name__ == "__main__":
    main()
