"""Masks of one image -> disjoint patches and their correlation (OmniSeg3D, section 3.2).

Masks are sorted by ascending area. A mask that lies almost inside a later one is absorbed into
it, so that nested masks nest exactly. Pixels covered by the same masks form a patch; the
correlation of two patches is the number of masks that hold both.

Absorbing only joins whole patches of the original masks, so all of it happens on the table of
distinct mask columns, weighted by their pixel counts, and never on pixels. Columns get their
lexicographic rank (first mask most significant) by refining the ranks with a few masks at a time.

Legend of shape suffixes: N masks, P patches, X pixels.
"""

from __future__ import annotations

import io
import struct
import tokenize
import zipfile
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from eagleray_omniseg3d.errors import MaskError

ABSORB_OVERLAP = 0.9
"""Share of a mask that must lie in a larger one for the larger to absorb it (original run_sam)."""
_RANK_BITS = 40
"""Bits of a 64-bit code kept for the rank of a column; the rest takes mask bits."""
_CHUNK = 63 - _RANK_BITS
_ROWS_AT_ONCE = 1024
"""Rows of the correlation computed at a time, which bounds the memory of wide counts."""

BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.integer[Any]]


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """Patches of one image.

    Args:
        indices: (H, W) patch id per pixel; int16 as in the original, int32 for more than 32767
            patches.
        correlation: (P, P) uint8, number of masks that hold both patches.
        num_masks: Masks that it was made from; -1 where a file does not say.
    """

    indices: IntArray
    correlation: npt.NDArray[np.uint8]
    num_masks: int = -1

    @property
    def num_patches(self) -> int:
        """Number of patch ids, the background included."""
        return int(self.correlation.shape[0])


def build_hierarchy(
    masks: BoolArray, *, absorb_overlap: float = ABSORB_OVERLAP, faithful: bool = True
) -> Hierarchy:
    """Turn the masks of an image into patches and their correlation.

    Args:
        masks: (N, H, W) bool in any order; N may be 0.
        absorb_overlap: A mask is absorbed by a larger one that holds more than this share of it.
        faithful: Keep the original's ids and counts: id 0 is the background only if some pixel is
            covered by no mask, counts wrap at 256. Otherwise id 0 is always the background
            (training drops id 0) and counts stop at 255.

    Raises:
        MaskError: The masks are no (N, H, W) booleans, or ``faithful`` has more patches than
            int16 holds.

    Example:
        >>> masks = np.array([[[True, False]], [[True, True]]])
        >>> hierarchy = build_hierarchy(masks)
        >>> hierarchy.indices.tolist(), hierarchy.correlation.tolist()
        ([[0, 1]], [[1, 1], [1, 2]])
    """
    if masks.ndim != 3 or masks.dtype != np.bool_:
        raise MaskError(f"masks must be (N, H, W) bool, found {masks.dtype} {masks.shape}")
    height, width = masks.shape[1:]
    masks_NX = masks.reshape(len(masks), height * width)
    areas_N = np.count_nonzero(masks_NX, axis=1)
    rank_X, columns_NP = distinct_columns(masks_NX[np.argsort(areas_N, kind="stable")])
    sizes_P = np.bincount(rank_X, minlength=columns_NP.shape[1])
    columns_NP = absorb(columns_NP, sizes_P, absorb_overlap)
    merged_P, columns_NP = distinct_columns(columns_NP)
    if not faithful and (columns_NP.shape[1] == 0 or columns_NP[:, 0].any()):
        columns_NP = np.pad(columns_NP, ((0, 0), (1, 0)))
        merged_P = merged_P + 1
    indices = merged_P[rank_X].reshape(height, width)
    return Hierarchy(
        _as_patch_ids(indices, columns_NP.shape[1], faithful=faithful),
        _correlate(columns_NP, faithful=faithful),
        len(masks),
    )


def distinct_columns(table_NX: BoolArray) -> tuple[npt.NDArray[np.int64], BoolArray]:
    """Return the lexicographic rank of every column (first row most significant) and the columns.

    The same as ``numpy.unique(table, axis=1, return_inverse=True)``, in memory of a few words per
    column.

    Args:
        table_NX: (N, X) bool.

    Returns:
        (X,) int64 ranks, and (N, P) bool distinct columns in that order.
    """
    num_rows, num_columns = table_NX.shape
    rank_X = np.zeros(num_columns, np.int64)
    for first in range(0, num_rows, _CHUNK):
        code_X = rank_X
        for row_X in table_NX[first : first + _CHUNK]:
            code_X = (code_X << 1) | row_X
        rank_X = _rank(code_X)
    example_P = np.zeros(int(rank_X.max(initial=-1)) + 1, np.int64)
    example_P[rank_X] = np.arange(num_columns)
    return rank_X, np.ascontiguousarray(table_NX[:, example_P])


