"""Two data-parallel workers against one process that sees the whole batch."""

import socket
from pathlib import Path

import pytest
import torch
from tests.eagleray_seamseg.small_network import SIZES, images, small_network, target
from torch import Tensor, distributed, multiprocessing, nn

from eagleray_seamseg.losses import panoptic_losses
from eagleray_seamseg.model.network import SeamlessNetwork

CONTENTS = [("thing", "stuff"), ("stuff", "stuff")]


class Step(nn.Module):
    """The training step as one module, which is what data parallelism has to wrap."""

    def __init__(self, network: SeamlessNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, batch: Tensor, chosen: list[int], contents: tuple[str, ...]) -> Tensor:
        sizes = [SIZES[k] for k in chosen]
        targets = [target(SIZES[k], contents[k]) for k in chosen]
        terms = panoptic_losses(self.network, batch[chosen], sizes, targets, generators=None)
        total = torch.zeros((), dtype=batch.dtype)
        for term in terms.values():
            weight = torch.as_tensor(term.weight, dtype=batch.dtype).clone()
            workers = 1
            if distributed.is_initialized():
                distributed.all_reduce(weight)
                workers = distributed.get_world_size()
            total = total + term.factor * term.sum * workers / weight.clamp(min=1)
        return total


def network() -> SeamlessNetwork:
    return small_network(normalization_mode="syncbn").double().train()


def results(model: SeamlessNetwork) -> dict[str, Tensor]:
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


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    path = tmp_path_factory.mktemp("two_workers")
    multiprocessing.spawn(worker, (port, path), nprocs=2)
    return path


@pytest.mark.slow
@pytest.mark.parametrize("contents", CONTENTS)
def test_gradients_and_statistics_equal_those_of_one_process(folder: Path, contents) -> None:
    model = network()
    Step(model)(images(torch.float64), [0, 1], contents).backward()
    expected = results(model)
    found = torch.load(folder / "-".join(contents))
    assert set(found) == set(expected)
    for name, value in expected.items():
        torch.testing.assert_close(
            found[name],
            value,
            rtol=1e-6,
            atol=1e-9,
            msg=lambda text, name=name: f"{name}: {text}",
        )
