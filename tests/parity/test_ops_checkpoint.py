"""Every tensor of the published checkpoints has its place, by name and shape."""

import json
from pathlib import Path

import pytest
import torch
from tests.parity.cases import key_list

from eagleray_ops.checkpoint_import import named_checkpoint
from eagleray_ops.model.config import AdapterSettings, ClipSettings
from eagleray_ops.model.network import OpsNetwork, named_architecture
from eagleray_ops.model.original_names import our_name

SPLIT = 9


@pytest.mark.parametrize("spelling", ["dao_list", "dcnv4_list"])
def test_names_and_shapes(spelling):
    shapes = json.loads(key_list("ops", "state_dict_shapes.json").read_text())
    tensors = {
        name.replace("dao_list", spelling): torch.empty(shape, device="meta")
        for name, shape in shapes.items()
    }
    checkpoint = named_checkpoint(Path("weights.pt"), tensors)
    assert len(checkpoint.names) == len(shapes) and checkpoint.split == SPLIT
    with torch.device("meta"):
        form = named_architecture("ViT-B-16-quickgelu")
        network = OpsNetwork(ClipSettings(), AdapterSettings(), form, faithful=True)
    own = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    found = {ours: tuple(checkpoint.tensors[name].shape) for name, ours in checkpoint.names.items()}
    assert found == own


def test_names_of_clip():
    names = json.loads(key_list("ops", "clip_key_map.json").read_text())
    for theirs, original in names.items():
        assert our_name(original, SPLIT) == f"clip.{theirs}"
