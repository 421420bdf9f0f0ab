"""Writes made-up sweeps in the real layout, beside the runs of ``fake_store``.

Values follow a made-up rule of the settings with noise by seed; nothing was trained.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from eagleray.storage import Store
from eagleray.sweep.folder import (
    Kind,
    SweepFolder,
    SweepSummary,
    TrialRecord,
    sweep_below,
    sweeps_store,
)

_VARIANTS: dict[str, tuple[float, dict[str, Any]]] = {
    "baseline": (0.0, {}),
    "plain_head": (-0.021, {"settings.head": "fpn"}),
    "no_synced_norm": (-0.012, {"settings.synced_norm": False}),
    "long_schedule": (0.008, {"train.phases.0.steps": 2000}),
    "half_lr": (-0.004, {"train.phases.0.lr": 0.005}),
}
"""Variants with what each adds to the metric."""
_BACKBONES = ("resnet50", "resnet101", "mobilenet_v2")
_STEPS = 1000


@dataclass(frozen=True)
class FakeSweep:
    """What a made-up sweep is like.

    Args:
        experiment: Name of its experiment.
        name: Name of its folder.
        kind: Ablations of five variants, or a search.
        count: Seeds of each variant, or trials of the search.
        seed: Everything is drawn from it.
        runs: Runs (``experiment/run``) that the trials name, in turns.
    """

    experiment: str
    name: str
    kind: Kind = "ablations"
    count: int = 3
    seed: int = 0
    runs: Sequence[str] = ()


def write_sweep_of(storage: str, fake: FakeSweep) -> SweepFolder:
    """Write one sweep with its trials; return its folder."""
    sweep = sweep_below(sweeps_store(storage), f"{fake.experiment}/{fake.name}")
    trials = _ablations(fake) if fake.kind == "ablations" else _searched(fake)
    settings = (
        f"task: seamseg\nname: {fake.experiment}\nseed: 0\n"
        "settings: {head: mini_dl, synced_norm: true, backbone: resnet50}\n"
        "train: {phases: [{name: main, steps: 1000, lr: 0.01, batch_size: 8}]}\n"
    )
    _put(sweep, "experiment.yaml", settings)
    _put(sweep, "sweep.json", _summary(fake).model_dump_json(indent=1))
    for trial in trials:
        _put(sweep, f"trials/{trial.id}.json", trial.model_dump_json(indent=1))
    return sweep


def _summary(fake: FakeSweep) -> SweepSummary:
    is_search = fake.kind == "search"
    space = {
        "train.phases.0.lr": "log uniform, 0.0001 to 0.1",
        "train.phases.0.batch_size": "integer, 2 to 16",
        "settings.backbone": f"one of {', '.join(_BACKBONES)}",
    }
    return SweepSummary(
        name=fake.name,
        experiment=fake.experiment,
        task="seamseg",
        kind=fake.kind,
        benchmark="val",
        metric="miou",
        baseline=None if is_search else "baseline",
        seeds=(0,) if is_search else tuple(range(fake.count)),
        variants={} if is_search else {name: changes for name, (_, changes) in _VARIANTS.items()},
        space=space if is_search else {},
        scheduler="asha, grace 100 steps, reduction 3" if is_search else "",
    )


def _ablations(fake: FakeSweep) -> list[TrialRecord]:
    rng = np.random.default_rng(fake.seed)
    luck = rng.normal(0, 0.012, fake.count)
    trials = []
    for name, (gain, changes) in _VARIANTS.items():
        for seed in range(fake.count):
            value = 0.612 + gain + float(luck[seed]) + float(rng.normal(0, 0.003))
            idx = len(trials)
            is_last = idx == len(_VARIANTS) * fake.count - 1
            state = "failed" if is_last else "done"
            trials.append(_trial(fake, f"{name}-{seed}", idx, seed, changes, value, state, name))
    return trials


def _searched(fake: FakeSweep) -> list[TrialRecord]:
    rng = np.random.default_rng(fake.seed)
    trials = []
    for idx in range(fake.count):
        lr = float(10 ** rng.uniform(-4, -1))
        batch, backbone = int(rng.integers(2, 17)), str(rng.choice(_BACKBONES))
        off = (np.log10(lr) + 2.2) ** 2
        value = 0.64 - 0.05 * off + 0.002 * batch + 0.02 * (backbone == "resnet101")
        value += float(rng.normal(0, 0.008))
        state = "failed" if idx % 19 == 18 else "stopped" if off > 1 and idx % 3 else "done"
        changes = {
            "train.phases.0.lr": lr,
            "train.phases.0.batch_size": batch,
            "settings.backbone": backbone,
        }
        trials.append(_trial(fake, f"trial-{idx:04d}", idx, 0, changes, value, state, None))
    return trials


def _trial(
    fake: FakeSweep,
    name: str,
    idx: int,
    seed: int,
    changes: dict[str, Any],
    value: float,
    state: Any,
    variant: str | None,
) -> TrialRecord:
    has_value, steps = state != "failed", _STEPS // 4 if state == "stopped" else _STEPS
    return TrialRecord(
        id=name,
        variant=variant,
        seed=seed,
        overrides=changes,
        run=fake.runs[idx % len(fake.runs)] if fake.runs else f"{fake.experiment}/{name}",
        state=state,
        error=None if has_value else "OutOfMemoryError: CUDA out of memory",
        steps=steps,
        value=value if has_value else None,
        best_step=steps - 100 if has_value else None,
        last_value=value - 0.004 if has_value else None,
        values={"miou": value, "pq": 0.8 * value} if state == "done" else {},
        device_seconds=3.1 * steps * (0.3 if not has_value else 1.0),
        device="cuda",
    )


def _put(sweep: Store, path: str, text: str) -> None:
    """Write a file without waiting for the disk, which would take most of the time."""
    if not sweep.is_local:
        sweep.write(path, text.encode())
        return
    target = sweep.local_path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text)
