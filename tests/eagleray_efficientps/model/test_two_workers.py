"""Two data-parallel workers against one process that sees the whole batch."""

import socket
from pathlib import Path

import pytest
import torch
from tests.eagleray_efficientps.small_network import SIZES, images, small_network, target
from torch import Tensor, distributed, multiprocessing, nn

from eagleray_efficientps.losses import panoptic_losses
from eagleray_efficientps.model.network import EfficientPsNetwork

CONTENTS = [("thing", "stuff"), ("stuff", "stuff")]


class Step(nn.Module):
    """The training step as one module, which is what data parallelism has to wrap."""

    def __init__(self, network: EfficientPsNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, batch: Tensor, chosen: list[int], contents: tuple[str, ...]) -> Tensor:
        sizes = [SIZES[k] for k in chosen]
        targets = [target(SIZES[k], contents[k]) for k in chosen]
        terms = panoptic_losses(
            self.network, batch[chosen], sizes, targets, generators=None, faithful=False
        )
        total = torch.zeros((), dtype=batch.dtype)
        for term in terms.values():
            weight = torch.as_tensor(term.weight, dtype=batch.dtype).clone()
            workers = 1
            if distributed.is_initialized():
                distributed.all_reduce(weight)
                workers = distributed.get_world_size()
            total = total + term.factor * term.sum * workers / weight.clamp(min=1)
        return total


def network() -> EfficientPsNetwork:
    """Return a network whose losses do not depend on how a batch is dealt.

    The worst pixels are those of each worker's images; all pixels count here.
    """
    found = small_network(
        backbone={"normalization": "synced_batch"}, semantic={"worst_fraction": None}
    )
    return found.double().train()


def results(model: EfficientPsNetwork) -> dict[str, Tensor]:
    gradients = {f"grad {name}": p.grad for name, p in model.named_parameters()}
    return {**gradients, **dict(model.named_buffers())}


def worker(rank: int, port: int, folder: Path) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2
    )
    for contents in CONTENTS:
        model = network()
        step = nn.parallel.DistributedDataParallel(Step(model))
        step(images(torch.float64), [rank], contents).backward()
        if rank == 0:
            torch.save(results(model), folder / "-".join(contents))
    distributed.destroy_process_group()


@pytest.mark.slow
def test_two_workers_equal_one(tmp_path: Path) -> None:
    """Also where a worker has nothing to classify: its heads run on empty tensors."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    multiprocessing.spawn(worker, (port, tmp_path), nprocs=2)
    for contents in CONTENTS:
        alone = network()
        Step(alone)(images(torch.float64), [0, 1], contents).backward()
        together = torch.load(tmp_path / "-".join(contents))
        for name, value in results(alone).items():
            torch.testing.assert_close(together[name], value, rtol=1e-6, atol=1e-8, msg=name)
