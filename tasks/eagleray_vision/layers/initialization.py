"""Initial weights by activation (Glorot & Bengio, AISTATS 2010)."""

from torch import Tensor, nn

from eagleray_vision.layers.activated_norm import Activation


def init_xavier(module: nn.Module, gain: float) -> None:
    """Draw the weights of one layer from a Xavier normal distribution and zero its bias."""
    weight, bias = getattr(module, "weight", None), getattr(module, "bias", None)
    if isinstance(weight, Tensor):
        nn.init.xavier_normal_(weight, gain)
    if isinstance(bias, Tensor):
        nn.init.zeros_(bias)


def activation_gain(activation: Activation, slope: float) -> float:
    """Return the gain of an activation: sqrt(2 / (1 + slope^2)) of leaky_relu, 1 of identity."""
    if activation in ("leaky_relu", "relu"):
        return float(nn.init.calculate_gain(activation, slope))
    return 1.0
