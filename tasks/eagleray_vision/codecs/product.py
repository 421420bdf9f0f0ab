"""Product quantization (Jegou et al., TPAMI 2011), rotated if wanted (Ge et al., CVPR 2013).

A vector is cut into parts of equal length, and each part is replaced by the nearest of 256 centers.
Channels that do not divide evenly are filled up with zeros, so that the lookup is one kernel.
"""

from __future__ import annotations

import torch
from torch import Tensor

from eagleray_kernels import pq_decode
from eagleray_vision.codecs.codec import VectorCodec
from eagleray_vision.codecs.pca import principal_components

NUM_CENTERS = 256
LLOYD_ROUNDS = 15
_FIRST_ROUNDS, _ROTATION_ROUNDS = 4, 10
"""Rounds of centers alone, before, between and after turns of the rotation."""
CHUNK = 1 << 13
"""Vectors that are compared with all centers at once."""


class ProductCodec(VectorCodec):
    """State: ``centers`` (M, 256, d), ``places`` (C,) int64 column of each channel among the M d
    columns, and with a rotation ``mean`` (C,) and ``rotation`` (C, C), rows are the new axes.
    """

    def _encode(self, vectors: Tensor) -> Tensor:
        centers = self.state["centers"]
        if "rotation" in self.state:
            vectors = (vectors - self.state["mean"]) @ self.state["rotation"].T
        codes = [
            nearest_centers(cut_parts(part, self.state["places"], centers), centers)
            for part in torch.split(vectors, CHUNK)
        ]
        joined = torch.cat(codes, dim=1) if codes else vectors.new_zeros((len(centers), 0))
        return joined.T.to(torch.uint8).contiguous()

    def _decode(self, codes: Tensor) -> Tensor:
        centers, places = self.state["centers"], self.state["places"]
        vectors = pq_decode(codes, centers)
        if vectors.shape[1] != self.channels:
            vectors = vectors.index_select(1, places)
        if "rotation" not in self.state:
            return vectors
        return torch.addmm(self.state["mean"], vectors, self.state["rotation"])

    def score_table(self, vector: Tensor) -> Tensor:
        """Return (M, 256) products of all centers with their part of a (C,) vector: what
        ``eagleray_kernels.pq_scores`` adds up to the products of decoded vectors with it.
        """
        centers = self.state["centers"]
        vector, offset = vector.float(), vector.new_zeros(())
        if "rotation" in self.state:
            offset = self.state["mean"] @ vector
            vector = self.state["rotation"] @ vector
        parts = cut_parts(vector[None], self.state["places"], centers)[:, 0]
        return torch.einsum("mkd,md->mk", centers, parts) + offset / len(centers)


