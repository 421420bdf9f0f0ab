"""Two workers, every ZeRO stage, activation checkpointing: the losses of one process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tests.eagleray.train.workers import losses, train_by_two, train_folder
from tests.eagleray_pop3d.small_task import small_experiment, write_rig

WAYS: dict[str, dict[str, Any]] = {
    "ddp": {"strategy": "ddp"},
    "checkpointed": {"strategy": "ddp", "activation_checkpointing": True},
    **{f"zero{stage}": {"strategy": "deepspeed", "zero_stage": stage} for stage in range(4)},
}


def values(root: Path, **train: Any) -> dict[str, Any]:
    whole = small_experiment(root, log_every=1, **train)
    # Nothing is drawn, so that losses can be compared whatever the number of processes.
    whole["settings"]["network"]["encoder"]["dropout"] = 0.0
    return whole


@pytest.mark.slow
def test_losses_agree_for_every_strategy(tmp_path: Path) -> None:
    write_rig(tmp_path)
    train_folder(values(tmp_path), tmp_path / "lone")
    expected = losses(tmp_path / "lone")
    assert len(expected) == 3
    ways = {name: values(tmp_path, num_workers=2, **train) for name, train in WAYS.items()}
    train_by_two([(own, tmp_path / name, None) for name, own in ways.items()])
    for name in WAYS:
        torch.testing.assert_close(losses(tmp_path / name), expected, rtol=2e-4, atol=2e-4)
