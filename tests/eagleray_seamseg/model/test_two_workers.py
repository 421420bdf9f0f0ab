"""Two data-parallel workers against one process that sees the whole batch."""

from functools import partial
from pathlib import Path

import pytest
import torch
from tests.eagleray_seamseg.small_network import small_network
from tests.eagleray_vision.two_workers import CONTENTS, alone, together

from eagleray_seamseg.losses import panoptic_losses
from eagleray_seamseg.model.network import SeamlessNetwork

LOSSES = partial(panoptic_losses, generators=None)


def network() -> SeamlessNetwork:
    return small_network(normalization_mode="syncbn").double().train()


@pytest.mark.slow
def test_gradients_and_statistics_equal_those_of_one_process(tmp_path: Path) -> None:
    found = together(network, LOSSES, tmp_path)
    for own, contents in zip(found, CONTENTS, strict=True):
        expected = alone(network(), LOSSES, contents)
        assert set(own) == set(expected)
        for name, value in expected.items():
            torch.testing.assert_close(
                own[name],
                value,
                rtol=1e-6,
                atol=1e-9,
                msg=lambda text, name=name: f"{name}: {text}",
            )
