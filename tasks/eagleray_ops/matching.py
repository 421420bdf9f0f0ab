"""Which query answers for which segment: masks compared at random points, matched at least cost.

A segment is all pixels of one class in one image (OPS, as Mask2Former trains semantics). Points are
(x, y) in 0..1 over the whole image, so that masks of the adapter's grid and labels of the input's
can be read at the same places (docs/originals/ops.md, section 7).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn import functional as F

from eagleray_ops.settings import LossSettings

VOID = 255
"""Label of pixels that belong to no segment."""

_WORST_COST = 1e6
"""Cost of a pair whose cost is no number, in a step that will be skipped."""


@dataclass(frozen=True)
class Segments:
    """The segments of one image.

    Attributes:
        labels: ``(H, W)`` integer classes, 255 where there is none.
        classes: ``(n,)`` int64, the classes that occur, ascending.
    """

    labels: Tensor
    classes: Tensor

    @classmethod
    def of(cls, labels: Tensor) -> Segments:
        """Find the segments of a label image, ``(H, W)``."""
        classes = torch.unique(labels).long()
        return cls(labels, classes[classes != VOID])

    def at(self, points: Tensor, chosen: Tensor) -> Tensor:
        """Read masks of segments between their pixels.

        The mask of a segment is 1 on its pixels and 0 elsewhere, outside of the image too, and
        read bilinearly. The four labels around a point are read once for all segments, so the masks
        themselves are never made.

        Args:
            points: ``(m, P, 2)``, or ``(1, P, 2)`` for the same ones in all masks.
            chosen: ``(m,)`` int64 indices into ``classes``.

        Returns:
            ``(m, P)`` float32 in 0..1.
        """
        height, width = self.labels.shape
        scale = torch.tensor([width, height], dtype=points.dtype, device=points.device)
        places = points * scale - 0.5
        corner = places.floor()
        part = places - corner
        wanted = self.classes[chosen][:, None]
        found = torch.zeros(len(chosen), points.shape[1], device=points.device)
        for right in (0, 1):
            for down in (0, 1):
                x, y = corner[..., 0] + right, corner[..., 1] + down
                inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
                across = part[..., 0] if right else 1 - part[..., 0]
                along = part[..., 1] if down else 1 - part[..., 1]
                columns, rows = x.clamp(0, width - 1).long(), y.clamp(0, height - 1).long()
                same = (self.labels[rows, columns] == wanted) & inside
                found += same * (across * along)
        return found


def read_masks(mask_logits: Tensor, points: Tensor) -> Tensor:
    """Read mask logits bilinearly; what lies outside of a map is 0.

    Args:
        mask_logits: ``(m, h, w)``.
        points: ``(m, P, 2)``, or ``(1, P, 2)`` for the same ones in all masks.

    Returns:
        ``(m, P)``.
    """
    grid = (2 * points - 1)[:, :, None].expand(len(mask_logits), -1, -1, -1)
    return F.grid_sample(mask_logits[:, None], grid.to(mask_logits), align_corners=False)[
        :, 0, :, 0
    ]


def matching_costs(
    class_logits: Tensor,
    mask_logits: Tensor,
    segments: Segments,
    points: Tensor,
    settings: LossSettings,
) -> Tensor:
    """Return what it costs to let a query answer for a segment.

    Args:
        class_logits: ``(Q, K + 1)`` of one image.
        mask_logits: ``(Q, h, w)``.
        segments: Of the image, n.
        points: ``(1, P, 2)`` where masks are compared.
        settings: Weights of the three costs.

    Returns:
        ``(3, Q, n)`` float32: weighted costs of class, mask and Dice.
    """
    every = torch.arange(len(segments.classes), device=points.device)
    truth = segments.at(points, every)
    logits = read_masks(mask_logits.float(), points)
    likely = class_logits.float().softmax(-1)[:, segments.classes]
    crossed = F.softplus(-logits) @ truth.T + F.softplus(logits) @ (1 - truth).T
    masks = logits.sigmoid()
    overlap = 2 * masks @ truth.T + 1
    dice = 1 - overlap / (masks.sum(-1)[:, None] + truth.sum(-1)[None] + 1)
    return torch.stack(
        [
            -settings.class_weight * likely,
            settings.mask_weight * crossed / points.shape[1],
            settings.dice_weight * dice,
        ]
    )


@torch.no_grad()
def match_queries(
    class_logits: Tensor,
    mask_logits: Tensor,
    segments: Segments,
    points: Tensor,
    settings: LossSettings,
) -> tuple[Tensor, Tensor]:
    """Match queries and segments of one image so that the sum of costs is the least.

    Computed in float32. Costs that are no numbers, as a step whose gradient has overflown can have,
    count as very high: the loss of that step is no number either, and the step is skipped.

    Args:
        class_logits: ``(Q, K + 1)``.
        mask_logits: ``(Q, h, w)``.
        segments: Of the image.
        points: ``(1, P, 2)``.
        settings: Weights of the costs.

    Returns:
        Indices of the matched queries, ascending, and of their segments, int64 on the logits'
        device.
    """
    device = class_logits.device
    with torch.autocast(device.type, enabled=False):
        costs = matching_costs(class_logits, mask_logits, segments, points, settings).sum(0)
    table = torch.nan_to_num(costs, _WORST_COST, _WORST_COST, -_WORST_COST).cpu().numpy()
    queries, indices = linear_sum_assignment(table)
    return (
        torch.from_numpy(np.asarray(queries, dtype=np.int64)).to(device),
        torch.from_numpy(np.asarray(indices, dtype=np.int64)).to(device),
    )
