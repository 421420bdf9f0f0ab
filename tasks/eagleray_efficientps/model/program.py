"""The dense part of the network as a ``torch.export`` program: all but RoIs, whose number varies.

program = dense_program(network, (1024, 2048))
torch.export.save(program, "efficientps.pt2")
"""

import torch
from torch import Tensor, nn

from eagleray_efficientps.model.network import EfficientPsNetwork, Size


class DensePart(nn.Module):
    """Backbone, pyramid, semantic head and RPN of a network, whose parameters it shares.

    Args:
        network: The network.
    """

    def __init__(self, network: EfficientPsNetwork) -> None:
        super().__init__()
        self.backbone, self.pyramid = network.backbone, network.pyramid
        self.semantic_head, self.rpn_head = network.semantic_head, network.rpn_head

    def forward(self, images: Tensor) -> tuple[Tensor, list[Tensor], list[tuple[Tensor, Tensor]]]:
        """Map normalized images ``(n, 3, h, w)`` to what the instance heads and the fusion need.

        Returns:
            Semantic logits ``(n, classes, h / 4, w / 4)``; levels of the pyramid, finest first; the
            RPN's logits ``(n, a, h_i, w_i)`` and codes ``(n, 4a, h_i, w_i)`` of each.
        """
        levels = self.pyramid(self.backbone(images))
        return self.semantic_head(levels), levels, [self.rpn_head(x) for x in levels]


def dense_program(
    network: EfficientPsNetwork, size_hw: Size, *, batch_size: int = 1
) -> torch.export.ExportedProgram:
    """Export the dense part for one input size.

    Args:
        network: The network; it is put into inference mode, and its weights become the program's.
        size_hw: Height and width of the padded input, multiples of 32.
        batch_size: Images per call.
    """
    first = next(network.parameters())
    images = torch.zeros(batch_size, 3, *size_hw, dtype=first.dtype, device=first.device)
    with torch.no_grad():
        return torch.export.export(DensePart(network.eval()).eval(), (images,), strict=False)
