"""Region proposal head (Ren et al., "Faster R-CNN", NeurIPS 2015), shared over pyramid levels."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from eagleray_vision.detection.anchors import grid_anchors
from eagleray_vision.layers.activated_norm import NormSpec
from eagleray_vision.layers.folding import norm_after
from eagleray_vision.layers.initialization import activation_gain, init_xavier

PREDICTOR_GAIN = 0.01
"""Xavier gain of the two predictors, as in Seamless."""


class RpnHead(nn.Module):
    """3 x 3 convolution, then objectness and box code of every anchor.

    Args:
        in_channels: Channels of the pyramid.
        num_anchors: Anchors per cell.
        norm: Normalization and activation of the convolution; ``None``: bias and ReLU.
        hidden_channels: Channels of the 3 x 3 convolution.
    """

    def __init__(
        self,
        in_channels: int,
        num_anchors: int,
        norm: NormSpec | None,
        *,
        hidden_channels: int = 256,
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, hidden_channels, 3, padding=1, bias=norm is None)
        self.bn1 = norm.build(hidden_channels) if norm else None
        self.conv_obj = nn.Conv2d(hidden_channels, num_anchors, 1)
        self.conv_bbx = nn.Conv2d(hidden_channels, 4 * num_anchors, 1)
        init_xavier(self.conv1, activation_gain(norm.activation, norm.slope) if norm else 2**0.5)
        init_xavier(self.conv_obj, PREDICTOR_GAIN)
        init_xavier(self.conv_bbx, PREDICTOR_GAIN)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map a level ``(n, c, h, w)`` to logits ``(n, a, h, w)`` and codes ``(n, 4a, h, w)``.

        Channels of the codes are anchor major, then (dy, dx, dh, dw).
        """
        if self.bn1 is None:
            hidden = F.relu(self.conv1(x), inplace=True)
        else:
            hidden = norm_after(self.conv1, self.bn1, x)
        return self.conv_obj(hidden), self.conv_bbx(hidden)


def flatten_levels(logits: Sequence[Tensor], codes: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Join the levels' outputs in the order of the anchors: level, row, column, anchor.

    Args:
        logits: ``(n, a, h, w)`` per level.
        codes: ``(n, 4a, h, w)`` per level.

    Returns:
        Logits ``(n, total)`` and codes ``(n, total, 4)``.
    """
    flat_logits = [x.permute(0, 2, 3, 1).flatten(1) for x in logits]
    flat_codes = [x.permute(0, 2, 3, 1).reshape(x.shape[0], -1, 4) for x in codes]
    return torch.cat(flat_logits, dim=1), torch.cat(flat_codes, dim=1)


@dataclass(frozen=True, slots=True)
class RpnOutput:
    """What the RPN says about every anchor of a batch; order: level, row, column, anchor.

    Attributes:
        logits: Objectness logits, ``(n, a)``.
        codes: Box codes, ``(n, a, 4)``.
        anchors: ``(a, 4)`` in pixels, in the axes and corners of the codes.
        level_sizes: Anchors per level.
    """

    logits: Tensor
    codes: Tensor
    anchors: Tensor
    level_sizes: tuple[int, ...]


def run_rpn(
    head: RpnHead,
    levels: Sequence[Tensor],
    strides: Sequence[int],
    cell_anchors: Callable[[int], Tensor],
    *,
    axes: Literal["yxyx", "xyxy"] = "yxyx",
) -> RpnOutput:
    """Run a head on levels of a pyramid.

    Args:
        head: The head.
        levels: ``(n, c, h, w)`` each.
        strides: Stride of each level in pixels.
        cell_anchors: Gives the anchors of one cell of a stride, ``(k, 4)`` yxyx.
        axes: Order of the coordinates of the anchors that are returned.
    """
    outputs = [head(x) for x in levels]
    logits, codes = flatten_levels([o for o, _ in outputs], [c for _, c in outputs])
    precise = torch.float64 if logits.dtype == torch.float64 else torch.float32
    grids = [
        grid_anchors(
            cell_anchors(stride), (x.shape[2], x.shape[3]), stride, dtype=precise, device=x.device
        )
        for x, stride in zip(levels, strides, strict=True)
    ]
    anchors = torch.cat(grids)
    return RpnOutput(
        logits,
        codes,
        anchors if axes == "yxyx" else anchors[:, [1, 0, 3, 2]],
        tuple(len(grid) for grid in grids),
    )
