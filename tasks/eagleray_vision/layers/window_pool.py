"""Average pooling with a large sliding window, at a cost that does not depend on the window."""

import torch
from torch import Tensor
from torch.nn import functional as F


def _window_means(x: Tensor, window: int) -> Tensor:
    """Average every ``window`` successive values of the last axis (differences of prefix sums)."""
    sums = F.pad(x.cumsum(-1), (1, 0))
    return (sums[..., window:] - sums[..., :-window]) / window


def _repeat_borders(x: Tensor, before: int, after: int) -> Tensor:
    """Repeat the first and the last value of the last axis.

    Not by replication padding: what compiled code expects of its gradient's strides is wrong for
    channels-last maps.
    """
    shape = x.shape[:-1]
    first, last = x[..., :1].expand(*shape, before), x[..., -1:].expand(*shape, after)
    return torch.cat([first, x, last], dim=-1)


def window_average_pool(x: Tensor, window: tuple[int, int]) -> Tensor:
    """Average over a sliding window and repeat the border values back to the input's size.

    The window is cut to the map's size, moves with stride 1 inside of the map, and its result is
    extended by replication: before by (k - 1) // 2 cells for a window of k, after by as many, and
    one more for an even k.

    Args:
        x: ``(n, c, h, w)``. The half types are summed in float32.
        window: Height and width of the window in cells.

    Returns:
        ``(n, c, h, w)`` of x's type.

    Example:
        >>> window_average_pool(torch.tensor([[[[0.0, 2.0, 4.0]]]]), (1, 3)).tolist()
        [[[[2.0, 2.0, 2.0]]]]
    """
    height, width = min(window[0], x.shape[2]), min(window[1], x.shape[3])
    wide = x if x.dtype in (torch.float32, torch.float64) else x.float()
    means = _window_means(_window_means(wide, width).mT, height).mT
    rows = _repeat_borders(means.mT, (height - 1) // 2, (height - 1) // 2 + (height % 2 == 0))
    padded = _repeat_borders(rows.mT, (width - 1) // 2, (width - 1) // 2 + (width % 2 == 0))
    return padded.to(x.dtype)
