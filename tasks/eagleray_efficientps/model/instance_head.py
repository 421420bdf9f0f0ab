"""Box and mask heads of EfficientPS (Mohan & Valada, IJCV 2021, section 3.3).

In the released network only the mask convolutions are separable and normalized; the fully connected
layers and the mask's transposed convolution have a bias and a plain ReLU.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from eagleray_vision.layers.activated_norm import NormSpec
from eagleray_vision.layers.separable import SeparableConvNorm

CLASS_STD, CODE_STD = 0.01, 0.001
"""Standard deviations of the predictors' initial weights (Fast R-CNN)."""


class BoxHead(nn.Module):
    """Classes and class-specific box codes of RoIs.

    Args:
        in_channels: Channels of the RoI features.
        num_things: Thing classes, background not counted.
        roi_size: Side of the RoI features in cells.
        hidden_channels: Width of the two fully connected layers.
    """

    def __init__(
        self, in_channels: int, num_things: int, roi_size: int, *, hidden_channels: int = 1024
    ) -> None:
        super().__init__()
        self.num_things = num_things
        self.fc1 = nn.Linear(in_channels * roi_size * roi_size, hidden_channels)
        self.fc2 = nn.Linear(hidden_channels, hidden_channels)
        self.classes = nn.Linear(hidden_channels, num_things + 1)
        self.codes = nn.Linear(hidden_channels, 4 * (num_things + 1))
        for layer in (self.fc1, self.fc2):
            nn.init.xavier_uniform_(layer.weight)
        nn.init.normal_(self.classes.weight, std=CLASS_STD)
        nn.init.normal_(self.codes.weight, std=CODE_STD)
        for layer in (self.fc1, self.fc2, self.classes, self.codes):
            nn.init.zeros_(layer.bias)

    def forward(self, rois: Tensor) -> tuple[Tensor, Tensor]:
        """Classify RoIs and refine their boxes.

        Args:
            rois: ``(r, c, size, size)``; r may be 0.

        Returns:
            Class logits ``(r, things + 1)``, background first, and codes ``(r, things + 1, 4)``
            (dx, dy, dw, dh), whose background row means nothing.
        """
        x = F.relu(self.fc1(rois.flatten(1)))
        x = F.relu(self.fc2(x))
        return self.classes(x), self.codes(x).view(-1, self.num_things + 1, 4)


class MaskHead(nn.Module):
    """Masks of RoIs at twice their size.

    Args:
        in_channels: Channels of the RoI features, kept by the convolutions.
        num_things: Thing classes; channel 0 of the logits is the background's and unused.
        norm: Normalization and activation.
        num_convs: Separable convolutions.
    """

    def __init__(
        self, in_channels: int, num_things: int, norm: NormSpec, *, num_convs: int = 4
    ) -> None:
        super().__init__()
        self.convs = nn.Sequential(
            *(SeparableConvNorm(in_channels, in_channels, norm) for _ in range(num_convs))
        )
        self.enlarge = nn.ConvTranspose2d(in_channels, in_channels, 2, stride=2)
        self.logits = nn.Conv2d(in_channels, num_things + 1, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, rois: Tensor) -> Tensor:
        """Map RoIs ``(r, c, h, w)`` to mask logits ``(r, things + 1, 2h, 2w)``."""
        y: Tensor = self.logits(self._features(rois))
        return y

    def masks_of_classes(self, rois: Tensor, things: Tensor) -> Tensor:
        """Return ``forward(rois)[r, things[r] + 1]`` without computing the other classes.

        Args:
            rois: ``(r, c, h, w)``.
            things: Thing index from 0, ``(r,)`` int64.

        Returns:
            ``(r, 2h, 2w)``.
        """
        weight = self.logits.weight[things + 1].flatten(1)
        bias = self.logits.get_parameter("bias")[things + 1]
        return torch.einsum("rchw,rc->rhw", self._features(rois), weight) + bias[:, None, None]

    def _features(self, rois: Tensor) -> Tensor:
        return F.relu(self.enlarge(self.convs(rois)))