def absorb(columns_NP: BoolArray, sizes_P: IntArray, overlap: float) -> BoolArray:
    """Let every mask be absorbed by the later masks that hold more than ``overlap`` of it.

    Masks are taken in order, each in its current, already enlarged form; the comparison is strict.

    Args:
        columns_NP: (N, P) bool, masks by ascending area as unions of patches.
        sizes_P: (P,) pixels per patch.
        overlap: Share in [0, 1].

    Returns:
        (N, P) bool, the enlarged masks.
    """
    masks_NP = columns_NP.copy()
    for m, mask_P in enumerate(masks_NP):
        weight_P = np.where(mask_P, sizes_P, 0).astype(np.float64)
        later_NP = masks_NP[m + 1 :]
        shared_N = later_NP.astype(np.float64) @ weight_P
        later_NP[shared_N > overlap * weight_P.sum()] |= mask_P
    return masks_NP


def write_npz(hierarchy: Hierarchy) -> bytes:
    """Return the hierarchy as a file in the original's layout: ``indices`` and ``correlation``."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, indices=hierarchy.indices, correlation=hierarchy.correlation)
    return buffer.getvalue()


def read_npz(content: bytes, name: str) -> Hierarchy:
    """Read a hierarchy in the original's layout.

    Args:
        content: Bytes of the npz file.
        name: Its name in error messages.

    Raises:
        MaskError: It is no such file, or ids and correlation do not fit together.
    """
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            indices, correlation = file["indices"], file["correlation"]
    except (
        AttributeError,
        EOFError,
        KeyError,
        MemoryError,
        OSError,
        OverflowError,
        RuntimeError,
        SyntaxError,
        TypeError,
        ValueError,
        struct.error,
        tokenize.TokenError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:  # whatever NumPy's reader and the archive's raise over damaged bytes
        raise MaskError(
            f"{name} is no hierarchy (npz with 'indices' and 'correlation'): {error}; "
            "prepare it again"
        ) from error
    size = correlation.shape[0] if correlation.ndim == 2 else -1
    if not all(part.dtype.kind in "biu" for part in (indices, correlation)):
        raise MaskError(
            f"{name}: indices are {indices.dtype} and correlation {correlation.dtype}, both must "
            "be whole numbers; prepare it again"
        )
    if indices.ndim != 2 or correlation.shape != (size, size):
        raise MaskError(
            f"{name}: indices {indices.shape} and correlation {correlation.shape} must be "
            "(H, W) and (P, P)"
        )
    if indices.size and not 0 <= int(indices.min()) <= int(indices.max()) < size:
        raise MaskError(
            f"{name}: patch ids {indices.min()}..{indices.max()}, "
            f"but the correlation has {size} rows"
        )
    return Hierarchy(indices, correlation.astype(np.uint8, copy=False))


def _rank(code_X: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Rank integers densely; neighbors are mostly equal, so only run heads are sorted."""
    if code_X.size == 0:
        return code_X
    heads = np.flatnonzero(np.concatenate(([True], code_X[1:] != code_X[:-1])))
    _, rank = np.unique(code_X[heads], return_inverse=True)
    return np.repeat(rank.astype(np.int64), np.diff(np.append(heads, code_X.size)))


def _as_patch_ids(indices: IntArray, num_patches: int, *, faithful: bool) -> IntArray:
    if num_patches - 1 <= np.iinfo(np.int16).max:
        return indices.astype(np.int16)
    if faithful:
        raise MaskError(
            f"{num_patches} patches do not fit into the original's int16 ids (at most "
            f"{np.iinfo(np.int16).max + 1}); set faithful: false, or use fewer masks"
        )
    return indices.astype(np.int32)


def _correlate(columns_NP: BoolArray, *, faithful: bool) -> npt.NDArray[np.uint8]:
    if columns_NP.shape[1] == 0:
        return np.zeros((0, 0), np.uint8)
    table_NP = columns_NP.astype(np.float32)
    correlation = np.empty((table_NP.shape[1],) * 2, np.uint8)
    for first in range(0, len(correlation), _ROWS_AT_ONCE):
        rows = slice(first, first + _ROWS_AT_ONCE)
        counts = (table_NP[:, rows].T @ table_NP).astype(np.int64)
        correlation[rows] = counts % 256 if faithful else np.minimum(counts, 255)
    return correlation
