"""ImageNet weights in timm's names, and files that do not fit."""

import pytest
import timm
import torch
from torch import nn

from eagleray_efficientps.model.backbone_weights import load_backbone_weights
from eagleray_efficientps.model.efficientnet import SCALINGS, EfficientNet
from eagleray_vision.layers.activated_norm import NormSpec
from eagleray_vision.weights.tensors import WeightFileError

TIMM_NAME = "tf_efficientnet_b0"


def backbone(**options: bool) -> EfficientNet:
    return EfficientNet(*SCALINGS["efficientnet_b0"], NormSpec(kind="batch", eps=1e-3), **options)


@pytest.fixture(scope="module")
def imagenet():
    torch.manual_seed(0)
    return timm.create_model(TIMM_NAME)


@pytest.fixture
def file(imagenet, tmp_path):
    path = tmp_path / "b0.pth"
    torch.save(imagenet.state_dict(), path)
    return path


@pytest.mark.parametrize("name", ["efficientnet_b0", "efficientnet_b4", "efficientnet_b5"])
def test_every_tensor_of_each_size_is_in_timm(name):
    with torch.device("meta"):
        network = EfficientNet(*SCALINGS[name], NormSpec(kind="batch"), squeeze_excitation=True)
        theirs = timm.create_model(f"tf_{name}")
    shapes = sorted(tuple(v.shape) for v in network.state_dict().values())
    expected = sorted(
        tuple(v.shape)
        for k, v in theirs.state_dict().items()
        if not k.startswith("classifier") and not k.endswith("num_batches_tracked")
    )
    assert shapes == expected


def test_weights_are_copied_and_compute_what_timm_computes(file):
    network = backbone(squeeze_excitation=True)
    load_backbone_weights(network, file)
    imagenet = timm.create_model(TIMM_NAME, act_layer=lambda **_: nn.LeakyReLU(0.01))
    imagenet.load_state_dict(torch.load(file))
    for block in imagenet.blocks[0]:
        block.bn2.act = nn.LeakyReLU(0.01)  # the paper's first stage is activated throughout
    x = torch.randn(1, 3, 70, 101, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        found = network.eval()(x)[-1]
        expected = imagenet.eval().forward_features(x)
    torch.testing.assert_close(found, expected, rtol=1e-2, atol=1e-3)


def test_without_excitation_its_tensors_are_left_out(file):
    network = backbone()
    load_backbone_weights(network, file)
    stored = torch.load(file)
    assert torch.equal(network.stem.conv.weight, stored["conv_stem.weight"])
    assert torch.equal(
        network.stages[6][0].project.norm.running_var, stored["blocks.6.0.bn3.running_var"]
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("conv_head.weight"), "1 are missing"),
        (lambda s: s.update({"conv_stem.weight": torch.zeros(40, 3, 3, 3)}), "1 have another"),
        (lambda s: s.update({"blocks.9.0.conv_pw.weight": torch.zeros(1)}), "1 are unknown"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(imagenet, tmp_path, change, message):
    state = imagenet.state_dict()
    change(state)
    torch.save(state, tmp_path / "wrong.pth")
    with pytest.raises(WeightFileError, match=message):
        load_backbone_weights(backbone(), tmp_path / "wrong.pth")
