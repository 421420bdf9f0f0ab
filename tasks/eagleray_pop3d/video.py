"""Key frames one after the other as a film: photographs beside the occupancy seen from above."""

from __future__ import annotations

import base64
import io
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

Rgb = npt.NDArray[np.uint8]

FRAMES_PER_SECOND = 2.0
"""nuScenes' key frames: the film runs as fast as the drive did."""
_QUALITY = 92
_PICTURE = "jpeg"


def film_row(picture: Rgb) -> dict[str, str]:
    """Return a picture as what a row of an export can carry."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="JPEG", quality=_QUALITY)
    return {_PICTURE: base64.b64encode(buffer.getvalue()).decode()}


def film_of_rows(rows: Iterable[Mapping[str, Any]]) -> bytes:
    """Return the pictures of ``film_row``, in their order, as an MP4 (H.264)."""
    pictures = (np.asarray(Image.open(io.BytesIO(base64.b64decode(row[_PICTURE])))) for row in rows)
    return encode_film(pictures)


def encode_film(pictures: Iterable[Rgb], frames_per_second: float = FRAMES_PER_SECOND) -> bytes:
    """Return RGB pictures of one size ``(H, W, 3)``, both sides even, as an MP4 (H.264)."""
    # Imported here: only this format needs it, and it brings a program of its own.
    import imageio_ffmpeg

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "film.mp4"
        writer: Any = None
        for picture in pictures:
            if writer is None:
                size = (picture.shape[1], picture.shape[0])
                writer = imageio_ffmpeg.write_frames(
                    str(path), size, fps=frames_per_second, codec="libx264", macro_block_size=2
                )
                writer.send(None)
            writer.send(np.ascontiguousarray(picture))
        if writer is None:
            return b""
        writer.close()
        return path.read_bytes()
