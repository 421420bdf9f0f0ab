"""An index of occupied voxels as codes, and the boxes in it that answer a text.

A row keeps the direction of each occupied voxel's feature as a product code. A text is compared
with the codebook once; a voxel then costs a sum of looked-up numbers (``pq_scores``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional as F

from eagleray.task import Hit, InputError, Rows
from eagleray_kernels import pq_scores
from eagleray_pop3d.model.config import GridSettings
from eagleray_pop3d.predict import FramePrediction
from eagleray_pop3d.voxels import FREE_LABEL
from eagleray_vision.codecs import codec_of_json, fit_codec
from eagleray_vision.codecs.product import ProductCodec

INDEX_SCHEMA: Mapping[str, str] = {
    "size_xyz": "list<int32>",
    "voxels": "binary",
    "codes": "binary",
    "fingerprint": "string",
}
"""``voxels``: int32, little-endian, place of each occupied voxel in the grid of ``size_xyz``;
``codes``: as many bytes per voxel as the codec has parts."""
FIT_FRAMES = 32
"""Key frames that the codebook is fitted on."""
_PARTS = 64
"""Bytes of a voxel, where features have as many channels."""
_VOXELS_PER_FRAME = 512
"""Voxels of a key frame that the fit sees."""
_TOP_SHARE = 0.001
"""Share of all voxels whose likeness counts as that of the thing itself."""
_VOXELS_IN_SCORE = 5
"""A box is as good as its so many likest voxels; one of fewer is filled up with the threshold."""
_TOUCHING = np.ones((3, 3, 3), dtype=np.int64)


def fit_voxel_codec(predictions: Iterable[FramePrediction]) -> dict[str, Any]:
    """Fit a codebook on the voxel features of some key frames; return it as JSON."""
    found = [_spread(one.voxel_features, _VOXELS_PER_FRAME) for one in predictions]
    vectors = F.normalize(torch.cat(found).float().cpu(), dim=1)
    if not len(vectors):
        raise InputError(
            "none of the key frames has an occupied voxel, so there is nothing to ask: train longer"
        )
    return fit_codec(f"pq{min(_PARTS, vectors.shape[1])}", vectors).to_json()


def index_row(prediction: FramePrediction, fitted: Mapping[str, Any]) -> dict[str, Any]:
    """Return the row of a key frame."""
    codec = _codec(fitted)
    codes = codec.encode(F.normalize(prediction.voxel_features.float().cpu(), dim=1))
    voxels = np.flatnonzero(prediction.labels != FREE_LABEL).astype("<i4")
    return {
        "size_xyz": list(prediction.labels.shape),
        "voxels": voxels.tobytes(),
        "codes": codes.values.numpy().tobytes(),
        "fingerprint": codes.fingerprint,
    }


@dataclass(frozen=True)
class IndexedFrame:
    """The occupied voxels of a key frame.

    Attributes:
        size_xyz: Voxels along x, y and z.
        voxels: ``(n,)`` int32 places in the flat grid.
        codes: ``(n, bytes)`` uint8.
    """

    size_xyz: tuple[int, int, int]
    voxels: npt.NDArray[np.int32]
    codes: Tensor

    @classmethod
    def of_row(cls, row: Mapping[str, Any], codec: ProductCodec) -> IndexedFrame:
        """Read a row of the index.

        Raises:
            InputError: Its codes are of another fit, or their length is not that of its voxels.
        """
        voxels = np.frombuffer(row["voxels"], dtype="<i4")
        content = np.frombuffer(row["codes"], dtype=np.uint8)
        width = codec.bytes_per_vector
        if row["fingerprint"] != codec.fingerprint or len(content) != len(voxels) * width:
            raise InputError(
                f"a row of the index has {len(content)} bytes of codes of the fit "
                f"{row['fingerprint']} for {len(voxels)} voxels; the codebook {codec.fingerprint} "
                f"has {width} bytes per voxel: delete the index, which is made again"
            )
        x, y, z = row["size_xyz"]
        codes = torch.from_numpy(content.reshape(len(voxels), width).copy())
        return cls((x, y, z), voxels, codes)

    def likeness(self, table: Tensor) -> npt.NDArray[np.float32]:
        """Return ``(n,)`` cosines with the text of a ``ProductCodec.score_table``."""
        if not len(self.codes):
            return np.zeros(0, dtype=np.float32)
        return pq_scores(self.codes, table).numpy()


@dataclass(frozen=True)
class Box:
    """Touching voxels that are like a text.

    Attributes:
        score: Mean likeness of the likest voxels.
        low: Lower corner in voxels (x, y, z).
        high: Upper corner, one beyond the last voxel.
        count: Voxels.
    """

    score: float
    low: tuple[int, int, int]
    high: tuple[int, int, int]
    count: int


def find_hits(
    vector: Tensor, index: Rows, units: Sequence[str], top: int, grid: GridSettings
) -> list[Hit]:
    """Return the boxes that are likest to a text.

    What is like it is decided over all key frames that are asked: more than halfway from the
    median voxel to the likest thousandth.

    Args:
        vector: ``(D,)`` of the text, of length 1.
        index: Rows of ``INDEX_SCHEMA``.
        units: Keys of the key frames.
        top: Most boxes.
        grid: The box of the grid, for places in metres.
    """
    codec = _codec(index.fitted())
    table = codec.score_table(vector.cpu())
    likeness = {key: IndexedFrame.of_row(index[key], codec).likeness(table) for key in units}
    everything = np.concatenate([np.zeros(0, np.float32), *likeness.values()])
    if not len(everything):
        return []
    threshold = middle_threshold(everything)
    # No box is better than the likest voxels of its key frame, so the others cannot come in.
    best = {key: _score(values, threshold) for key, values in likeness.items() if len(values)}
    hits: list[Hit] = []
    for key in sorted(best, key=lambda one: -best[one]):
        floor = hits[top - 1].score if len(hits) >= top else threshold
        if best[key] <= floor:
            break
        frame = IndexedFrame.of_row(index[key], codec)
        found = boxes(frame, likeness[key], threshold, floor)
        hits = sorted(hits + [_hit(key, one, frame, grid) for one in found], key=_worst_last)[:top]
    return hits


def _worst_last(hit: Hit) -> float:
    return -hit.score


def _score(likeness: npt.NDArray[np.floating[Any]], threshold: float) -> float:
    """Return the mean of the likest voxels; where there are too few, the threshold fills up."""
    likest = np.full(_VOXELS_IN_SCORE, threshold)
    count = min(len(likeness), _VOXELS_IN_SCORE)
    likest[:count] = np.partition(likeness, len(likeness) - count)[len(likeness) - count :]
    return float(np.maximum(likest, threshold).mean())


def middle_threshold(likeness: npt.NDArray[np.floating[Any]]) -> float:
    """Return the likeness halfway between the median voxel and the likest thousandth of all."""
    count = max(1, round(_TOP_SHARE * len(likeness)))
    likest = np.partition(likeness, len(likeness) - count)[-count:]
    return float(0.5 * (np.median(likeness) + likest.mean()))


def boxes(
    frame: IndexedFrame,
    likeness: npt.NDArray[np.floating[Any]],
    threshold: float,
    floor: float = -np.inf,
) -> list[Box]:
    """Return the touching groups of voxels that are at least so like a text.

    Args:
        frame: The voxels.
        likeness: ``(n,)`` of each.
        threshold: What is less like the text belongs to no group.
        floor: Groups without a voxel of this likeness are left out.
    """
    volume = np.full(frame.size_xyz, -np.inf, dtype=np.float32)
    volume.reshape(-1)[frame.voxels] = likeness
    groups, _ = ndimage.label(volume >= threshold, structure=_TOUCHING)
    places = ndimage.find_objects(groups)
    strong = groups.reshape(-1)[frame.voxels[likeness >= max(threshold, floor)]]
    found = []
    for number in np.unique(strong[strong > 0]).tolist():
        x, y, z = place = places[number - 1]
        values = volume[place][groups[place] == number]
        low, high = (x.start, y.start, z.start), (x.stop, y.stop, z.stop)
        found.append(Box(_score(values, threshold), low, high, len(values)))
    return found


def corners_m(hit: Hit) -> npt.NDArray[np.float64]:
    """Return the 8 corners ``(8, 3)`` of a hit's box in metres, x slowest, z fastest."""
    center = np.array([float(hit.values[f"{axis}_m"]) for axis in "xyz"])
    size = np.array([float(hit.values[f"size_{axis}_m"]) for axis in "xyz"])
    signs = np.stack(np.meshgrid(*[[-0.5, 0.5]] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    return center + signs * size


def decode_likeness(
    vector: Tensor, row: Mapping[str, Any], fitted: Mapping[str, Any]
) -> tuple[IndexedFrame, npt.NDArray[np.float32]]:
    """Return a key frame of the index and the likeness of its voxels to a text."""
    codec = _codec(fitted)
    frame = IndexedFrame.of_row(row, codec)
    return frame, frame.likeness(codec.score_table(vector.cpu()))


def _hit(key: str, box: Box, frame: IndexedFrame, grid: GridSettings) -> Hit:
    cell = np.array(grid.extent_m) / np.array(frame.size_xyz)
    low = np.array(grid.range_min_m) + np.array(box.low) * cell
    high = np.array(grid.range_min_m) + np.array(box.high) * cell
    values: dict[str, float | int | str] = {}
    for axis, middle in zip("xyz", 0.5 * (low + high), strict=True):
        values[f"{axis}_m"] = float(middle)
    for axis, side in zip("xyz", high - low, strict=True):
        values[f"size_{axis}_m"] = float(side)
    return Hit(key, box.score, {**values, "voxels": box.count})


def _codec(fitted: Mapping[str, Any]) -> ProductCodec:
    codec = codec_of_json(fitted)
    if not isinstance(codec, ProductCodec):
        raise InputError(f"an index has product codes, found {codec.spec.name}")
    return codec


def _spread(vectors: Tensor, count: int) -> Tensor:
    chosen = torch.linspace(0, max(0, len(vectors) - 1), min(count, len(vectors)))
    return vectors[chosen.round().long().to(vectors.device)]
