"""Checkpoints and archives in the original's layout, whole, damaged and of another kind."""

import json
import zipfile

import pytest
import torch
from tests.eagleray_efficientps.small_network import small_network
from tests.parity.cases import default_folder

from eagleray.task import SettingsError
from eagleray_efficientps.checkpoint_import import (
    convert_checkpoint,
    import_checkpoint,
    read_checkpoint,
)
from eagleray_efficientps.model.config import NetworkSettings
from eagleray_efficientps.model.network import EfficientPsNetwork
from eagleray_efficientps.model.original_names import our_name
from eagleray_efficientps.published_import import import_original, import_weights
from eagleray_vision.panoptic.label_space import CITYSCAPES
from eagleray_vision.weights.tensors import WeightFileError

CLASSES = {"num_stuff": 11, "num_thing": 8}


def original_names(network):
    """Return the original's name of every tensor: the reverse of the map, found by trial."""
    keys = default_folder("efficientps") / "checkpoint_keys.json"
    released = {our_name(k): k for k in json.loads(keys.read_text()) if our_name(k)}
    return {name: released[name] for name in network.state_dict() if name in released}


@pytest.fixture(scope="module")
def b0():
    torch.manual_seed(0)
    return EfficientPsNetwork(
        NetworkSettings.model_validate({"backbone": {"name": "efficientnet_b0"}}), **CLASSES
    )


@pytest.fixture
def state(b0):
    names = original_names(b0)
    assert set(names) == set(b0.state_dict())
    state = {names[name]: value for name, value in b0.state_dict().items()}
    return {**state, "backbone.bn1.num_batches_tracked": torch.tensor(3)}


def saved(tmp_path, state, name="model.pth", **more):
    path = tmp_path / name
    torch.save({"meta": {"epoch": 160}, "state_dict": state, **more}, path)
    return path


def test_a_checkpoint_becomes_weights_and_an_experiment(b0, state, tmp_path):
    found = import_original(saved(tmp_path, state, optimizer={"param_groups": []}))
    assert found.experiment == {
        "task": "efficientps",
        "settings": {
            "preset": "cityscapes",
            "network": {
                "backbone": {"name": "efficientnet_b0"},
                "pyramid": {"output_conv": "dense"},
            },
        },
    }
    checkpoint = found.checkpoint
    assert set(checkpoint.extra) == {"meta", "optimizer", "backbone.bn1.num_batches_tracked"}
    assert not checkpoint.missing
    assert all(torch.equal(v, b0.state_dict()[k]) for k, v in checkpoint.state_dict.items())


def test_the_published_archive_packed_and_unpacked(state, tmp_path):
    weights = saved(tmp_path, state)
    archive = tmp_path / "efficientPS_kitti.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        packed.write(weights, "efficientPS_kitti/model/model.pth")
        packed.writestr("efficientPS_kitti/config.py", "import os")
    found = import_original(archive)
    assert found.experiment["settings"]["preset"] == "kitti"
    folder = tmp_path / "unpacked"
    with zipfile.ZipFile(archive) as packed:
        packed.extractall(folder)
    again = import_original(folder)
    assert set(again.checkpoint.state_dict) == set(found.checkpoint.state_dict)
    b0 = NetworkSettings.model_validate({"backbone": {"name": "efficientnet_b0"}})
    assert not import_weights(archive, b0, CITYSCAPES).missing


def test_weights_of_parallel_training_and_flat_files_are_read(state, tmp_path):
    torch.save({f"module.{name}": value for name, value in state.items()}, tmp_path / "flat.pth")
    checkpoint = read_checkpoint(tmp_path / "flat.pth")
    assert set(checkpoint.tensors) == set(state) and checkpoint.num_classes == (11, 8)


def test_an_unknown_tensor_is_an_error(state, tmp_path):
    path = saved(tmp_path, {**state, "neck.lateral_convs_left.0.conv.weight": torch.zeros(1)})
    with pytest.raises(WeightFileError, match=r"1 of .* tensors are unknown.*lateral_convs_left"):
        import_original(path)


@pytest.mark.parametrize("name", ["efficientnet_b4", "efficientnet_b5"])
def test_weights_of_another_backbone_are_refused(state, tmp_path, name):
    settings = NetworkSettings.model_validate({"backbone": {"name": name}})
    with pytest.raises(WeightFileError, match="does not fit the network"):
        import_checkpoint(saved(tmp_path, state), settings, **CLASSES)


def test_separable_outputs_are_told_from_dense_ones():
    network = small_network(pyramid={"channels": 16, "output_conv": "separable"})
    assert "pyramid.output.0.depthwise.conv.weight" in network.state_dict()
    assert our_name("neck.fpn_convs.0.depthwise_conv.conv.weight") in network.state_dict()


def test_files_that_are_no_checkpoints(tmp_path, state):
    torch.save({"state_dict": {"fc.weight": torch.zeros(2)}}, tmp_path / "other.pth")
    with pytest.raises(WeightFileError, match="conv_head"):
        import_original(tmp_path / "other.pth")
    (tmp_path / "text.pth").write_text("no weights")
    with pytest.raises(WeightFileError, match="cannot be read"):
        import_original(tmp_path / "text.pth")
    with pytest.raises(WeightFileError, match="does not exist"):
        import_original(tmp_path / "none.pth")
    with pytest.raises(SettingsError, match=r"config\.py is a configuration"):
        import_weights(tmp_path / "config.py", NetworkSettings(), CITYSCAPES)


def test_code_in_a_checkpoint_is_not_run(tmp_path, state):
    class Hostile:
        def __reduce__(self):
            return (print, ("run",))

    torch.save({"state_dict": state, "meta": Hostile()}, tmp_path / "hostile.pth")
    with pytest.raises(WeightFileError, match="other pickles can run code"):
        read_checkpoint(tmp_path / "hostile.pth")


def test_missing_tensors_are_listed(state, tmp_path):
    del state["rpn_head.rpn_reg.bias"]
    checkpoint = read_checkpoint(saved(tmp_path, state))
    settings = NetworkSettings.model_validate({"backbone": {"name": "efficientnet_b0"}})
    assert convert_checkpoint(checkpoint, settings, **CLASSES).missing == (
        "rpn_head.conv_bbx.bias",
    )
