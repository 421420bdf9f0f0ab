"""Parameter groups: what is trained, what is frozen, and what is refused."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from eagleray.task import ParameterGroup, Phase, SettingsError
from eagleray.train.optimizer import build_optimizer

PHASE = Phase(steps=1, optimizer="sgd", momentum=0.9, nesterov=True, lr=0.1, weight_decay=0.01)


def model() -> nn.Sequential:
    return nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))


def test_groups_share_multipliers_and_the_rest_is_frozen() -> None:
    net = model()
    found = build_optimizer(
        net,
        [
            ParameterGroup(["0.weight"], lr_factor=0.1),
            ParameterGroup([]),
            ParameterGroup(["0.bias"], weight_decay_factor=0.0),
        ],
        PHASE,
    )
    assert found.rates(PHASE, 0, 1) == pytest.approx([0.01, 0.1])
    assert [g["weight_decay"] for g in found.optimizer.param_groups] == [0.01, 0.0]
    assert {n for n, p in net.named_parameters() if p.requires_grad} == {"0.weight", "0.bias"}
    assert isinstance(found.optimizer, torch.optim.SGD)
    assert found.optimizer.defaults["nesterov"]


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ([ParameterGroup(["0.weigth"])], r"does not have: \['0.weigth'\]"),
        ([ParameterGroup(["0.bias"]), ParameterGroup(["0.bias"])], r"twice: \['0.bias'\]"),
        ([ParameterGroup([])], "trains nothing"),
        ([], "trains nothing"),
    ],
    ids=["unknown", "twice", "empty group", "no group"],
)
def test_wrong_groups_are_refused(groups: list[ParameterGroup], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        build_optimizer(model(), groups, PHASE)
