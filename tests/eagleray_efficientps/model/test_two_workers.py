"""Two data-parallel workers against one process that sees the whole batch."""

from functools import partial
from pathlib import Path

import pytest
import torch
from tests.eagleray_efficientps.small_network import small_network
from tests.eagleray_vision.two_workers import CONTENTS, alone, together

from eagleray_efficientps.losses import panoptic_losses
from eagleray_efficientps.model.network import EfficientPsNetwork

LOSSES = partial(panoptic_losses, generators=None, faithful=False)


def network() -> EfficientPsNetwork:
    """Return a network whose losses do not depend on how a batch is dealt.

    The worst pixels are those of each worker's images; all pixels count here.
    """
    found = small_network(
        backbone={"normalization": "synced_batch"}, semantic={"worst_fraction": None}
    )
    return found.double().train()


@pytest.mark.slow
def test_two_workers_equal_one(tmp_path: Path) -> None:
    """Also where a worker has nothing to classify: its heads run on empty tensors."""
    found = together(network, LOSSES, tmp_path)
    for own, contents in zip(found, CONTENTS, strict=True):
        for name, value in alone(network(), LOSSES, contents).items():
            torch.testing.assert_close(own[name], value, rtol=1e-6, atol=1e-8, msg=name)
