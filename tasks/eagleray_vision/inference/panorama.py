"""Classes of a panorama out of scores that come row by row, or of several views of it.

Resizing wraps around where it is asked to: the first and the last column are then interpolated
between each other, as all other columns are between their neighbors.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from eagleray.task import InputError
from eagleray_vision.images.opencv_resizing import resize_bilinear
from eagleray_vision.inference.windows import PredictWindows, Size, slide, sliding_windows
from eagleray_vision.sphere.directions import View, panorama_directions
from eagleray_vision.sphere.perspective import border_weight, view_pixels

_CHUNK_BYTES = 1 << 26
"""Full-size scores that are held at a time while classes are chosen."""
_FLOAT_BYTES = 4
_GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class SlidingRule:
    """How windows go over an image.

    Args:
        window_px: Side of the windows.
        stride_px: Step.
        wrap: Go around the seam.
        batch: Windows per forward pass.
        memory_gb: Most memory for scores, in GiB.
    """

    window_px: int
    stride_px: int
    wrap: bool
    batch: int = 1
    memory_gb: float = 2.0


@dataclass(frozen=True, slots=True)
class SlidingView:
    """One look at an image: resized, perhaps turned and mirrored.

    Args:
        image: ``(3, H, W)`` network input, padded at the bottom and right.
        valid_hw: Height and width before padding.
        shift: Columns that it was turned by (``roll(image, shift)``), before mirroring.
        is_mirrored: Whether it is mirrored left to right.
    """

    image: Tensor
    valid_hw: Size
    shift: int = 0
    is_mirrored: bool = False


def score_rows(
    views: Sequence[SlidingView], size_hw: Size, rule: SlidingRule, predict: PredictWindows
) -> Iterator[Tensor]:
    """Return the scores of an image by windows, averaged over its views.

    Args:
        views: At least one. One alone, as large as the result, is given out row by row.
        size_hw: Height and width of the result.
        rule: How windows go over each view.
        predict: The network.

    Yields:
        ``(K, rows, W)`` from the upper border down.

    Raises:
        InputError: Several views, or one of another size, whose scores together exceed the memory.
    """
    if len(views) == 1 and views[0].valid_hw == size_hw and not views[0].shift:
        (view,) = views
        if not view.is_mirrored:
            yield from _valid_rows(view, rule, predict)
            return
    total: Tensor | None = None
    for view in views:
        rows = []
        for part in _valid_rows(view, rule, predict):
            _check_memory(part.shape[0], [view.valid_hw, size_hw, size_hw], rule)
            rows.append(part)
        scores = torch.cat(rows, dim=1)
        scores = scores.flip(-1) if view.is_mirrored else scores
        scores = torch.roll(scores, -view.shift, dims=-1)
        scores = resize_scores(scores, size_hw, wrap=rule.wrap)
        total = scores if total is None else total.add_(scores)
    if total is not None:
        yield total / len(views)


def classes_of_rows(
    rows: Iterable[Tensor], network_hw: Size, size_hw: Size, *, wrap: bool
) -> npt.NDArray[np.int32]:
    """Resize scores bilinearly and take the best class of every pixel, while they come.

    Args:
        rows: ``(K, rows, W)`` scores from the upper border down.
        network_hw: Height and width of all of them.
        size_hw: Height and width of the result.
        wrap: Interpolate across the seam.

    Returns:
        ``size_hw`` int32, the first class on ties.
    """
    height, width = size_hw
    source = ((torch.arange(height) + 0.5) * (network_hw[0] / height) - 0.5).clamp(min=0)
    upper = source.floor().long().clamp(max=network_hw[0] - 1)
    lower, share = (upper + 1).clamp(max=network_hw[0] - 1), source - upper
    labels = np.empty(size_hw, dtype=np.int32)
    held: Tensor | None = None
    first, done = 0, 0
    for part in rows:
        held = part if held is None else torch.cat([held, part], dim=1)
        ready = int((lower < first + held.shape[1]).sum())
        step = max(1, _CHUNK_BYTES // (_FLOAT_BYTES * held.shape[0] * width))
        for start in range(done, ready, step):
            here = slice(start, min(start + step, ready))
            above, below = held[:, upper[here] - first], held[:, lower[here] - first]
            mixed = torch.lerp(above, below, share[here].to(held)[None, :, None])
            wide = resize_scores(mixed, (mixed.shape[1], width), wrap=wrap)
            labels[here] = wide.argmax(0).cpu().numpy()
        done = max(done, ready)
        if done < height:
            kept = min(int(upper[done]), first + held.shape[1])
            held, first = held[:, kept - first :].clone(), kept
        del part  # a row of windows is large, and the next one is made while this name lives
    return labels


def resize_scores(scores: Tensor, size_hw: Size, *, wrap: bool) -> Tensor:
    """Resize ``(K, h, w)`` bilinearly (corners not aligned), around the seam if asked to."""
    if (scores.shape[1], scores.shape[2]) == size_hw:
        return scores
    resized = F.interpolate(scores[None], size=size_hw, mode="bilinear", align_corners=False)[0]
    if not wrap:
        return resized
    ends = torch.stack([scores[..., -1], scores[..., 0]], dim=-1)
    tall = F.interpolate(ends[None], size=(size_hw[0], 2), mode="bilinear", align_corners=False)[0]
    for column, share in _across_seam(scores.shape[-1], size_hw[1]):
        resized[..., column] = torch.lerp(tall[..., 0], tall[..., 1], share)
    return resized


def resize_photo(
    photo: npt.NDArray[np.uint8], size_hw: Size, *, wrap: bool
) -> npt.NDArray[np.uint8]:
    """Resize ``(H, W, 3)`` as OpenCV does (bilinear), around the seam if asked to."""
    if photo.shape[:2] == size_hw:
        return photo
    resized = resize_bilinear(photo, size_hw)
    if not wrap:
        return resized
    # A strip around the seam, resized at the same positions in the same arithmetic, so that a
    # turned panorama becomes the same picture, turned.
    width, new = photo.shape[1], size_hw[1]
    period = width // math.gcd(width, new)
    reach = period * math.ceil(2 / period)
    strip = photo[:, np.arange(-reach, reach) % width]
    around = resize_bilinear(strip, (size_hw[0], 2 * reach * new // width))
    middle = around.shape[1] // 2
    for column, _ in _across_seam(width, new):
        from_seam = column if column < new // 2 else column - new
        resized[:, column] = around[:, middle + from_seam]
    return resized


def panorama_views(fov_deg: float, overlap: float, reach_deg: float) -> tuple[View, ...]:
    """Return square perspective views that cover a panorama.

    Args:
        fov_deg: Field of view of each.
        overlap: Share of a view that its neighbor sees too, 0 to below 1.
        reach_deg: Latitude that the panorama reaches, 90 for a whole sphere.
    """
    step = fov_deg * (1 - overlap)
    reach = max(0.0, reach_deg - fov_deg / 2)
    count = int(np.ceil(reach / step))
    pitches = [reach * index / max(count, 1) for index in range(-count, count + 1)]
    views = []
    for pitch in pitches:
        around = 360 * np.cos(np.radians(max(abs(pitch) - fov_deg / 2, 0.0)))
        number = max(int(np.ceil(around / step - 1e-9)), 3)
        views += [View(fov_deg, fov_deg, 360 * k / number, pitch) for k in range(number)]
    if reach_deg > fov_deg / 2 and reach + fov_deg / 2 >= 90:
        views += [View(fov_deg, fov_deg, 0, 90), View(fov_deg, fov_deg, 0, -90)]
    return tuple(views)


def fuse_views(
    scores: Iterable[Tensor], views: Sequence[View], size_hw: Size, rows: slice = slice(None)
) -> Tensor:
    """Lay the scores of perspective views over a panorama and average them.

    Args:
        scores: ``(K, v, v)`` of each view, in their order.
        views: Where each one looks.
        size_hw: Height and width of the whole sphere.
        rows: Rows of it that are wanted.

    Returns:
        ``(K, H, W)``, weighted towards the middle of each view; 0 where none looks.
    """
    directions = panorama_directions(size_hw)[rows]
    total: Tensor | None = None
    weights: Tensor | None = None
    for one, view in zip(scores, views, strict=True):
        side = one.shape[-1]
        columns, lines, seen = view_pixels(view, (side, side), directions)
        weight = np.where(seen, border_weight(columns, side) * border_weight(lines, side), 0.0)
        grid = np.stack([(2 * columns + 1) / side - 1, (2 * lines + 1) / side - 1], axis=-1)
        share = torch.from_numpy(weight).to(one)
        read = F.grid_sample(
            one[None],
            torch.from_numpy(np.clip(grid, -2, 2)).to(one)[None],
            mode="bilinear",
            padding_mode="border",
            align_corners=False,
        )[0]
        total = read.mul_(share) if total is None else total.add_(read.mul_(share))
        weights = share if weights is None else weights + share
    if total is None or weights is None:
        raise InputError("there is no view to fuse: give at least one")
    return total / weights.clamp(min=torch.finfo(weights.dtype).tiny)


def _valid_rows(view: SlidingView, rule: SlidingRule, predict: PredictWindows) -> Iterator[Tensor]:
    """Yield the rows of scores of one view without its padding."""
    size = (view.image.shape[1], view.image.shape[2])
    windows = sliding_windows(size, rule.window_px, rule.stride_px, wrap=rule.wrap)
    left = view.valid_hw[0]
    for part in slide(view.image, windows, predict, batch=rule.batch):
        _check_memory(part.shape[0], [(windows[0].height, size[1])], rule)
        if left > 0:
            yield part[:, :left, : view.valid_hw[1]]
        left -= part.shape[1]
        del part


def _check_memory(num_classes: int, sizes: Sequence[Size], rule: SlidingRule) -> None:
    needed = sum(_FLOAT_BYTES * num_classes * height * width for height, width in sizes)
    if needed > rule.memory_gb * _GIB:
        raise InputError(
            f"scores of {num_classes} classes need {needed / _GIB:.1f} GiB, more than memory_gb = "
            f"{rule.memory_gb}: raise it, make the input smaller, or look once (one scale, no "
            "flip, no rolls), which needs one row of windows only"
        )


def _across_seam(old: int, new: int) -> list[tuple[int, float]]:
    """Return the columns of a resized picture that lie between the last and the first one, and the
    share of the first.
    """
    found = []
    for column in range(new):
        source = (column + 0.5) * old / new - 0.5
        if source < 0:
            found.append((column, source + 1))
        else:
            break
    return found + [(new - 1 - column, 1 - share) for column, share in found]
