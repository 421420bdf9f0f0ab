"""Renders scenes, trains the toy CLIP on their crops and captions, measures it: one command.

    python experiments/toyworld/toy_clip.py --work FOLDER [--measure-only]

Interrupted, the same command goes on: frames are kept one by one, training every 50 steps.
Writes ``toy_clip.safetensors`` and ``toy_clip.json`` into the folder.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import time
from pathlib import Path

import safetensors.torch
import torch
from toy_clip_captions import vocabulary
from toy_clip_crops import CropSource
from toy_clip_frames import HELD_OUT, frames
from toy_clip_measure import (
    class_accuracy,
    color_accuracy,
    crops_of,
    dense_quality,
    is_street,
)
from toy_clip_training import Recipe, train

from eagleray_vision.clip.reading import QUICK_GELU, TOKENIZER_WORDS, read_clip

STREETS, HOMES = 300, 420
"""Training scenes."""
TEST = {"test": (50, 110), "pairs": (40, 70)}
"""Streets and rooms of the tests."""


def save(model: torch.nn.Module, words: list[str], path: Path) -> None:
    """Write a model's tensors in half precision, with what a reader must know beside them."""
    tensors = {name: value.half().contiguous() for name, value in model.state_dict().items()}
    metadata = {QUICK_GELU: "true", TOKENIZER_WORDS: json.dumps(words)}
    safetensors.torch.save_file(tensors, path, metadata)


def measure(weights: Path, work: Path) -> dict[str, object]:
    """Return what a weight file knows of unseen scenes."""
    clip = read_clip(weights)
    test = frames("test", *TEST["test"], work / "frames")
    pairs = frames("pairs", *TEST["pairs"], work / "frames")
    streets = [one for one in test if is_street(one)]
    homes = [one for one in test if one.rgb.shape[:2] == (192, 288)][:60]
    return {
        "zero_shot": class_accuracy(clip, crops_of(test, pairs=False)),
        "colors_of_unseen_pairs": color_accuracy(clip, crops_of(pairs, pairs=True)),
        "dense_streets": [dense_quality(clip, streets, scale) for scale in (0.5, 1.0, 2.0)],
        "dense_homes": [dense_quality(clip, homes, scale) for scale in (0.5, 1.0, 2.0)],
    }


def _cpu_seconds() -> float:
    """Return the processor's time of this process and of those that it waited for."""
    own, children = (
        resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    return sum(one.ru_utime + one.ru_stime for one in (own, children))


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--measure-only", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    weights = options.work / "toy_clip.safetensors"
    wall, cpu = time.time(), _cpu_seconds()
    load = os.getloadavg()[0]
    if not options.measure_only:
        source = CropSource(frames("train", STREETS, HOMES, options.work / "frames"), seed=0)
        words = vocabulary()
        model = train(source, words, Recipe(), options.work / "toy_clip.ckpt")
        save(model, words, weights)
    trained_s, trained_cpu_s = time.time() - wall, _cpu_seconds() - cpu
    record = {
        "recipe": {"streets": STREETS, "homes": HOMES, "steps": Recipe().steps},
        "held_out_pairs": sorted(f"{color} {kind}" for kind, color in HELD_OUT),
        "this_start": {
            "seconds": round(trained_s),
            "cpu_seconds": round(trained_cpu_s),
            "workers": Recipe().workers,
            "load_at_start": round(load, 1),
        },
        "bytes": weights.stat().st_size,
        **measure(weights, options.work),
    }
    (options.work / "toy_clip.json").write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
