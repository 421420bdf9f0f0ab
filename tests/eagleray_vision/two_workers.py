"""One training step by two data-parallel workers, and by one process that sees the whole batch."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from tests.eagleray_vision.small_batch import SIZES, images, target
from tests.two_processes import in_two_processes
from torch import Tensor, distributed, nn

from eagleray.task import LossTerm
from eagleray_vision.samples.target import PanopticTarget

CONTENTS = [("thing", "stuff"), ("stuff", "stuff")]
"""What the two images hold; in the second batch no worker has anything to classify."""

Losses = Callable[
    [nn.Module, Tensor, list[tuple[int, int]], list[PanopticTarget]], Mapping[str, LossTerm]
]


class Step(nn.Module):
    """The training step as one module, which is what data parallelism has to wrap."""

    def __init__(self, network: nn.Module, losses: Losses) -> None:
        super().__init__()
        self.network, self.losses = network, losses

    def forward(self, batch: Tensor, chosen: Sequence[int], contents: Sequence[str]) -> Tensor:
        sizes = [SIZES[k] for k in chosen]
        targets = [target(SIZES[k], contents[k]) for k in chosen]
        total = torch.zeros((), dtype=batch.dtype)
        for term in self.losses(self.network, batch[list(chosen)], sizes, targets).values():
            weight = torch.as_tensor(term.weight, dtype=batch.dtype).clone()
            workers = 1
            if distributed.is_initialized():
                distributed.all_reduce(weight)
                workers = distributed.get_world_size()
            total = total + term.factor * term.sum * workers / weight.clamp(min=1)
        return total


def alone(network: nn.Module, losses: Losses, contents: Sequence[str]) -> dict[str, Tensor]:
    """Return gradients and buffers behind a step on both images."""
    Step(network, losses)(images(torch.float64), [0, 1], contents).backward()
    return _results(network)


def together(
    make: Callable[[], nn.Module], losses: Losses, folder: Path
) -> list[dict[str, Tensor]]:
    """Return what `alone` returns of two workers with an image each, for every content.

    Args:
        make: Makes the network, in double precision; a function of a module.
        losses: Its losses; likewise.
        folder: For what the workers found.
    """
    in_two_processes(_steps, folder, make, losses)
    return [torch.load(folder / "-".join(contents)) for contents in CONTENTS]


def _steps(rank: int, folder: Path, make: Callable[[], nn.Module], losses: Losses) -> None:
    for contents in CONTENTS:
        model = make()
        step = nn.parallel.DistributedDataParallel(Step(model, losses))
        step(images(torch.float64), [rank], contents).backward()
        if rank == 0:
            torch.save(_results(model), folder / "-".join(contents))


def _results(model: nn.Module) -> dict[str, Tensor]:
    gradients = {f"grad {name}": p.grad for name, p in model.named_parameters()}
    return {**gradients, **dict(model.named_buffers())}
