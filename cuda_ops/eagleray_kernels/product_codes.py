"""Vectors stored as product-quantisation codes (Jégou 2011, IEEE TPAMI 33(1)).

A vector is cut into M parts; each part is one byte, its row in a codebook of 256.
"""

import torch
from torch import Tensor

from eagleray_kernels import twin
from eagleray_kernels.dispatch import LIBRARY, define_operator, uses_compiled
from eagleray_kernels.errors import KernelInputError, require_shape

define_operator("pq_decode(Tensor codes, Tensor codebook) -> Tensor")
define_operator("pq_decode_into(Tensor codes, Tensor codebook, Tensor(a!) decoded) -> ()")
define_operator("pq_scores(Tensor tables, Tensor codes) -> Tensor")

NUM_ENTRIES = 256
"""Rows of a part's codebook: all values of a byte."""


def pq_decode(codes: Tensor, codebook: Tensor, out: Tensor | None = None) -> Tensor:
    """Look up the parts of vectors in their codebooks; no gradient.

    Args:
        codes: (N, M) uint8.
        codebook: (M, 256, d) of any floating type.
        out: Where to, contiguous; None for new memory, which costs more than the lookups do where
            there is much of it.

    Returns:
        (N, M d) of the codebook's type.

    Raises:
        KernelInputError: if shapes or types do not fit.
    """
    _check_codes(codes)
    require_shape("codebook", codebook, (codes.shape[1], NUM_ENTRIES, "d"))
    if not codebook.dtype.is_floating_point:
        message = f"codebook must be of a floating type, found {codebook.dtype}"
        raise KernelInputError(message)
    if out is not None:
        _decode_into(codes, codebook.detach(), out)
        return out
    if uses_compiled(codes.device.type):
        return torch.ops.eagleray.pq_decode(codes, codebook.detach())
    return twin.pq_decode(codes, codebook.detach())


def _decode_into(codes: Tensor, codebook: Tensor, out: Tensor) -> None:
    require_shape("out", out, (codes.shape[0], codes.shape[1] * codebook.shape[2]))
    if out.dtype != codebook.dtype or not out.is_contiguous():
        message = f"out must be contiguous and {codebook.dtype}, found {out.dtype} {out.stride()}"
        raise KernelInputError(message)
    if uses_compiled(codes.device.type):
        torch.ops.eagleray.pq_decode_into(codes, codebook, out)
    else:
        twin.pq_decode_into(codes, codebook, out)


def pq_scores(codes: Tensor, table: Tensor) -> Tensor:
    """Sum each vector's entries in a table of its parts' products with a text; no gradient.

    The table holds, per part, the product of the 256 entries of the codebook with that part of the
    text's vector: the sum is the product of decoded vector and text, without decoding.

    Args:
        codes: (N, M) uint8.
        table: (M, 256) float32 or float64 of one text, or (T, M, 256) of several.

    Returns:
        (N,) or (N, T), of the table's type.

    Raises:
        KernelInputError: if shapes or types do not fit.
    """
    _check_codes(codes)
    shape: tuple[int | str, ...] = (codes.shape[1], NUM_ENTRIES)
    require_shape("table", table, shape if table.dim() == 2 else ("T", *shape))
    if table.dtype not in (torch.float32, torch.float64):
        message = f"table must be float32 or float64, found {table.dtype}"
        raise KernelInputError(message)
    # Texts last: one code then reads the values of all texts from one place.
    tables = table.detach().reshape(-1, codes.shape[1], NUM_ENTRIES).permute(1, 2, 0).contiguous()
    if uses_compiled(codes.device.type):
        scores = torch.ops.eagleray.pq_scores(tables, codes)
    else:
        scores = twin.pq_scores(tables, codes)
    return scores[:, 0] if table.dim() == 2 else scores


def _check_codes(codes: Tensor) -> None:
    require_shape("codes", codes, ("N", "M"))
    if codes.dtype != torch.uint8 or codes.shape[1] == 0:
        message = f"codes must be uint8 of 1 or more parts, found {codes.dtype} {codes.shape}"
        raise KernelInputError(message)


@torch.library.register_fake("eagleray::pq_decode", lib=LIBRARY)
def _decode_fake(codes: Tensor, codebook: Tensor) -> Tensor:
    return codebook.new_empty(codes.shape[0], codes.shape[1] * codebook.shape[2])


@torch.library.register_fake("eagleray::pq_decode_into", lib=LIBRARY)
def _decode_into_fake(codes: Tensor, codebook: Tensor, decoded: Tensor) -> None: ...


@torch.library.register_fake("eagleray::pq_scores", lib=LIBRARY)
def _scores_fake(tables: Tensor, codes: Tensor) -> Tensor:
    return tables.new_empty(codes.shape[0], tables.shape[2])
