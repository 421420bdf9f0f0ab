"""A smooth way of the camera through key positions, and the film that is seen along it.

Positions follow centripetal Catmull-Rom splines, which pass through every key without loops or
overshooting where keys lie unevenly (Barry and Goldman, SIGGRAPH 1988; Yuksel et al., 2011).
Orientations turn from key to key on the shortest way, with the ends of each turn eased by the same
time that the position takes.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from eagleray.task import Camera, RgbImage, SettingsError

FRAMES_PER_SECOND = 24
_ALPHA = 0.5
"""Centripetal: a span takes time with the root of its length."""
_STRAIGHT = 0.9995
"""Cosine of a turn so small that its sine would divide nothing by nothing."""
_Array = npt.NDArray[np.float64]


def cameras_along(keys: Sequence[Camera], count: int) -> list[Camera]:
    """Return cameras on the way through the keys, from the first to the last.

    Args:
        keys: Two key positions or more; the first one's image size is that of all.
        count: Cameras, 2 or more.

    Raises:
        SettingsError: There are fewer than two keys.
    """
    if len(keys) < 2:
        raise SettingsError(
            f"a camera path has two positions or more, {len(keys)} are kept: move the camera and "
            "add a view"
        )
    times = _times(keys)
    first = keys[0]
    cameras = []
    for time in np.linspace(0.0, times[-1], max(count, 2)).tolist():
        span = min(int(np.searchsorted(times, time, side="right")) - 1, len(keys) - 2)
        share = (time - times[span]) / (times[span + 1] - times[span])
        before, after = keys[span], keys[span + 1]
        x, y, z = _position(keys, times, span, time).tolist()
        qw, qx, qy, qz = _between(before.wxyz, after.wxyz, _eased(share)).tolist()
        fov = before.fov_rad + (after.fov_rad - before.fov_rad) * _eased(share)
        cameras.append(replace(first, position=(x, y, z), wxyz=(qw, qx, qy, qz), fov_rad=fov))
    return cameras


def _times(keys: Sequence[Camera]) -> _Array:
    """Return when each key is passed, (n,), from 0; keys at one place are apart all the same, so
    that the camera turns there.
    """
    places = np.array([key.position for key in keys], np.float64)
    lengths = np.linalg.norm(np.diff(places, axis=0), axis=1)
    least = max(float(lengths.max()) * 0.1, 1e-6)
    return np.concatenate([[0.0], np.cumsum(np.maximum(lengths, least) ** _ALPHA)])


def _position(keys: Sequence[Camera], times: _Array, span: int, time: float) -> _Array:
    """Return the place (3,) at a time in a span, by the pyramid of Barry and Goldman."""
    places = np.array([key.position for key in keys], np.float64)
    # Beyond the ends the way goes on as it came, which leaves the tangent there along the span.
    padded = np.concatenate([[2 * places[0] - places[1]], places, [2 * places[-1] - places[-2]]])
    knots = np.concatenate([[-times[1]], times, [2 * times[-1] - times[-2]]])
    p, t = padded[span : span + 4], knots[span : span + 4]
    for level in (1, 2):
        # The first level joins neighbors, the second what it made, over two spans.
        p = np.array([_mixed(p[i], p[i + 1], t[i], t[i + level], time) for i in range(len(p) - 1)])
    return _mixed(p[0], p[1], t[1], t[2], time)


def _mixed(a: _Array, b: _Array, begin: float, end: float, time: float) -> _Array:
    return ((end - time) * a + (time - begin) * b) / (end - begin)


def _eased(share: float) -> float:
    """Return a share of a turn that begins and ends at rest."""
    return share * share * (3.0 - 2.0 * share)


def _between(a: Sequence[float], b: Sequence[float], share: float) -> _Array:
    """Return the unit quaternion (4,) on the shortest way between two."""
    first, second = np.array(a, np.float64), np.array(b, np.float64)
    cosine = float(first @ second)
    if cosine < 0:  # q and -q are one orientation, the far way round
        second, cosine = -second, -cosine
    if cosine > _STRAIGHT:
        mixed = (1 - share) * first + share * second
    else:
        angle = np.arccos(cosine)
        mixed = np.sin((1 - share) * angle) * first + np.sin(share * angle) * second
    return np.asarray(mixed / np.linalg.norm(mixed), np.float64)


def encode_film(pictures: Iterable[RgbImage], frames_per_second: float) -> bytes:
    """Return pictures of one size as an MP4 (H.264).

    Args:
        pictures: RGB (H, W, 3) uint8, both sides even.
        frames_per_second: How fast it runs.

    Raises:
        SettingsError: The package imageio-ffmpeg is not installed.
    """
    try:
        import imageio_ffmpeg
    except ImportError as error:
        raise SettingsError(
            "films need the package imageio-ffmpeg: pip install imageio-ffmpeg"
        ) from error
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "film.mp4"
        writer: Any = None
        try:
            for picture in pictures:
                if writer is None:
                    size = (picture.shape[1], picture.shape[0])
                    writer = imageio_ffmpeg.write_frames(
                        str(path), size, fps=frames_per_second, codec="libx264", macro_block_size=2
                    )
                    writer.send(None)
                writer.send(np.ascontiguousarray(picture))
        finally:  # also where a rendering was given up: the program behind it ends
            if writer is not None:
                writer.close()
        return path.read_bytes() if path.exists() else b""
