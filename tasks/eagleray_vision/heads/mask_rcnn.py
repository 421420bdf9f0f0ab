"""Box and mask branches of Mask R-CNN (He et al., ICCV 2017) with activated normalization.

The flavor is that of Seamless: both branches read the same RoI features, the box branch
after averaging 2 x 2 cells. Parameter names are those of its published weights.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from eagleray_vision.layers.activated_norm import NormSpec
from eagleray_vision.layers.folding import norm_after
from eagleray_vision.layers.initialization import activation_gain, init_xavier

SCORE_GAIN = 0.01
"""Xavier gain of the class and mask predictors, as in Seamless."""
CODE_GAIN = 0.001
"""Xavier gain of the box predictor, as in Seamless."""
NUM_MASK_CONVS = 4
"""3 x 3 convolutions of the mask branch."""
BOX_AVERAGE = 2
"""Side of the blocks of RoI cells that the box branch averages."""


class MaskRcnnHead(nn.Module):
    """Classes, class-specific box codes and masks of RoIs.

    Args:
        in_channels: Channels of the RoI features.
        num_classes: Thing classes, background not counted.
        roi_size: Height and width of the RoI features in cells, even.
        norm: Normalization and activation.
        hidden_channels: Width of the two fully connected layers.
        mask_channels: Channels of the mask branch.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        roi_size: tuple[int, int],
        norm: NormSpec,
        *,
        hidden_channels: int = 1024,
        mask_channels: int = 256,
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        flat = in_channels * (roi_size[0] // BOX_AVERAGE) * (roi_size[1] // BOX_AVERAGE)
        self.fc = nn.ModuleDict(
            {
                "fc1": nn.Linear(flat, hidden_channels, bias=False),
                "bn1": norm.build(hidden_channels),
                "fc2": nn.Linear(hidden_channels, hidden_channels, bias=False),
                "bn2": norm.build(hidden_channels),
            }
        )
        self.roi_cls = nn.Linear(hidden_channels, num_classes + 1)
        self.roi_bbx = nn.Linear(hidden_channels, 4 * num_classes)
        self.conv = nn.ModuleDict()
        width = in_channels
        for index in range(1, NUM_MASK_CONVS + 1):
            self.conv[f"conv{index}"] = nn.Conv2d(width, mask_channels, 3, padding=1, bias=False)
            self.conv[f"bn{index}"] = norm.build(mask_channels)
            width = mask_channels
        self.conv["conv_up"] = nn.ConvTranspose2d(width, width, 2, stride=2, bias=False)
        self.conv["bn_up"] = norm.build(width)
        self.roi_msk = nn.Conv2d(width, num_classes, 1)
        self._initialize(activation_gain(norm.activation, norm.slope))

    def _initialize(self, gain: float) -> None:
        for module in [*self.fc.values(), *self.conv.values()]:
            if isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
                init_xavier(module, gain)
        init_xavier(self.roi_cls, SCORE_GAIN)
        init_xavier(self.roi_msk, SCORE_GAIN)
        init_xavier(self.roi_bbx, CODE_GAIN)

    def boxes(self, averaged_rois: Tensor) -> tuple[Tensor, Tensor]:
        """Classify RoIs and refine their boxes.

        Args:
            averaged_rois: ``(r, c, rows / 2, columns / 2)`` features, averaged 2 x 2; r may be 0.

        Returns:
            Class logits ``(r, classes + 1)``, background first, and codes ``(r, classes, 4)``.
        """
        x = averaged_rois.flatten(1)
        for index in (1, 2):
            layer = self.fc[f"fc{index}"]
            x = norm_after(layer, self.fc[f"bn{index}"], x)  # type: ignore[arg-type]
        return self.roi_cls(x), self.roi_bbx(x).view(-1, self.num_classes, 4)

    def masks(self, rois: Tensor) -> Tensor:
        """Map RoIs ``(r, c, h, w)`` to mask logits of every class ``(r, classes, 2h, 2w)``."""
        return self.roi_msk(self._mask_features(rois))  # type: ignore[no-any-return]

    def masks_of_classes(self, rois: Tensor, classes: Tensor) -> Tensor:
        """Return ``masks(rois)[r, classes[r]]``, ``(r, 2h, 2w)``, without the other classes."""
        x = self._mask_features(rois)
        weight = self.roi_msk.weight[classes].flatten(1)
        bias = self.roi_msk.get_parameter("bias")[classes]
        return torch.einsum("rchw,rc->rhw", x, weight) + bias[:, None, None]

    def _mask_features(self, rois: Tensor) -> Tensor:
        x = rois
        for index in [*range(1, NUM_MASK_CONVS + 1), "_up"]:
            layer = self.conv[f"conv{index}"]
            x = norm_after(layer, self.conv[f"bn{index}"], x)  # type: ignore[arg-type]
        return x

    def forward(self, rois: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Run both branches on the same RoIs: class logits, codes, mask logits."""
        return *self.boxes(F.avg_pool2d(rois, BOX_AVERAGE)), self.masks(rois)
