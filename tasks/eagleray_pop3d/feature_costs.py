"""What stored features cost in bytes and streamed ones in GPU-hours, before anything is computed.

Counts of matches and of operations are those of docs/originals/pop3d.md 4.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from eagleray_pop3d.stored_features import INDEX_BYTES
from eagleray_vision.codecs import parse_codec

MATCHES_PER_PHOTOGRAPH = 3738
"""Lidar points that a camera of nuScenes sees."""
FLOP_PER_PHOTOGRAPH = 3.5e12
"""MaskCLIP+ at 1820 x 1024: 3 to 4 TFLOP."""
FLOP_PER_SECOND = 8e13
"""What an H200 does of it in bf16: about 2.5 GPU-hours for all 204 894 photographs of trainval."""
ALL_CODECS = ("fp32", "fp16", "uint8", "pca128", "pca128u8", "pq64", "pq32")
"""Those of the table in docs/originals/pop3d.md 4."""


@dataclass(frozen=True)
class StoreCost:
    """One line of the table.

    Attributes:
        codec: Its name.
        bytes_per_match: Bytes of a vector, without point and camera.
        codes_gb: All vectors, GB of 1e9 bytes.
        index_gb: Points and cameras beside them, alike for all codecs.
    """

    codec: str
    bytes_per_match: int
    codes_gb: float
    index_gb: float


def store_costs(
    num_photographs: int, *, channels: int = 512, codecs: Sequence[str] = ALL_CODECS
) -> list[StoreCost]:
    """Return what each codec needs for so many photographs.

    Example:
        >>> [round(one.codes_gb) for one in store_costs(204_894, codecs=["fp32", "pq64"])]
        [1569, 49]
    """
    matches = num_photographs * MATCHES_PER_PHOTOGRAPH
    return [
        StoreCost(name, size, 1e-9 * matches * size, 1e-9 * matches * INDEX_BYTES)
        for name in codecs
        for size in (parse_codec(name).bytes_per_vector(channels),)
    ]


def gpu_hours(num_photographs: int, passes: float = 1.0) -> float:
    """Return hours of an H200 that MaskCLIP+ needs for so many passes over photographs: one where
    features are stored, one per epoch where they are streamed.
    """
    return num_photographs * passes * FLOP_PER_PHOTOGRAPH / FLOP_PER_SECOND / 3600


def cost_table(num_key_frames: int, num_cameras: int, *, epochs: float, chosen: str) -> str:
    """Return the table as text: all codecs, the chosen one marked, and the hours of streaming.

    Args:
        num_key_frames: Key frames with features.
        num_cameras: Cameras of the rig.
        epochs: How often training reads each of them.
        chosen: The codec of the settings.
    """
    photographs = num_key_frames * num_cameras
    names = dict.fromkeys((*ALL_CODECS, chosen))
    lines = [f"{'codec':<12}{'bytes':>7}{'codes':>12}{'with indices':>15}"]
    for one in store_costs(photographs, codecs=list(names)):
        mark = " <- chosen" if one.codec == chosen else ""
        lines.append(
            f"{one.codec:<12}{one.bytes_per_match:>7}{one.codes_gb:>9.1f} GB"
            f"{one.codes_gb + one.index_gb:>12.1f} GB{mark}"
        )
    lines.append(
        f"stored: {gpu_hours(photographs):.1f} GPU-hours once; streamed: nothing stored, "
        f"{gpu_hours(photographs, epochs):.1f} GPU-hours over {epochs:g} epochs (H200, bf16)"
    )
    return "\n".join(lines)
