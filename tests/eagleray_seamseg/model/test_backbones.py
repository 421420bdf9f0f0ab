import os
from pathlib import Path

import pytest
import safetensors.torch
import timm
import torch
import torchvision

from eagleray.task import SettingsError
from eagleray_seamseg.model.config import BodySettings, vistas_r50
from eagleray_seamseg.model.network import SeamlessNetwork
from eagleray_seamseg.model.norm import norm_specs
from eagleray_vision.backbones.from_libraries import MobileNetV2, TimmBackbone
from eagleray_vision.backbones.pretrained import load_backbone_weights
from eagleray_vision.backbones.resnet import ResNet
from eagleray_vision.weights.tensors import WeightFileError


def resnet(depth: int, **body: object) -> ResNet:
    settings = BodySettings(**body)  # type: ignore[arg-type]
    return ResNet(
        depth,
        norm_specs(settings)[0],
        dilation=settings.dilation,
        dropout=settings.dropout,
        stem_bias=settings.stem_bias,
    )


@pytest.fixture
def torchvision_file(tmp_path: Path) -> tuple[torch.nn.Module, Path]:
    torch.manual_seed(0)
    network = torchvision.models.resnet18().eval()
    for name, buffer in network.named_buffers():
        if name.endswith("running_var"):
            buffer.uniform_(0.5, 1.5)
        elif name.endswith("running_mean"):
            buffer.normal_()
    path = tmp_path / "resnet18.pt"
    torch.save(network.state_dict(), path)
    return network, path


def test_torchvision_weights_with_relu_give_torchvision_features(torchvision_file) -> None:
    network, path = torchvision_file
    ours = resnet(18, activation="relu").eval()
    load_backbone_weights(ours, path)
    ours, network = ours.double(), network.double()
    x = torch.randn(1, 3, 64, 96, dtype=torch.float64)
    y = network.maxpool(network.relu(network.bn1(network.conv1(x))))
    found = ours(x)
    torch.testing.assert_close(found["mod1"], y, rtol=1e-3, atol=1e-3)
    for k in range(1, 5):
        y = getattr(network, f"layer{k}")(y)
        torch.testing.assert_close(found[f"mod{k + 1}"], y, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("depth", "channels"),
    [(18, (64, 128, 256, 512)), (34, (64, 128, 256, 512)), (50, (256, 512, 1024, 2048))],
)
def test_outputs_of_every_module(depth: int, channels: tuple[int, ...]) -> None:
    found = resnet(depth).eval()(torch.randn(1, 3, 64, 96))
    shapes = {name: tuple(y.shape) for name, y in found.items()}
    assert shapes["mod1"] == (1, 64, 16, 24)
    for k, width in enumerate(channels):
        assert shapes[f"mod{k + 2}"] == (1, width, 16 >> k, 24 >> k)


def test_dilation_keeps_the_stride_and_a_dilated_first_module_the_resolution() -> None:
    x = torch.randn(1, 3, 64, 64)
    found = resnet(18, dilation=(1, 1, 1, 2)).eval()(x)
    assert found["mod5"].shape[2:] == found["mod4"].shape[2:] == (4, 4)
    assert resnet(18, dilation=(2, 1, 1, 1)).eval()(x)["mod2"].shape[2:] == (32, 32)


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_own_names_are_read_too(tmp_path: Path, suffix: str) -> None:
    source, target = resnet(18), resnet(18)
    path = tmp_path / f"own{suffix}"
    state = source.state_dict()
    safetensors.torch.save_file(state, path) if suffix != ".pt" else torch.save(state, path)
    load_backbone_weights(target, path)
    assert all(torch.equal(v, state[k]) for k, v in target.state_dict().items())


def test_weights_of_another_network_are_refused(torchvision_file) -> None:
    _, path = torchvision_file
    with pytest.raises(WeightFileError, match="have another shape"):
        load_backbone_weights(resnet(50), path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(WeightFileError, match="does not exist"):
        load_backbone_weights(resnet(18), tmp_path / "none.pt")


def test_load_pretrained_reads_the_named_file(torchvision_file) -> None:
    network, path = torchvision_file
    settings = vistas_r50(backbone="resnet18", weights=str(path))
    built = SeamlessNetwork(settings, num_stuff=3, num_thing=2)
    assert not torch.equal(built.body.backbone.mod1.conv1.weight, network.conv1.weight)
    built.load_pretrained()
    assert torch.equal(built.body.backbone.mod1.conv1.weight, network.conv1.weight)


def test_mobilenet_features_are_torchvision_s(tmp_path: Path) -> None:
    torch.manual_seed(0)
    whole = torchvision.models.mobilenet_v2().eval()
    path = tmp_path / "mobilenet.pt"
    torch.save({k: v.half() for k, v in whole.state_dict().items()}, path)
    ours = MobileNetV2()
    load_backbone_weights(ours, path)
    whole.load_state_dict(torch.load(path))
    x = torch.randn(1, 3, 65, 97)
    found = ours.train()(x)  # its normalization is frozen: training mode changes nothing
    torch.testing.assert_close(found["mod5"], whole.features[:18](x), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found["mod2"], whole.features[:4](x), rtol=1e-4, atol=1e-5)
    assert {k: y.shape[1] for k, y in found.items()} == ours.out_channels
    assert len(list(ours.frozen_modules(5))) == 18


def test_timm_model_by_name() -> None:
    backbone = TimmBackbone("resnet18").eval()
    found = backbone(torch.randn(1, 3, 64, 96))
    assert {k: y.shape[1] for k, y in found.items()} == backbone.out_channels
    assert [tuple(found[f"mod{k}"].shape[2:]) for k in (2, 3, 4, 5)] == [
        (16, 24), (8, 12), (4, 6), (2, 3)
    ]  # fmt: skip
    with pytest.raises(SettingsError, match="num_frozen = 2"):
        backbone.frozen_modules(2)
    assert backbone.frozen_modules(5) == [backbone.model]


@pytest.mark.parametrize("name", ["resnet18", "convnext_atto"])
def test_timm_weights_are_read_by_timm_names(tmp_path: Path, name: str) -> None:
    whole = timm.create_model(name, pretrained=False).eval()
    torch.save(whole.state_dict(), tmp_path / "weights.pt")
    backbone = TimmBackbone(name).eval()
    load_backbone_weights(backbone, tmp_path / "weights.pt")
    x = torch.randn(1, 3, 64, 64)
    expected = whole.forward_intermediates(x, intermediates_only=True)[-1]
    torch.testing.assert_close(backbone(x)["mod5"], expected)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no_such_model", "no such model"),
        ("vit_tiny_patch16_224", "strides"),
        ("swin_tiny_patch4_window7_224", "channels last"),
    ],
)
def test_timm_models_that_cannot_serve_are_refused(name: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        TimmBackbone(name)


@pytest.mark.skipif("EAGLERAY_DATA" not in os.environ, reason="EAGLERAY_DATA is not set")
def test_pretrained_mobilenet_file_fits() -> None:
    path = Path(os.environ["EAGLERAY_DATA"]) / "small_models" / "mobilenet_v2_imagenet_fp16.pt"
    settings = vistas_r50(backbone="mobilenet_v2", weights=str(path))
    network = SeamlessNetwork(settings, num_stuff=3, num_thing=2).eval()
    network.load_pretrained()
    prediction = network.infer(torch.randn(1, 3, 64, 64), [(64, 64)])[0]
    assert prediction.semantic_classes.shape == (64, 64)
