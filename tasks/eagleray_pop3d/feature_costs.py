"""What stored features cost in bytes and streamed ones in GPU-hours, before anything is computed.

Counts of matches and of operations are those of docs/originals/pop3d.md 4.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from eagleray.task import CostTable, Phase
from eagleray_pop3d.stored_features import INDEX_BYTES
from eagleray_vision.codecs import parse_codec

MATCHES_PER_PHOTOGRAPH = 3738
"""Lidar points that a camera of nuScenes sees."""
FLOP_PER_PHOTOGRAPH = 3.5e12
"""MaskCLIP+ at 1820 x 1024: 3 to 4 TFLOP."""
FLOP_PER_SECOND = 8e13
"""What an H200 does of it in bf16: about 2.5 GPU-hours for all 204 894 photographs of trainval."""
ALL_CODECS = ("fp32", "fp16", "uint8", "pca128", "pca128u8", "pq64", "pq32", "ipq64", "ipq32")
"""Those of the table in docs/originals/pop3d.md 4."""


@dataclass(frozen=True)
class StoreCost:
    """One line of the table.

    Attributes:
        codec: Its name.
        bytes_per_match: Bytes of a vector, without point and camera, with its share of what is kept
            of each photograph.
        codes_gb: All vectors, GB of 1e9 bytes.
        index_gb: Points and cameras beside them, alike for all codecs.
    """

    codec: str
    bytes_per_match: float
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
        for size in (_bytes_per_match(name, channels),)
    ]


def _bytes_per_match(name: str, channels: int) -> float:
    codec = parse_codec(name)
    shared = codec.bytes_per_image(channels) / MATCHES_PER_PHOTOGRAPH
    return codec.bytes_per_vector(channels) + shared


def gpu_hours(num_photographs: int, passes: float = 1.0) -> float:
    """Return hours of an H200 that MaskCLIP+ needs for so many passes over photographs: one where
    features are stored, one per epoch where they are streamed.
    """
    return num_photographs * passes * FLOP_PER_PHOTOGRAPH / FLOP_PER_SECOND / 3600


def cost_table(
    num_key_frames: int, num_cameras: int, phases: Sequence[Phase], *, chosen: str
) -> CostTable:
    """Return the table: all codecs, the chosen one marked, beside the hours of streaming.

    Args:
        num_key_frames: Key frames with features.
        num_cameras: Cameras of the rig.
        phases: How long training reads them.
        chosen: The codec of the settings.
    """
    photographs, epochs = num_key_frames * num_cameras, num_epochs(phases, num_key_frames)
    names = dict.fromkeys((*ALL_CODECS, chosen))
    once = f"{gpu_hours(photographs):.1f}"
    rows = [
        (
            one.codec + (" <- chosen" if one.codec == chosen else ""),
            f"{one.bytes_per_match:.4g}",
            f"{one.codes_gb:.1f}",
            f"{one.codes_gb + one.index_gb:.1f}",
            once,
        )
        for one in store_costs(photographs, codecs=list(names))
    ]
    streamed = ("streamed, any codec", "0", "0.0", "0.0", f"{gpu_hours(photographs, epochs):.1f}")
    return CostTable(
        f"features of {photographs:,} photographs (features.codec, prepare.materialise)",
        ("codec", "bytes per match", "codes, GB", "with indices, GB", "GPU-hours"),
        (*rows, streamed),
        f"GPU-hours: of an H200 in bf16, {FLOP_PER_PHOTOGRAPH:.1e} operations per photograph, read "
        f"from files none; streamed: over {epochs:.3g} epochs, less what prepare.cache_gb keeps",
    )


def num_epochs(phases: Sequence[Phase], num_key_frames: int) -> float:
    """Return how often training reads each key frame; once where nothing is trained.

    Example:
        >>> num_epochs([Phase(steps=100, batch_size=8), Phase(epochs=3)], 400)
        5.0
    """
    passes = sum(
        one.epochs
        if one.steps is None and one.epochs is not None
        else (one.steps or 0) * one.batch_size / max(num_key_frames, 1)
        for one in phases
    )
    return float(passes) or 1.0
