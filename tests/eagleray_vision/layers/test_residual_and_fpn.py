import pytest
import torch
from torch import nn

from eagleray_vision.layers.activated_norm import NormSpec
from eagleray_vision.layers.conv_norm import ConvNorm
from eagleray_vision.layers.fpn import FeaturePyramid
from eagleray_vision.layers.residual import ResidualBlock


@pytest.mark.parametrize("channels", [(8, 8), (4, 4, 16)])
@pytest.mark.parametrize(("stride", "dilation"), [(1, 1), (2, 1), (1, 2)])
def test_block_sizes(channels: tuple[int, ...], stride: int, dilation: int) -> None:
    block = ResidualBlock(8, channels, NormSpec(), stride=stride, dilation=dilation)
    y = block(torch.randn(2, 8, 9, 11))
    assert y.shape == (2, channels[-1], -(-9 // stride), -(-11 // stride))
    assert hasattr(block, "proj_conv") == (stride != 1 or channels[-1] != 8)


def test_block_of_zero_convolutions_is_the_activated_shortcut() -> None:
    block = ResidualBlock(4, (4, 4), NormSpec()).eval()
    for parameter in block.parameters():
        nn.init.zeros_(parameter)
    x = torch.randn(1, 4, 3, 3)
    torch.testing.assert_close(block(x), torch.where(x < 0, 0.01 * x, x))


def test_dropout_acts_in_training_only() -> None:
    block = ResidualBlock(4, (4, 4), NormSpec(kind="frozen"), dropout=0.9)
    x = torch.randn(1, 4, 8, 8)
    assert torch.equal(block.eval()(x), block.eval()(x))
    assert not torch.equal(block.train()(x), block.train()(x))


def test_blocks_have_two_or_three_convolutions() -> None:
    with pytest.raises(ValueError, match=r"\(4,\)"):
        ResidualBlock(4, (4,), NormSpec())


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
def test_pyramid_takes_sizes_that_do_not_halve(interpolation: str) -> None:
    sizes = [(37, 53), (19, 27), (10, 13), (4, 7)]
    inputs = [torch.randn(1, 3 + k, *size) for k, size in enumerate(sizes)]
    fpn = FeaturePyramid(
        [3, 4, 5, 6],
        8,
        NormSpec(),
        extra_scales=2,
        interpolation=interpolation,  # type: ignore[arg-type]
    )
    found = [tuple(y.shape) for y in fpn(inputs)]
    assert found == [(1, 8, *size) for size in [*sizes, (2, 4), (1, 2)]]


def test_first_extra_level_reads_the_coarsest_input_itself() -> None:
    fpn = FeaturePyramid([3, 5], 8, NormSpec(), extra_scales=2).eval()
    inputs = [torch.randn(1, 3, 8, 8), torch.randn(1, 5, 4, 4)]
    levels = fpn(inputs)
    torch.testing.assert_close(levels[2], fpn.extra[0](inputs[1]))
    torch.testing.assert_close(levels[3], fpn.extra[1](levels[2]))


def test_dilated_depthwise_convolution_keeps_the_size() -> None:
    module = ConvNorm(6, 6, 3, NormSpec(), groups=6, dilation=(1, 6))
    assert module(torch.randn(2, 6, 5, 4)).shape == (2, 6, 5, 4)
    assert module.conv.padding == (1, 6)
