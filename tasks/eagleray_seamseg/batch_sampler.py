"""The order in which the original forms batches (docs/originals/seamseg.md, 3).

The engine deals samples in an order of its own that does not depend on the number of workers. This
module keeps the original's order, so that a run can be compared with one of the original batch by
batch.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch


class OriginalBatchSampler:
    """Batches of one aspect group each, per epoch and rank, as the original draws them.

    Images are split into landscape (height < width) and the rest, shuffled within each, cut into
    batches, and the batches shuffled and dealt to ranks in contiguous slices. The shuffling is
    cumulative: an epoch permutes the order that the epoch before left behind.

    Args:
        sizes_hw: Height and width of every image in pixels.
        batch_size: Images per batch.
        num_ranks: Number of ranks.
        drop_last: Drop what is left over in each group; otherwise the leftovers, landscape first,
            form the last batches.
    """

    def __init__(
        self,
        sizes_hw: Sequence[tuple[int, int]],
        *,
        batch_size: int,
        num_ranks: int,
        drop_last: bool,
    ) -> None:
        self._aspect = [height / width for height, width in sizes_hw]
        self._batch_size, self._num_ranks, self._drop_last = batch_size, num_ranks, drop_last
        self._groups = [
            [index for index, aspect in enumerate(self._aspect) if aspect < 1],
            [index for index, aspect in enumerate(self._aspect) if aspect >= 1],
        ]

    def epoch(self, epoch: int) -> list[list[list[int]]]:
        """Draw the batches of the next epoch.

        Args:
            epoch: Its number, which seeds the permutations.

        Returns:
            Per rank, the list of its batches; images within a batch by ascending height / width.
        """
        generator = torch.Generator().manual_seed(epoch)
        self._groups = [
            [group[position] for position in torch.randperm(len(group), generator=generator)]
            for group in self._groups
        ]
        batches = self._cut()
        generator.manual_seed(epoch)
        order = torch.randperm(len(batches), generator=generator).tolist()
        share = -(-len(order) // self._num_ranks)
        order = [order[position % len(order)] for position in range(share * self._num_ranks)]
        return [
            [batches[position] for position in order[rank * share : (rank + 1) * share]]
            for rank in range(self._num_ranks)
        ]

    def _cut(self) -> list[list[int]]:
        size = self._batch_size
        batches: list[list[int]] = []
        leftovers: list[int] = []
        for group in self._groups:
            whole = len(group) - len(group) % size
            batches += [group[start : start + size] for start in range(0, whole, size)]
            leftovers += group[whole:]
        if not self._drop_last:
            batches += [leftovers[start : start + size] for start in range(0, len(leftovers), size)]
        return [sorted(batch, key=self._aspect.__getitem__) for batch in batches]
