"""Activation checkpointing: the same gradients, and running statistics that move once."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from eagleray.task import SettingsError
from eagleray.train.phase_setup import checkpoint_activations
from eagleray.train.profiling import peak_memory_mb


class Net(nn.Module):
    """Two sequential stages with batch norms, one of them inside another module."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
        self.inner = nn.ModuleDict({"stage": nn.Sequential(nn.Conv2d(4, 2, 3), nn.BatchNorm2d(2))})

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.inner["stage"](self.stem(x))
        return out


class Declaring(Net):
    """Says itself what to recompute."""

    def checkpoint_blocks(self) -> list[nn.Module]:
        return [self.stem]


@pytest.mark.parametrize(("kind", "blocks"), [(Net, 2), (Declaring, 1)])
def test_gradients_and_running_statistics_are_unchanged(kind: type[Net], blocks: int) -> None:
    torch.manual_seed(0)
    plain = kind()
    saving = copy.deepcopy(plain)
    assert checkpoint_activations(saving) == blocks
    x = torch.rand(3, 1, 8, 8)
    for net in (plain, saving):
        for _ in range(2):
            net(x).square().sum().backward()
    for (name, a), b in zip(plain.named_parameters(), saving.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, msg=name)
    for (name, a), b in zip(plain.named_buffers(), saving.buffers(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0, msg=name)
    assert list(plain.state_dict()) == list(saving.state_dict())


def test_model_without_blocks_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"Linear has no blocks"):
        checkpoint_activations(nn.Linear(2, 2))


def test_peak_memory_of_this_process_is_plausible() -> None:
    assert 10 < peak_memory_mb(torch.device("cpu")) < 1e6
