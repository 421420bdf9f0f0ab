"""The semantic heads beside Mini-DL, against torchvision's layers and plain functional twins."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.models.segmentation.deeplabv3 import ASPP

from eagleray_vision.heads.deeplab import DETAIL_CHANNELS, DeepLabHead
from eagleray_vision.heads.mini_dl import MiniDeepLabHead
from eagleray_vision.heads.pooled_context import AtrousPyramid, PooledContext, PyramidPooling
from eagleray_vision.heads.semantic_fpn import SemanticFpnHead
from eagleray_vision.heads.upernet import UperNetHead
from eagleray_vision.layers.activated_norm import NormSpec

PLAIN = NormSpec(kind="frozen", activation="relu")
"""At construction the identity, but for the eps in the variance, followed by a ReLU."""
FACTOR = (1 + PLAIN.eps) ** -0.5
UNEVEN = [(17, 22), (9, 11), (5, 6), (3, 3)]
CHANNELS, WIDTH, CLASSES = 6, 8, 5


def levels(sizes: list[tuple[int, int]] = UNEVEN) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(2, CHANNELS, *size, generator=generator) for size in sizes]


def build(kind: str, num_levels: int, norm: NormSpec = PLAIN) -> torch.nn.Module:
    torch.manual_seed(1)
    if kind == "mini_dl":
        return MiniDeepLabHead(CHANNELS, num_levels, CLASSES, norm, hidden_channels=WIDTH)
    if kind == "fpn":
        return SemanticFpnHead(CHANNELS, num_levels, CLASSES, norm, hidden_channels=WIDTH)
    if kind == "deeplab":
        return DeepLabHead(CHANNELS, num_levels, CLASSES, norm, hidden_channels=WIDTH, rates=(1, 2))
    return UperNetHead(CHANNELS, num_levels, CLASSES, norm, hidden_channels=WIDTH, bins=(1, 2))


def block(conv: torch.nn.Conv2d, x: Tensor) -> Tensor:
    padding = conv.dilation[0] * (conv.kernel_size[0] // 2)
    return F.relu(F.conv2d(x, conv.weight, padding=padding, dilation=conv.dilation) * FACTOR)


def enlarged(x: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(x, size, mode="bilinear", align_corners=False)


@pytest.mark.parametrize("kind", ["mini_dl", "fpn", "deeplab", "upernet"])
@pytest.mark.parametrize("sizes", [UNEVEN, UNEVEN[:1], [(1, 1)], [(4, 7), (4, 7)]])
@pytest.mark.parametrize("norm", [NormSpec(kind="batch"), NormSpec(kind="group", groups=4)])
def test_logits_have_the_finest_size_and_all_parameters_a_gradient(
    kind: str, sizes: list[tuple[int, int]], norm: NormSpec
) -> None:
    head = build(kind, len(sizes), norm).train()
    logits = head(levels(sizes))
    assert logits.shape == (2, CLASSES, *sizes[0])
    logits.square().sum().backward()
    for name, parameter in head.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
    assert head.checkpoint_blocks()


def test_fpn_head_is_the_sum_of_levels_that_climbed_size_by_size() -> None:
    head = build("fpn", 4).eval()
    inputs = levels()
    assert [len(climb) for climb in head.climbs] == [1, 1, 2, 3]
    total = block(head.climbs[0][0].conv, inputs[0])
    for level in (1, 2, 3):
        y = inputs[level]
        for stage, size in zip(head.climbs[level], UNEVEN[:level][::-1], strict=True):
            y = enlarged(block(stage.conv, y), size)
        total = total + y
    expected = F.conv2d(total, head.conv_sem.weight, head.conv_sem.bias)
    with torch.no_grad():
        torch.testing.assert_close(head(inputs), expected)


@pytest.mark.parametrize("rates", [(6, 12, 18), (1,), (40, 50)])
def test_atrous_pyramid_equals_torchvisions(rates: tuple[int, ...]) -> None:
    theirs = ASPP(CHANNELS, list(rates), WIDTH).eval()
    ours = AtrousPyramid(CHANNELS, WIDTH, rates, PLAIN).eval()
    pairs = [(ours.point.conv, theirs.convs[0][0]), (ours.project.conv, theirs.project[0])]
    pairs += [
        (mine.conv, other[0])
        for mine, other in zip(ours.dilated, list(theirs.convs)[1:-1], strict=True)
    ]
    for mine, other in pairs:
        mine.load_state_dict(other.state_dict())
    # Theirs has a normalization where ours has a bias: at construction it is a factor alone.
    ours.image.conv.weight.data = theirs.convs[-1][1].weight.data * FACTOR
    torch.nn.init.zeros_(ours.image.conv.bias)
    x = levels()[0]
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs(x), rtol=1e-4, atol=1e-5)


def test_pooled_context_of_one_bin_is_the_projected_mean() -> None:
    context = PooledContext(CHANNELS, WIDTH, 1, PLAIN)
    x = levels()[0]
    mean = x.mean(dim=(2, 3))
    expected = F.relu(F.linear(mean, context.conv.weight[:, :, 0, 0], context.conv.bias))
    found = context(x)
    torch.testing.assert_close(found, expected[:, :, None, None].expand_as(found))


def test_pooled_context_of_two_bins_knows_the_quarter() -> None:
    context = PooledContext(1, 1, 2, NormSpec(kind="frozen", activation="identity"))
    torch.nn.init.ones_(context.conv.weight)
    torch.nn.init.zeros_(context.conv.bias)
    x = torch.zeros(1, 1, 8, 8)
    x[..., :4, 4:] = 3.0
    found = context(x)[0, 0]
    assert found[0, 7] == 3.0
    assert found[0, 0] == found[7, 0] == found[7, 7] == 0.0


def test_pooled_parts_learn_from_a_batch_of_one_image() -> None:
    norm = NormSpec(kind="batch")
    for part in (
        AtrousPyramid(CHANNELS, WIDTH, (1,), norm),
        PyramidPooling(CHANNELS, 4, (1,), norm),
    ):
        x = levels()[0][:1]
        y = part.train()(x)
        assert y.std() > 0.1
        y.square().sum().backward()
        pooled = part.image if isinstance(part, AtrousPyramid) else part.grids[0]
        assert pooled.conv.weight.grad.isfinite().all()


def test_deeplab_head_joins_context_and_details() -> None:
    head = build("deeplab", 4).eval()
    inputs = levels()
    details = [block(part.conv, x) for part, x in zip(head.details, inputs[:3], strict=True)]
    assert {one.shape[1] for one in details} == {DETAIL_CHANNELS}
    parts = [head.context(inputs[-1]), *details]
    y = torch.cat([enlarged(part, UNEVEN[0]) for part in parts], dim=1)
    for stage in head.refine:
        y = block(stage.conv, y)
    with torch.no_grad():
        expected = F.conv2d(y, head.conv_sem.weight, head.conv_sem.bias)
        torch.testing.assert_close(head(inputs), expected)


def test_upernet_head_is_a_pyramid_below_pooled_context() -> None:
    head = build("upernet", 4).eval()
    inputs = levels()
    top = inputs[3]
    pooled = [
        enlarged(F.relu(grid.conv(F.adaptive_avg_pool2d(top, bins))), UNEVEN[3])
        for grid, bins in zip(head.context.grids, (1, 2), strict=True)
    ]
    merged = {3: block(head.context.project.conv, torch.cat([top, *pooled], dim=1))}
    for level in (2, 1, 0):
        merged[level] = block(head.lateral[level].conv, inputs[level]) + enlarged(
            merged[level + 1], UNEVEN[level]
        )
    outputs = [block(head.output[level].conv, merged[level]) for level in (0, 1, 2)]
    together = torch.cat([enlarged(y, UNEVEN[0]) for y in [*outputs, merged[3]]], dim=1)
    with torch.no_grad():
        expected = F.conv2d(
            block(head.fuse.conv, together), head.conv_sem.weight, head.conv_sem.bias
        )
        torch.testing.assert_close(head(inputs), expected)
