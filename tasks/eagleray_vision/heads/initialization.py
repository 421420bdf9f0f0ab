"""How a semantic head begins, as in Seamless."""

from torch import nn

from eagleray_vision.layers.activated_norm import NormSpec
from eagleray_vision.layers.initialization import activation_gain, init_xavier

_LOGIT_GAIN = 0.1
"""Xavier gain of the final convolution."""


def init_semantic_head(trunk: nn.Module, logits: nn.Conv2d, norm: NormSpec) -> None:
    """Draw the weights of a semantic head: Xavier with the activation's gain, a small one at the
    end.

    Args:
        trunk: Holds all convolutions before the logits; may hold the logits' one as well.
        logits: The final convolution, drawn last.
        norm: Its activation sets the gain.
    """
    gain = activation_gain(norm.activation, norm.slope)
    for module in trunk.modules():
        if isinstance(module, nn.Conv2d):
            init_xavier(module, gain)
    init_xavier(logits, _LOGIT_GAIN)
