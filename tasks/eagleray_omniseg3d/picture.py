"""Pictures of rendered views and of selections."""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np
import numpy.typing as npt

from eagleray_omniseg3d.click.selection import color_features, feature_projection
from eagleray_omniseg3d.data import ClickSample
from eagleray_omniseg3d.model.view_rendering import RenderedView, ViewSample
from eagleray_omniseg3d.predict import ClickPrediction

RgbImage = npt.NDArray[np.uint8]

_MARK = (255, 40, 40)
_SELECTED = (40, 220, 90)


def view_pictures(sample: ViewSample, view: RenderedView) -> Mapping[str, RgbImage]:
    """Return a view's truth, rendering, depth and features, of one size."""
    pictures = {} if sample.rgb is None else {"truth": sample.rgb}
    pictures["prediction"] = to_bytes(view.rgb)
    pictures["depth"] = color_depth(view.depth)
    if view.features.shape[2]:
        projection = feature_projection(view.features.reshape(-1, view.features.shape[2]))
        pictures["features"] = to_bytes(color_features(view.features, projection))
    return pictures


def click_pictures(sample: ClickSample, prediction: ClickPrediction) -> Mapping[str, RgbImage]:
    """Return the reference view with the click, its true and its selected object."""
    image = sample.reference.rgb
    if image is None:
        return {}
    clicked = image.copy()
    cv2.drawMarker(clicked, (sample.column, sample.row), _MARK, cv2.MARKER_CROSS, 9, 2)
    return {
        "input": clicked,
        "truth": tint(image, sample.reference_mask),
        "prediction": tint(image, prediction.reference_mask),
    }


def tint(image: RgbImage, mask: npt.NDArray[np.bool_]) -> RgbImage:
    """Show a mask in color over an image whose rest is darkened."""
    out = (image // 3).astype(np.uint8)
    mixed = image[mask] * 0.5 + np.array(_SELECTED) * 0.5
    out[mask] = mixed.astype(np.uint8)
    return out


def color_depth(depth: npt.NDArray[np.float32]) -> RgbImage:
    """Show depths (H, W) from their smallest to their largest value in turbo colors, RGB."""
    low, high = float(depth.min()), float(depth.max())
    level = (255 * (depth - low) / max(high - low, 1e-8)).astype(np.uint8)
    return np.ascontiguousarray(cv2.applyColorMap(level, cv2.COLORMAP_TURBO)[:, :, ::-1])


def to_bytes(image: npt.NDArray[np.float32]) -> RgbImage:
    """Turn colors in [0, 1] into bytes."""
    return np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)
