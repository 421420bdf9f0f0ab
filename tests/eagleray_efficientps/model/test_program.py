"""The exported program computes what the network computes, also from a file."""

import pytest
import torch
from tests.eagleray_efficientps.small_network import small_network
from tests.eagleray_vision.small_batch import images

from eagleray_efficientps.model.program import dense_program


@pytest.mark.slow
def test_the_program_equals_the_network_and_survives_a_file(tmp_path):
    network = small_network().eval()
    torch.export.save(dense_program(network, (64, 96), batch_size=2), tmp_path / "dense.pt2")
    program = torch.export.load(tmp_path / "dense.pt2").module()
    with torch.no_grad():
        semantic, levels, rpn = program(images())
        expected = network.features(images())
        torch.testing.assert_close(semantic, network.semantic_logits(expected))
        for found, level, (logits, _) in zip(levels, expected, rpn, strict=True):
            torch.testing.assert_close(found, level, rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(logits, network.rpn_head(level)[0], rtol=1e-4, atol=1e-5)
