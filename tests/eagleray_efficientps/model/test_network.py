"""Sizes, variants and awkward inputs of the network."""

import pytest
import torch
from tests.eagleray_efficientps.small_network import small_network
from tests.eagleray_vision.small_batch import NUM_THING, SIZES, images
from torch.nn import functional as F

from eagleray_efficientps.model.config import NetworkSettings
from eagleray_efficientps.model.efficientnet import StridedConv
from eagleray_efficientps.model.network import EfficientPsNetwork, edge_based, inclusive
from eagleray_vision.layers.activated_norm import ActivatedBatchNorm


def parameters(module):
    return sum(p.numel() for p in module.parameters())


def whole(**values):
    with torch.device("meta"):
        return EfficientPsNetwork(NetworkSettings.model_validate(values), num_stuff=11, num_thing=8)


def test_the_released_network_has_its_sizes():
    """Counts of the released code's modules, and those of the paper with separable outputs."""
    network = whole()
    assert parameters(network.backbone) == 23_148_912
    assert parameters(network.pyramid) == 3_557_376
    assert parameters(network.rpn_head) == 593_935
    assert parameters(network.box_head) == 13_941_805
    assert parameters(network.mask_head) == 540_169
    assert parameters(network.semantic_head) == 1_206_547
    assert parameters(network) == 42_988_744
    separable = whole(pyramid={"output_conv": "separable"})
    assert round(parameters(separable) / 1e6, 1) == 40.9


@pytest.mark.parametrize(
    ("name", "channels"),
    [
        ("efficientnet_b0", [24, 40, 112, 1280]),
        ("efficientnet_b4", [32, 56, 160, 1792]),
        ("efficientnet_b5", [40, 64, 176, 2048]),
        ("resnet50", [256, 512, 1024, 2048]),
        ("mobilenet_v2", [24, 32, 96, 320]),
    ],
)
def test_backbones_offer_four_strides(name, channels):
    assert whole(backbone={"name": name}).backbone.out_channels == channels


@pytest.mark.parametrize(
    "parts",
    [
        {"pyramid": {"direction": "top_down"}},
        {"pyramid": {"direction": "bottom_up"}},
        {"pyramid": {"output_conv": "separable"}},
        {"semantic": {"dpc": False}},
        {"semantic": {"lsfe": False}},
        {"semantic": {"dpc": False, "lsfe": False, "mismatch_correction": False}},
        {"backbone": {"squeeze_excitation": True}},
        {"backbone": {"normalization": "group"}},
        {"backbone": {"name": "mobilenet_v2"}},
    ],
)
def test_every_variant_runs_and_needs_all_of_its_parameters(parts):
    network = small_network(**parts).train()
    levels = network.features(images())
    assert [tuple(x.shape[2:]) for x in levels] == [(16, 24), (8, 12), (4, 6), (2, 3)]
    (network.semantic_logits(levels).sum() + sum(x.sum() for x in levels)).backward()
    used = (network.backbone, network.pyramid, network.semantic_head)
    missing = [n for part in used for n, p in part.named_parameters() if p.grad is None]
    assert missing == []


def test_plain_batch_norm_scales_by_the_signed_weight():
    network = small_network(backbone={"absolute_scale": False})
    layers = [m for m in network.modules() if isinstance(m, ActivatedBatchNorm)]
    assert layers and not any(layer.absolute_scale for layer in layers)
    assert {layer.eps for layer in layers} == {1e-3, 1e-5}


def test_inference_finds_boxes_inside_of_each_image():
    network = small_network(roi={"score_threshold": 0.2}).eval()
    for found, (height, width) in zip(network.infer(images(), SIZES), SIZES, strict=True):
        assert len(found.scores) == len(found.boxes_yxyx) == len(found.mask_logits) > 0
        assert found.mask_logits.shape[1:] == (28, 28)
        assert (found.boxes_yxyx >= 0).all()
        assert (found.boxes_yxyx[:, 2] <= height).all() and (found.boxes_yxyx[:, 3] <= width).all()
        assert int(found.classes.max()) < NUM_THING
        assert found.semantic_classes.shape == (0, 0)  # the fusion takes logits


def test_no_detection_is_no_mask():
    found = small_network(roi={"score_threshold": 1.0}).eval().infer(images(), SIZES)
    assert [one.mask_logits.shape for one in found] == [(0, 28, 28)] * 2


def test_edges_and_inclusive_corners():
    boxes = torch.tensor([[3.0, 4.0, 5.0, 6.0]])
    assert edge_based(boxes).tolist() == [[3, 4, 6, 7]]
    assert torch.equal(inclusive(edge_based(boxes)), boxes)


@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("size", [(8, 12), (7, 11), (8, 11), (7, 12)])
def test_strided_convolutions_pad_at_the_end(kernel, size):
    torch.manual_seed(0)
    conv = StridedConv(4, 6, kernel, stride=2, padding=kernel // 2, groups=2, bias=False).double()
    x = torch.randn(2, 4, *size, dtype=torch.float64)
    padding = []
    for side in reversed(size):  # "SAME" of TensorFlow
        total = max((-(-side // 2) - 1) * 2 + kernel - side, 0)
        padding += [total // 2, total - total // 2]
    expected = F.conv2d(F.pad(x, padding), conv.weight, stride=2, groups=2)
    torch.testing.assert_close(conv(x), expected, rtol=1e-12, atol=1e-12)
    assert expected.shape[2:] == tuple(-(-side // 2) for side in size)
