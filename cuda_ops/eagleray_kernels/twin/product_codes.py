"""Product quantisation through index_select and embedding_bag."""

import torch
import torch.nn.functional as F
from torch import Tensor


def pq_decode(codes: Tensor, codebook: Tensor) -> Tensor:
    """Twin of `torch.ops.eagleray.pq_decode`."""
    parts, entries, size = codebook.shape
    rows = _rows(codes, entries).reshape(-1)
    decoded = codebook.reshape(parts * entries, size).index_select(0, rows)
    return decoded.reshape(codes.shape[0], parts * size)


def pq_decode_into(codes: Tensor, codebook: Tensor, decoded: Tensor) -> None:
    """Twin of `torch.ops.eagleray.pq_decode_into`."""
    parts, entries, size = codebook.shape
    rows = _rows(codes, entries).reshape(-1)
    target = decoded.view(-1, size)
    torch.index_select(codebook.reshape(parts * entries, size), 0, rows, out=target)


def pq_scores(tables: Tensor, codes: Tensor) -> Tensor:
    """Twin of `torch.ops.eagleray.pq_scores`."""
    parts, entries, texts = tables.shape
    rows = _rows(codes, entries)
    return F.embedding_bag(rows, tables.reshape(parts * entries, texts), mode="sum")


def _rows(codes: Tensor, entries: int) -> Tensor:
    """(N, M) rows of the parts' tables laid one after another."""
    return codes.long() + entries * torch.arange(codes.shape[1], device=codes.device)
