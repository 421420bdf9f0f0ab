"""From a photograph to a class per pixel: windows around it, or views out of it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from eagleray.task import InputError
from eagleray_ops.data import goes_around, network_hw, network_image, normalized
from eagleray_ops.settings import OpsSettings
from eagleray_vision.images.opencv_resizing import resize_bilinear
from eagleray_vision.inference.panorama import (
    SlidingRule,
    SlidingView,
    classes_of_rows,
    fuse_views,
    panorama_views,
    score_rows,
)
from eagleray_vision.inference.windows import PredictWindows
from eagleray_vision.samples.semantic import SemanticPrediction, SemanticSample
from eagleray_vision.sphere.perspective import panorama_to_view

_GIB = 1 << 30
_KEPT_SHARE = 0.25
"""Share of the memory for scores that the kept ones may take."""
_HALF_BYTES = 2
_WHOLE_REACH_DEG = 90.0


def predict_image(
    sample: SemanticSample, predict: PredictWindows, settings: OpsSettings
) -> SemanticPrediction:
    """Predict one image.

    Args:
        sample: The image; other scales and perspective views need its photograph.
        predict: Maps network inputs ``(n, 3, h, w)`` to scores of the classes ``(n, K, h, w)``; it
            is given images on the device of the sample's.
        settings: Settings of the experiment.

    Returns:
        Classes at the size of the labels, else of the photograph, and the scores if there is room.

    Raises:
        InputError: The photograph is needed and not there, or is no panorama; scores exceed the
            memory.
    """
    size = _photo_hw(sample)
    network = network_hw(size, settings)
    around = goes_around(size, settings)
    if settings.inference.views == "perspective":
        rows: Iterator[Tensor] = iter([_perspective_scores(sample, predict, settings)])
    else:
        rule = sliding_rule(size, settings)
        rows = score_rows(_looks(sample, settings), network, rule, predict)
    kept: list[Tensor] = []
    classes = classes_of_rows(
        _keeping(rows, network, kept, settings), network, sample.output_hw, wrap=around
    )
    scores = torch.cat(kept, dim=1).numpy() if kept else None
    return SemanticPrediction(classes, scores)


def sliding_rule(size_hw: tuple[int, int], settings: OpsSettings) -> SlidingRule:
    """Return how windows go over a photograph of a size."""
    inference = settings.inference
    return SlidingRule(
        inference.window_px,
        inference.stride_px,
        goes_around(size_hw, settings),
        inference.windows_at_once,
        inference.memory_gb,
    )


def _looks(sample: SemanticSample, settings: OpsSettings) -> list[SlidingView]:
    """Return every scale, turned and mirrored as the settings say."""
    inference, device = settings.inference, sample.image.device
    looks = []
    for scale in inference.scales:
        image = sample.image
        if scale != 1:
            image = network_image(_photo(sample), settings, scale).to(device)
        height, width = image.shape[1:]
        for roll in range(inference.rolls):
            shift = roll * width // inference.rolls
            turned = torch.roll(image, shift, dims=-1) if shift else image
            for is_mirrored in (False, True) if inference.flip else (False,):
                seen = turned.flip(-1) if is_mirrored else turned
                padded = _padded(seen, settings.input.pad_multiple_px)
                looks.append(SlidingView(padded, (height, width), shift, is_mirrored))
    return looks


def _padded(image: Tensor, multiple: int) -> Tensor:
    """Pad with zeros at the bottom and right, as the original does behind the normalization."""
    height, width = image.shape[1:]
    if height % multiple == 0 and width % multiple == 0:
        return image  # padding copies, and this may be the largest array that there is
    return F.pad(image, (0, -width % multiple, 0, -height % multiple))


def _perspective_scores(
    sample: SemanticSample, predict: PredictWindows, settings: OpsSettings
) -> Tensor:
    """Return ``(K, h, w)`` at the size of the network input, fused from views all around."""
    photo = _whole_sphere(_photo(sample))
    inference, sizes = settings.inference, settings.input
    reach = _WHOLE_REACH_DEG * min(1.0, 2 * sample.output_hw[0] / sample.output_hw[1])
    views = panorama_views(inference.view_fov_deg, inference.view_overlap, reach)
    side = inference.window_px

    def scores() -> Iterator[Tensor]:
        for view in views:
            crop = normalized(panorama_to_view(photo, view, (side, side)), sizes)
            padded = _padded(crop.to(sample.image.device), sizes.pad_multiple_px)
            yield predict(padded[None])[0, :, :side, :side]

    height, width = network_hw(_photo_hw(sample), settings)
    full = max(height, width // 2)
    first = (full - height) // 2
    return fuse_views(scores(), views, (full, width), slice(first, first + height))


def _whole_sphere(photo: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Repeat the first and last row of an annular panorama until it reaches the poles.

    Raises:
        InputError: The photograph is higher than a panorama.
    """
    height, width = photo.shape[:2]
    missing = width // 2 - height
    if missing < 0:
        if 2 * height - width > 1:
            raise InputError(
                f"inference.views perspective looks out of panorama, at least twice as wide as "
                f"high; this photograph is {width} x {height}: use views windows"
            )
        return resize_bilinear(photo, (width // 2, width))
    above = missing // 2
    return np.pad(photo, ((above, missing - above), (0, 0), (0, 0)), mode="edge")


def _keeping(
    rows: Iterator[Tensor], network: tuple[int, int], kept: list[Tensor], settings: OpsSettings
) -> Iterator[Tensor]:
    """Pass rows of scores on, and keep them in half precision where there is room for all."""
    room = _KEPT_SHARE * settings.inference.memory_gb * _GIB
    for part in rows:
        if _HALF_BYTES * part.shape[0] * network[0] * network[1] <= room:
            kept.append(part.detach().half().cpu())
        yield part
        del part  # it is large, and the next one is made while this name lives


def _photo(sample: SemanticSample) -> npt.NDArray[np.uint8]:
    if sample.photo is None:
        raise InputError(
            f"{sample.key}: other scales and perspective views are made from the photograph, and "
            "the sample comes without"
        )
    return sample.photo


def _photo_hw(sample: SemanticSample) -> tuple[int, int]:
    known = sample.image.shape[1:] if sample.photo is None else sample.photo.shape
    return (int(known[0]), int(known[1]))
