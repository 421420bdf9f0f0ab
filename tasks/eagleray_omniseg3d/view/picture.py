"""What the viewer shows of a rendered view: depth, similarity, selections, objects, clicks."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from eagleray_omniseg3d.click.objects import IdArray
from eagleray_omniseg3d.click.selection import Prompt
from eagleray_omniseg3d.model.view_rendering import MIN_OPACITY, BoolImage, FloatImage, RenderedView
from eagleray_omniseg3d.picture import to_bytes
from eagleray_omniseg3d.scenes.poses import FloatArray

RgbImage = npt.NDArray[np.uint8]

_SPECK_SHARE_OF_IMAGE, _SPECK_SHARE_OF_LARGEST = 5e-4, 0.05
"""Regions below both shares of the area are specks."""
_UNSELECTED = 0.6
"""Brightness of what is not selected."""
_OUTLINE = (255, 196, 0)
_POSITIVE, _NEGATIVE, _RING = (36, 200, 90), (230, 50, 50), (255, 255, 255)
_OBJECT_SHARE = 0.65
"""How much of an object's color covers the image."""
_DEPTH_QUANTILES = (0.01, 0.99)
_GOLDEN_ANGLE_DEG = 137.508


def show_depth(view: RenderedView) -> RgbImage:
    """Return depths in turbo colors, near to far between their outermost percents; empty is
    black.
    """
    solid = view.solid
    depth = view.depth / np.maximum(view.opacity, np.float32(MIN_OPACITY))
    if not solid.any():
        return np.zeros((*depth.shape, 3), np.uint8)
    near, far = np.quantile(depth[solid], _DEPTH_QUANTILES)
    level = np.clip((depth - near) / max(float(far - near), 1e-8), 0, 1)
    return _turbo(level) * solid[:, :, None].astype(np.uint8)


def show_similarity(view: RenderedView, similarity: FloatImage, chosen: BoolImage) -> RgbImage:
    """Return similarities (H, W) in turbo colors, 0 to 1; what is not chosen is darker."""
    color = _turbo(np.clip(similarity, 0, 1)) * (view.solid)[:, :, None]
    return np.where(chosen[:, :, None], color, color * _UNSELECTED).astype(np.uint8)


def without_specks(chosen: BoolImage) -> BoolImage:
    """Return a selection (H, W) without tiny regions and tiny holes.

    At low thresholds pixels on edges, whose features mix two things, pass here and there. Specks
    are judged beside the largest region, so that a thing that is small itself stays.
    """
    kept = chosen
    for is_hole in (False, True):
        part = (~kept if is_hole else kept).astype(np.uint8)
        count, regions, facts, _ = cv2.connectedComponentsWithStats(part, connectivity=8)
        areas = facts[:, cv2.CC_STAT_AREA]
        largest = int(np.asarray(kept).sum()) if is_hole else int(areas[1:].max(initial=0))
        most = min(_SPECK_SHARE_OF_IMAGE * kept.size, _SPECK_SHARE_OF_LARGEST * largest)
        is_speck = (areas < most) & (np.arange(count) > 0)
        kept = np.where(is_speck[regions], is_hole, kept)
    return np.asarray(kept, np.bool_)


def show_selection(view: RenderedView, chosen: BoolImage) -> RgbImage:
    """Return the colors of what is chosen, outlined, over a gray image."""
    rgb = to_bytes(view.rgb)
    gray = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY) * _UNSELECTED
    out = np.where(chosen[:, :, None], rgb, gray[:, :, None]).astype(np.uint8)
    thickness = max(1, round(chosen.shape[1] / 400))
    outlines, _ = cv2.findContours(chosen.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(out, outlines, -1, _OUTLINE, thickness, cv2.LINE_AA)
    return out


def show_cutout(view: RenderedView, chosen: BoolImage) -> RgbImage:
    """Return the colors of what is chosen over black, as the original's binary mode."""
    return to_bytes(view.rgb) * chosen[:, :, None].astype(np.uint8)


def show_objects(view: RenderedView, ids: IdArray) -> RgbImage:
    """Return objects (H, W), 0 = none, each in a color of its own over the image."""
    colors = _distinct_colors(int(ids.max(initial=0)))
    rgb = view.rgb * 255
    mixed = (1 - _OBJECT_SHARE) * rgb + _OBJECT_SHARE * colors[ids]
    return np.where(ids[:, :, None] > 0, mixed, rgb * _UNSELECTED).astype(np.uint8)


def mark_clicks(
    image: RgbImage,
    prompts: Sequence[Prompt],
    camera_matrix: FloatArray,
    world_from_cam: FloatArray,
) -> RgbImage:
    """Draw clicks where a camera sees them, positive ones green, negative ones red.

    Args:
        image: (H, W, 3) uint8 RGB.
        prompts: The clicks.
        camera_matrix: (3, 3) intrinsics in pixels.
        world_from_cam: (3, 4) pose, scene coordinates.
    """
    out = np.ascontiguousarray(image)
    radius = max(2, round(image.shape[1] / 100))
    for prompt in prompts:
        local = world_from_cam[:, :3].T @ (prompt.position - world_from_cam[:, 3])
        if local[2] <= 0:
            continue
        u, v, _ = camera_matrix @ (local / local[2])
        if not (0 <= u < image.shape[1] and 0 <= v < image.shape[0]):
            continue
        center = int(u), int(v)
        color = _POSITIVE if prompt.positive else _NEGATIVE
        cv2.circle(out, center, radius, _RING, -1, cv2.LINE_AA)
        cv2.circle(out, center, max(1, round(radius * 0.65)), color, -1, cv2.LINE_AA)
    return out


def _turbo(level: FloatImage) -> RgbImage:
    codes = np.rint(255 * level).astype(np.uint8)
    return np.ascontiguousarray(cv2.applyColorMap(codes, cv2.COLORMAP_TURBO)[:, :, ::-1])


def _distinct_colors(count: int) -> npt.NDArray[np.float64]:
    """Return (count + 1, 3) colors, hues spread by the golden angle; the first is black."""
    hues = (np.arange(count) * _GOLDEN_ANGLE_DEG) % 360
    hsv = np.stack([hues, np.full(count, 0.75), np.full(count, 0.95)], axis=1)
    rgb = cv2.cvtColor(hsv[None].astype(np.float32), cv2.COLOR_HSV2RGB)[0] if count else hsv
    return np.concatenate([np.zeros((1, 3)), rgb * 255.0])
