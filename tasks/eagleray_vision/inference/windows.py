"""Windows that slide over an image, and the average of what a network says about them.

mmsegmentation's rule: windows begin every ``stride`` pixels, those that would reach beyond the
border are moved back inside, and a side that is shorter than the window is taken whole. Around a
panorama (``wrap``) they begin at equal steps instead and go on across the seam, so that no column
is a border. Scores are summed row of windows by row of windows: what no later window touches is
given out at once, so that memory holds one row of windows, however large the image is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from eagleray.task import SettingsError

Size = tuple[int, int]
PredictWindows = Callable[[Tensor], Tensor]
"""Maps windows ``(n, 3, h, w)`` to scores ``(n, K, h, w)``."""


@dataclass(frozen=True, slots=True)
class Window:
    """A window; its columns go on at column 0 where they pass the last one.

    Attributes:
        top: First row.
        left: First column.
        height: Rows.
        width: Columns.
    """

    top: int
    left: int
    height: int
    width: int

    def of(self, image: Tensor) -> Tensor:
        """Return its part of an image ``(..., H, W)``; a view where it does not cross the seam."""
        rows = image[..., self.top : self.top + self.height, :]
        beyond = self.left + self.width - image.shape[-1]
        if beyond <= 0:
            return rows[..., self.left : self.left + self.width]
        return torch.cat([rows[..., self.left :], rows[..., :beyond]], dim=-1)

    def add(self, total: Tensor, part: Tensor, first_row: int) -> None:
        """Add scores ``(..., height, width)`` to a map whose row 0 is ``first_row``."""
        rows = total[..., self.top - first_row : self.top - first_row + self.height, :]
        inside = min(self.width, total.shape[-1] - self.left)
        rows[..., self.left : self.left + inside] += part[..., :inside]
        if inside < self.width:
            rows[..., : self.width - inside] += part[..., inside:]


def sliding_windows(
    size_hw: Size, window_px: int, stride_px: int, *, wrap: bool = False
) -> list[Window]:
    """List the windows over an image, row by row.

    Args:
        size_hw: Height and width of the image.
        window_px: Side of a window.
        stride_px: Largest step from one window to the next.
        wrap: Go around: columns begin at equal steps and continue across the seam.

    Raises:
        SettingsError: The stride is longer than the window, so that pixels would be left out.

    Example:
        >>> [w.left for w in sliding_windows((4, 10), 4, 3)]
        [0, 3, 6]
        >>> [w.left for w in sliding_windows((4, 10), 4, 3, wrap=True)]
        [0, 2, 5, 8]
    """
    if not 0 < stride_px <= window_px:
        raise SettingsError(
            f"windows of {window_px} pixels at steps of {stride_px} leave pixels out; the stride "
            "is at least 1 and at most the window"
        )
    height, width = (min(side, window_px) for side in size_hw)
    tops = _starts(size_hw[0], window_px, stride_px)
    around = wrap and size_hw[1] > 1
    lefts = (
        _starts_around(size_hw[1], stride_px)
        if around
        else _starts(size_hw[1], window_px, stride_px)
    )
    return [Window(top, left, height, width) for top in tops for left in lefts]


def slide(
    image: Tensor, windows: Sequence[Window], predict: PredictWindows, *, batch: int = 1
) -> Iterator[Tensor]:
    """Average a network's scores over windows, from the upper border down.

    Args:
        image: ``(3, H, W)`` on the network's device.
        windows: `sliding_windows` of it.
        predict: The network.
        batch: Windows per forward pass.

    Yields:
        Scores ``(K, rows, W)`` of the next rows, all of them once and in order.
    """
    total: Tensor | None = None
    hits: Tensor | None = None
    done = 0
    for row in _rows_of_windows(windows):
        top, bottom = row[0].top, row[0].top + row[0].height
        if total is not None and hits is not None and top > done:
            count, done = top - done, top
            ready = total[:, :count].div_(hits[:count])
            # copies, so that what is given out does not live on as a part of what is kept
            total, hits = total[:, count:].clone(), hits[count:].clone()
            yield ready
            del ready
        for start in range(0, len(row), batch):
            group = row[start : start + batch]
            scores = predict(torch.stack([window.of(image) for window in group]))
            if total is None or hits is None:
                total = scores.new_zeros(scores.shape[1], 0, image.shape[2])
                hits = scores.new_zeros(0, image.shape[2])
            if total.shape[1] < bottom - done:
                more = bottom - done - total.shape[1]
                total = torch.cat([total, total.new_zeros(total.shape[0], more, total.shape[2])], 1)
                hits = torch.cat([hits, hits.new_zeros(more, hits.shape[1])])
            for window, part in zip(group, scores, strict=True):
                window.add(total, part, done)
                window.add(hits, torch.ones_like(part[0]), done)
    if total is not None and hits is not None:
        yield total.div_(hits)


def _starts(side: int, window_px: int, stride_px: int) -> list[int]:
    count = max(side - window_px + stride_px - 1, 0) // stride_px + 1
    return [max(min(index * stride_px, side - window_px), 0) for index in range(count)]


def _starts_around(width: int, stride_px: int) -> list[int]:
    # two at least: the seam of one window around the whole width lies inside of the other
    count = max(-(-width // stride_px), 2)
    return [index * width // count for index in range(count)]


def _rows_of_windows(windows: Sequence[Window]) -> Iterator[list[Window]]:
    row: list[Window] = []
    for window in windows:
        if row and row[0].top != window.top:
            yield row
            row = []
        row.append(window)
    if row:
        yield row
