"""Packed samples of rays: which ray a sample belongs to, and sums over a ray's samples."""

from typing import NamedTuple

import torch
from torch import Tensor


class Segments(NamedTuple):
    """The K samples that N rows of rays_a name, row after row."""

    ray_of_row: Tensor
    """(N,) int64."""
    counts: Tensor
    """(N,) int64 samples per row."""
    firsts: Tensor
    """(N,) int64 position of a row's first sample among the K."""
    row: Tensor
    """(K,) int64 row of each sample."""
    sample_idx: Tensor | None
    """(K,) int64 place in the flat arrays; None if that is simply 0 to K - 1 of K."""

    def take(self, values: Tensor) -> Tensor:
        """Bring a flat array's rows into the order of the segments."""
        return values if self.sample_idx is None else values[self.sample_idx]

    def put_back(self, values: Tensor, num_samples: int) -> Tensor:
        """Inverse of `take`; samples of no row get 0."""
        if self.sample_idx is None:
            return values
        return values.new_zeros(num_samples).index_put((self.sample_idx,), values)

    def prefix_sums(self, values: Tensor) -> Tensor:
        """(K,) sums over a row's samples up to and including each, as a double."""
        running = values.double().cumsum(0)
        before = torch.cat([running.new_zeros(1), running])[self.firsts]
        return running - before[self.row]

    def sums(self, values: Tensor) -> Tensor:
        """(N, ...) sums over the samples of each ray, by ray."""
        by_row = torch.segment_reduce(values, "sum", lengths=self.counts, unsafe=True)
        return torch.zeros_like(by_row).index_copy(0, self.ray_of_row, by_row)


def read_segments(rays_a: Tensor, num_samples: int) -> Segments:
    """Read rays_a.

    Args:
        rays_a: (N, 3) int64 rows (ray, first sample, number of samples).
        num_samples: length M of the flat arrays.
    """
    ray_of_row, starts, counts = rays_a.unbind(1)
    firsts = counts.cumsum(0) - counts
    row = torch.repeat_interleave(torch.arange(len(counts), device=counts.device), counts)
    place = torch.arange(len(row), device=counts.device)
    sample_idx = place + (starts - firsts)[row]
    packed = len(row) == num_samples and bool((sample_idx == place).all())
    return Segments(ray_of_row, counts, firsts, row, None if packed else sample_idx)
