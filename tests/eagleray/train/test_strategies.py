"""All strategies compute the same training, and read each other's checkpoints."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.eagleray.train.workers import (
    losses,
    train_here,
    train_in_two_processes,
    validations,
)

from eagleray.train.model_file import ModelHeader

STRATEGIES = {
    "ddp": {"strategy": "ddp"},
    **{f"zero{s}": {"strategy": "deepspeed", "zero_stage": s} for s in (0, 1, 2, 3)},
}
HALFWAY = 5
BF16 = {"steps": 10, "batch_size": 4, "optimizer": "adamw", "lr": 0.01, "precision": "bf16"}
CLIPPED = {
    "steps": 10,
    "batch_size": 4,
    "optimizer": "sgd",
    "momentum": 0.9,
    "nesterov": True,
    "lr": 0.01,
    "weight_decay": 0.01,
    "clip_norm": 0.5,
    "ema_decay": 0.7,
}
VALIDATED = {"validate_on": {"benchmark": "fit", "every": 3, "units": 7}}
BY_RANK = {"steps": 10, "batch_size": 4, "optimizer": "adam", "lr": 0.01, "normalize": "rank"}
UNEVEN = {"steps": 10, "batch_size": 5, "optimizer": "adam", "lr": 0.01}


def frozen_task(root: Path) -> dict[str, str]:
    """Return settings of a task with tensors of a weights file, which is written."""
    rng = torch.Generator().manual_seed(3)
    shapes = {"weight": (6, 6), "bias": (6,), "mean": (6,)}
    save_file({n: torch.randn(s, generator=rng) for n, s in shapes.items()}, root / "prior")
    return {"prior": str(root / "prior")}


@pytest.fixture(scope="module")
def two_workers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One pair of processes runs every strategy, halfway runs, low precision, and resumes a lone
    worker's run.
    """
    root = tmp_path_factory.mktemp("two")
    frozen = frozen_task(root)
    jobs = [(root / name, train, None) for name, train in STRATEGIES.items()]
    for name, train in STRATEGIES.items():
        jobs.append((root / f"{name}-half", train, HALFWAY))
        jobs.append((root / f"{name}-bf16", {**train, "phases": [BF16]}, None))
        jobs.append((root / f"{name}-clipped", {**train, "phases": [CLIPPED], **VALIDATED}, None))
        train_here(root / f"{name}-from-single", limit=HALFWAY)
        jobs.append((root / f"{name}-from-single", train, None))
        jobs.append((root / f"{name}-by-rank", {**train, "phases": [BY_RANK]}, None))
        jobs.append((root / f"{name}-accumulated", {**train, "micro_batch_size": 1}, None))
        train_here(root / f"{name}-frozen", frozen, limit=3, phases=[CLIPPED])
        jobs.append((root / f"{name}-frozen", {**train, "task": frozen, "phases": [CLIPPED]}, 7))
    jobs += [
        (root / f"{name}-uneven", {**STRATEGIES[name], "phases": [UNEVEN]}, None)
        for name in ("ddp", "zero2")
    ]
    train_in_two_processes(jobs)
    return root


@pytest.fixture(scope="module")
def lone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("lone")
    train_here(root / "fp32")
    train_here(root / "bf16", phases=[BF16])
    train_here(root / "clipped", phases=[CLIPPED], **VALIDATED)
    train_here(root / "by-rank", phases=[BY_RANK], micro_batch_size=2)
    train_here(root / "uneven", phases=[UNEVEN])
    train_here(root / "frozen", frozen_task(root), phases=[CLIPPED])
    return root


@pytest.mark.parametrize("name", STRATEGIES)
def test_two_workers_give_the_losses_of_one(two_workers: Path, lone: Path, name: str) -> None:
    assert len(losses(lone / "fp32")) == 10
    torch.testing.assert_close(losses(two_workers / name), losses(lone / "fp32"), rtol=0, atol=1e-3)


@pytest.mark.parametrize("name", STRATEGIES)
def test_bfloat16_is_close_to_one_worker(two_workers: Path, lone: Path, name: str) -> None:
    torch.testing.assert_close(
        losses(two_workers / f"{name}-bf16"), losses(lone / "bf16"), rtol=2e-2, atol=2e-2
    )
    assert losses(lone / "bf16") != losses(lone / "fp32")


@pytest.mark.parametrize("name", STRATEGIES)
def test_clipping_momentum_average_and_validation_agree(
    two_workers: Path, lone: Path, name: str
) -> None:
    found, expected = two_workers / f"{name}-clipped", lone / "clipped"
    torch.testing.assert_close(losses(found), losses(expected), rtol=0, atol=1e-3)
    validated = [[x["mse"] for x in validations(f)] for f in (found, expected)]
    assert len(validated[1]) == 4
    torch.testing.assert_close(validated[0], validated[1], rtol=1e-3, atol=1e-4)
    for file in ("model.safetensors", "optimizer.safetensors"):
        path = f"checkpoints/main-00000010/{file}"
        torch.testing.assert_close(
            load_file(found / path), load_file(expected / path), rtol=1e-3, atol=1e-5
        )


@pytest.mark.parametrize("name", STRATEGIES)
def test_normalizing_by_rank_is_the_mean_of_the_ranks_means(
    two_workers: Path, lone: Path, name: str
) -> None:
    """Two micro-batches of one worker hold the samples of the two ranks, and are averaged alike."""
    found, expected = losses(two_workers / f"{name}-by-rank"), losses(lone / "by-rank")
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-3)


@pytest.mark.parametrize("name", STRATEGIES)
def test_checkpoint_of_two_workers_goes_on_with_one(
    two_workers: Path, lone: Path, name: str
) -> None:
    train_here(two_workers / f"{name}-half")
    torch.testing.assert_close(
        losses(two_workers / f"{name}-half"), losses(lone / "fp32"), rtol=0, atol=1e-3
    )


@pytest.mark.parametrize("name", STRATEGIES)
def test_checkpoint_of_one_worker_goes_on_with_two(
    two_workers: Path, lone: Path, name: str
) -> None:
    torch.testing.assert_close(
        losses(two_workers / f"{name}-from-single"), losses(lone / "fp32"), rtol=0, atol=1e-3
    )


def test_accumulation_is_the_same_for_all_strategies(two_workers: Path) -> None:
    expected = losses(two_workers / "ddp-accumulated")
    for name in STRATEGIES:
        torch.testing.assert_close(
            losses(two_workers / f"{name}-accumulated"), expected, rtol=0, atol=1e-3
        )


@pytest.mark.parametrize("name", ["ddp", "zero2"])
def test_batch_that_workers_share_unevenly_is_averaged_rightly(
    two_workers: Path, lone: Path, name: str
) -> None:
    found, expected = losses(two_workers / f"{name}-uneven"), losses(lone / "uneven")
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-3)


@pytest.mark.parametrize("name", STRATEGIES)
def test_frozen_tensors_of_a_file_are_left_out_by_all_strategies(
    two_workers: Path, lone: Path, name: str
) -> None:
    """One worker begins, two go on with the strategy, one ends."""
    run = two_workers / f"{name}-frozen"
    (half,) = run.glob("checkpoints/main-00000007*/model.safetensors")
    assert "body.0.weight" in load_file(half)
    assert not any(key.startswith("prior") for key in load_file(half))
    (reference,) = ModelHeader.read(half).frozen
    assert set(reference.tensors) == {"prior.weight", "prior.bias", "prior.mean"}
    train_here(run, frozen_task(two_workers), phases=[CLIPPED])
    torch.testing.assert_close(losses(run), losses(lone / "frozen"), rtol=0, atol=1e-3)
