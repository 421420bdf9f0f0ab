"""The network: yours goes here."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

STRIDE = 4
"""Pixels per cell of the network's output."""


class Network(nn.Module):
    """Convolutions that say of each cell whether a thing has its center there, and how far its
    edges are.

    Args:
        channels: Channels of the layers.
        num_classes: Classes.
    """

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs, stride, dilation in ((3, 2, 1), (channels, 2, 1), (channels, 1, 2)):
            layers += [
                nn.Conv2d(inputs, channels, 3, stride, padding=dilation, dilation=dilation),
                nn.ReLU(),
            ]
        layers += [nn.Conv2d(channels, channels, 3, padding=4, dilation=4), nn.ReLU()]
        self.body = nn.Sequential(*layers)
        self.centers = nn.Conv2d(channels, num_classes, 1)
        self.edges = nn.Conv2d(channels, 4, 1)
        # few cells hold a center
        self.centers.bias = nn.Parameter(torch.full((num_classes,), -4.0))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return, for images ``(n, 3, H, W)``, logits of centers ``(n, C, H/4, W/4)`` and distances
        to the left, top, right and bottom edge in cells ``(n, 4, H/4, W/4)``.
        """
        features = self.body(images)
        return self.centers(features), F.softplus(self.edges(features))
