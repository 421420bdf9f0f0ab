"""Synchronized statistics on CPU processes against one process that sees all values."""

from pathlib import Path

import torch
from tests.two_processes import in_two_processes

from eagleray_vision.layers.activated_norm import ActivatedBatchNorm

COUNTS = {"equal": (4, 4), "unequal": (1, 6), "one worker empty": (5, 0), "all empty": (0, 0)}
SHAPES = {"vectors": (3,), "maps": (3, 4, 2)}


def values(name: str, shape: str) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(len(name))
    size = (sum(COUNTS[name]), *SHAPES[shape])
    x = torch.randn(size, generator=generator, dtype=torch.float64)
    return 100 + x, torch.randn(size, generator=generator, dtype=torch.float64)


def run(norm: ActivatedBatchNorm, x: torch.Tensor, grad: torch.Tensor) -> dict[str, torch.Tensor]:
    x = x.clone().requires_grad_()
    y = norm.double().train()(x)
    y.backward(grad)
    return {
        "y": y.detach(),
        "x.grad": x.grad,
        "weight.grad": norm.weight.grad,
        "bias.grad": norm.bias.grad,
        "running_mean": norm.running_mean,
        "running_var": norm.running_var,
    }


def worker(rank: int, folder: Path) -> None:
    results = {}
    for name, counts in COUNTS.items():
        for shape in SHAPES:
            x, grad = values(name, shape)
            mine = slice(0, counts[0]) if rank == 0 else slice(counts[0], None)
            results[name, shape] = run(ActivatedBatchNorm(3, synced=True), x[mine], grad[mine])
    torch.save(results, folder / f"{rank}")


def test_two_workers_equal_one_that_sees_everything(tmp_path: Path) -> None:
    in_two_processes(worker, tmp_path)
    results = [torch.load(tmp_path / rank) for rank in ("0", "1")]
    for name in COUNTS:
        for shape in SHAPES:
            expected = run(ActivatedBatchNorm(3), *values(name, shape))
            ranks = [found[name, shape] for found in results]
            for key in ("y", "x.grad"):
                joined = torch.cat([found[key] for found in ranks])
                torch.testing.assert_close(joined, expected[key], rtol=1e-9, atol=1e-9)
            for key in ("weight.grad", "bias.grad"):  # of each worker's own values
                total = ranks[0][key] + ranks[1][key]
                torch.testing.assert_close(total, expected[key], rtol=1e-9, atol=1e-9)
            for key in ("running_mean", "running_var"):
                for found in ranks:
                    torch.testing.assert_close(found[key], expected[key], rtol=1e-9, atol=1e-9)