def fit_product(sample: Tensor, num_parts: int, *, rotate: bool, seed: int) -> dict[str, Tensor]:
    """Return the state of a `ProductCodec` for a (n, C) float32 sample on the CPU."""
    channels = sample.shape[1]
    places = part_places(channels, num_parts)
    shape = (num_parts, NUM_CENTERS, -(-channels // num_parts))
    generator = torch.Generator().manual_seed(seed)
    if not rotate:
        parts = cut_parts(sample, places, torch.empty(shape))
        centers = k_means(parts, first_centers(parts, generator), LLOYD_ROUNDS)
        return {"centers": centers, "places": places}
    # Rectified features lie along their own axes, others along principal ones: which start ends
    # better is seen on the sample.
    mean, axes = _balanced_axes(sample, num_parts)
    fits = [
        _rotated(sample - mean, start, places, torch.empty(shape), generator)
        for start in (torch.eye(channels), axes)
    ]
    _, centers, rotation = min(fits, key=lambda fit: fit[0])
    parts = cut_parts((sample - mean) @ rotation.T, places, centers)
    centers = k_means(parts, centers, LLOYD_ROUNDS)
    return {"centers": centers, "places": places, "mean": mean, "rotation": rotation}


def _rotated(
    centered: Tensor,
    rotation: Tensor,
    places: Tensor,
    like: Tensor,
    generator: torch.Generator,
) -> tuple[float, Tensor, Tensor]:
    """Improve centers and rotation in turns; return the squared error, centers and rotation."""
    parts = cut_parts(centered @ rotation.T, places, like)
    centers = k_means(parts, first_centers(parts, generator), _FIRST_ROUNDS)
    for _ in range(_ROTATION_ROUNDS):
        decoded = _looked_up(parts, centers)[:, places]
        # Procrustes: the rotation that brings the sample nearest to what its codes mean.
        left, _, right = torch.linalg.svd(decoded.double().T @ centered.double())
        rotation = (left @ right).float()
        parts = cut_parts(centered @ rotation.T, places, like)
        centers = k_means(parts, centers, 1)
    error = (_looked_up(parts, centers)[:, places] - centered @ rotation.T).square().sum()
    return float(error), centers, rotation


def _looked_up(parts: Tensor, centers: Tensor) -> Tensor:
    """Return (n, M d) what the codes of (M, n, d) parts mean."""
    found = torch.cat([nearest_centers(p, centers) for p in torch.split(parts, CHUNK, 1)], dim=1)
    return pq_decode(found.T.to(torch.uint8).contiguous(), centers)


def k_means(parts: Tensor, centers: Tensor, rounds: int) -> Tensor:
    """Return centers after some rounds of Lloyd's algorithm, all parts at once.

    A center without points goes to the point that is farthest from its own.

    Args:
        parts: (M, n, d) float32.
        centers: (M, K, d) to begin with.
        rounds: How many.
    """
    num_parts, count, size = parts.shape
    for _ in range(rounds):
        nearest = nearest_centers(parts, centers)
        at = nearest + centers.shape[1] * torch.arange(num_parts)[:, None]
        sums = torch.zeros((num_parts * centers.shape[1], size), dtype=torch.float64)
        sums.index_add_(0, at.reshape(-1), parts.reshape(-1, size).double())
        counts = torch.bincount(at.reshape(-1), minlength=len(sums))
        means = (sums / counts[:, None].clamp(min=1)).float().reshape_as(centers)
        is_empty = (counts == 0).reshape(num_parts, -1)
        for part in torch.nonzero(is_empty.any(dim=1)).flatten().tolist():
            own = means[part][nearest[part]]
            far = (parts[part] - own).square().sum(dim=1).argsort(descending=True, stable=True)
            empty = torch.nonzero(is_empty[part]).flatten()[:count]
            means[part, empty] = parts[part, far[: len(empty)]]
        centers = means
    return centers


def nearest_centers(parts: Tensor, centers: Tensor) -> Tensor:
    """Return (M, n) int64 numbers of the nearest centers of (M, n, d) parts."""
    squares = centers.square().sum(dim=2)
    rows = [
        torch.addmm(own_squares, part, own.T, beta=1.0, alpha=-2.0).argmin(dim=1)
        for part, own, own_squares in zip(parts, centers, squares, strict=True)
    ]
    return torch.stack(rows)


def first_centers(parts: Tensor, generator: torch.Generator) -> Tensor:
    """Return (M, 256, d) centers drawn from the sample, the same rows for all parts."""
    count = parts.shape[1]
    rows = torch.randperm(count, generator=generator)[:NUM_CENTERS]
    if count < NUM_CENTERS:
        rows = torch.cat([rows, rows[torch.arange(NUM_CENTERS - count) % count]])
    return parts[:, rows].clone()


def part_places(channels: int, num_parts: int) -> Tensor:
    """Return the column of each channel where the first parts have one channel more."""
    longer, size = channels % num_parts, -(-channels // num_parts)
    lengths = [size if longer == 0 or part < longer else size - 1 for part in range(num_parts)]
    return torch.tensor(
        [part * size + k for part, length in enumerate(lengths) for k in range(length)]
    )


def cut_parts(vectors: Tensor, places: Tensor, centers: Tensor) -> Tensor:
    """Return (n, C) vectors as (M, n, d) parts."""
    num_parts, _, size = centers.shape
    if num_parts * size != vectors.shape[1]:
        wide = vectors.new_zeros((len(vectors), num_parts * size))
        wide[:, places] = vectors
        vectors = wide
    return vectors.reshape(len(vectors), num_parts, size).transpose(0, 1).contiguous()


def _balanced_axes(sample: Tensor, num_parts: int) -> tuple[Tensor, Tensor]:
    """Return the mean and principal axes dealt to the parts so that each gets a like product of
    variances: the next largest goes to the part that has least and is not full.
    """
    channels = sample.shape[1]
    mean, axes, variances = principal_components(sample, channels)
    size, longer = -(-channels // num_parts), channels % num_parts
    room = [size if longer == 0 or part < longer else size - 1 for part in range(num_parts)]
    logs = (variances / variances[0].clamp(min=1e-30)).clamp(min=1e-12).log().tolist()
    taken: list[list[int]] = [[] for _ in room]
    products = [0.0] * num_parts
    for axis, log in enumerate(logs):
        free = [part for part in range(num_parts) if len(taken[part]) < room[part]]
        part = min(free, key=lambda p: (len(taken[p]) > 0, products[p], p))
        taken[part].append(axis)
        products[part] += log - logs[-1]
    order = torch.tensor([axis for axes_of_part in taken for axis in axes_of_part])
    return mean.float(), axes[order].float()
