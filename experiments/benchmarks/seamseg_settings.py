"""Processor time of one Seamless training step under the engine's settings, one thread.

    python experiments/benchmarks/seamseg_settings.py [--repeats 5] [--without compile]

Network and size are those of ``experiments/quickstart.yaml``; the batch is four frames of the toy
world. Every setting is applied as the engine applies it, and the settings take turns in one
process. Beside the time of a step (without the optimizer) stand the first losses, which must agree
(float32 to 1e-3, bf16 to 5e-2), and what the first step cost, compilers included.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from prettytable import PrettyTable
from record import write_record

from eagleray.experiment.load import load_experiment
from eagleray.train.phase_setup import checkpoint_activations
from eagleray_seamseg.losses import panoptic_losses
from eagleray_seamseg.model.network import SeamlessNetwork
from eagleray_seamseg.settings import SeamlessSettings
from eagleray_toyworld.formats.panoptic import street_panoptic_sample
from eagleray_vision.panoptic.label_space import CITYSCAPES, VOID_CLASS
from eagleray_vision.panoptic.panoptic_map import indexed_panoptic
from eagleray_vision.samples.sample import PanopticBatch
from eagleray_vision.samples.target import panoptic_target

QUICKSTART = Path(__file__).resolve().parents[1] / "quickstart.yaml"
BATCH = 4
TOLERANCE = {"bf16": 5e-2}
SETTINGS: Mapping[str, frozenset[str]] = {
    "plain": frozenset(),
    "channels_last": frozenset({"channels_last"}),
    "activation_checkpointing": frozenset({"activation_checkpointing"}),
    "bf16": frozenset({"bf16"}),
    "compile": frozenset({"compile"}),
}


def make_batch(settings: SeamlessSettings) -> PanopticBatch:
    """Render four street frames as a batch."""
    toy = settings.data.toyworld
    images, targets = [], []
    for index in range(BATCH):
        image, id_map, segments = street_panoptic_sample(
            0, index, (toy.height_px, toy.width_px), min_thing_px=toy.min_thing_px
        )
        classes = [VOID_CLASS, *(segment.train_id for segment in segments)]
        images.append(torch.from_numpy(image.astype(np.float32) / 255 - 0.45).permute(2, 0, 1))
        targets.append(panoptic_target(indexed_panoptic(id_map, classes, [False] * len(classes))))
    size = (toy.height_px, toy.width_px)
    return PanopticBatch(torch.stack(images), (size,) * BATCH, tuple(targets))


def make_step(
    settings: SeamlessSettings, batch: PanopticBatch, chosen: frozenset[str]
) -> Callable[[], float]:
    """Return a training step without the optimizer; it returns the loss."""
    torch.manual_seed(0)
    network = SeamlessNetwork(
        settings.network, num_stuff=CITYSCAPES.num_stuff, num_thing=CITYSCAPES.num_things
    ).train()
    if "channels_last" in chosen:
        network = network.to(memory_format=torch.channels_last)
    if "activation_checkpointing" in chosen:
        checkpoint_activations(network)
    if "compile" in chosen:
        network.compile()

    def step() -> float:
        network.zero_grad(set_to_none=True)
        generators = [torch.Generator().manual_seed(k) for k in range(BATCH)]
        with torch.autocast("cpu", torch.bfloat16) if "bf16" in chosen else nullcontext():
            terms = panoptic_losses(
                network, batch.images, batch.valid_sizes, batch.targets, generators=generators
            )
        shares = [
            torch.as_tensor(t.sum).float() / torch.as_tensor(t.weight).clamp(min=1)
            for t in terms.values()
        ]
        loss = torch.stack(shares).sum()
        loss.backward()
        return float(loss.detach())

    return step


def cpu_seconds() -> float:
    """Return the processor time of this process and of its children that have ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def measure(names: list[str], repeats: int) -> dict[str, dict[str, Any]]:
    """Return the figures of each setting."""
    settings = load_experiment(QUICKSTART).settings
    batch = make_batch(settings)
    steps, rows = {}, {}
    for name in names:
        steps[name] = make_step(settings, batch, SETTINGS[name])
        begin = cpu_seconds()
        loss = steps[name]()
        rows[name] = {"loss": loss, "first_step_cpu_s": cpu_seconds() - begin, "cpu_s": []}
    for _ in range(repeats):
        for name, step in steps.items():
            begin = time.process_time()
            step()
            rows[name]["cpu_s"].append(time.process_time() - begin)
    plain = rows["plain"]
    for name, row in rows.items():
        row["median_cpu_s"] = statistics.median(row["cpu_s"])
        ratios = [mine / theirs for mine, theirs in zip(row["cpu_s"], plain["cpu_s"], strict=True)]
        row["ratio_to_plain"] = statistics.median(ratios)
        difference = abs(row["loss"] - plain["loss"]) / plain["loss"]
        if difference > TOLERANCE.get(name, 1e-3):
            raise SystemExit(f"{name}: loss {row['loss']}, plain {plain['loss']}")
        row["relative_loss_difference"] = difference
    return rows


def main() -> None:
    """Measure, print a table and write the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5, help="timed steps of each setting")
    parser.add_argument(
        "--without", nargs="*", default=[], choices=sorted(set(SETTINGS) - {"plain"})
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = measure([name for name in SETTINGS if name not in options.without], options.repeats)
    table = PrettyTable(["setting", "CPU s per step", "of plain", "first step CPU s", "loss"])
    for name, row in rows.items():
        per_step = [f"{row['median_cpu_s']:.2f}", f"{row['ratio_to_plain']:.2f}"]
        table.add_row([name, *per_step, f"{row['first_step_cpu_s']:.1f}", f"{row['loss']:.4f}"])
    print(table)
    results = {"experiment": QUICKSTART.name, "batch_size": BATCH, "threads": 1, "settings": rows}
    print("written to", write_record("seamseg_settings", results))


if __name__ == "__main__":
    main()
