"""Training: one step of two ranks, each with its own samples, in this process.

Two ranks are played by two micro-batches of the same step: that shows terms whose names depend on
what a batch holds, which is what makes real ranks wait for each other for ever, without a process
group to start.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from eagleray.check.data import check_movable, load_samples, open_data
from eagleray.check.findings import CheckReport
from eagleray.check.values import some
from eagleray.task import (
    Batches,
    Dataset,
    InputError,
    LossTerm,
    Phase,
    Rows,
    StepContext,
    Training,
)
from eagleray.train.frozen import put_frozen
from eagleray.train.optimizer import build_optimizer
from eagleray.train.step import seed_step

RANKS = 2
_MOST_RAYS = 256
"""Samples of a global batch where the data make whole batches themselves."""
_STEPS = 100
"""Length of a phase that counts in epochs, for the step's context."""

RankBatch = tuple[Any, tuple[str, ...]]


def check_training(
    task: Training,
    phases: Sequence[Phase],
    rows: Mapping[str, Rows],
    num_items: int,
    report: CheckReport,
) -> nn.Module | None:
    """Check what training needs of a task, phase by phase.

    Args:
        task: The task.
        phases: Its phases, as the experiment overrides them.
        rows: Rows of the stages by label.
        num_items: Samples for both ranks together.
        report: Takes what is found.

    Returns:
        The model after one step per phase, None where it could not be built.
    """
    model = build_model(task, report)
    data = open_data(task, "train", rows, "train data", report)
    if model is None or data is None:
        return model
    if not phases:
        report.add("phases are given", "training", "phases() is empty; give at least one phase")
    batches: list[RankBatch] = []
    if isinstance(data, Dataset):
        batches = _collated(data, num_items, report)
        if not batches:
            return model
    for phase in phases:
        _check_phase(task, model, phase, data, batches, rows, report)
    return model


def build_model(task: Any, report: CheckReport) -> nn.Module | None:
    """Return the task's model, None where it is not as promised."""
    model: nn.Module | None = None
    with report.checking("model is built", "model"):
        model = task.build()
        if not isinstance(model, nn.Module):
            report.add(
                "model is built", "model", f"build() gives {type(model).__name__}, no nn.Module"
            )
            return None
        wrong = [
            f"{name} ({p.dtype}, {p.device})"
            for name, p in model.named_parameters()
            if p.device.type != "cpu" or p.dtype != torch.float32
        ]
        if wrong:
            report.add(
                "model is built",
                "model",
                f"build() must give float32 on the CPU, the engine moves it; found {some(wrong)}",
            )
    if model is not None:
        with report.checking("frozen files are read", "model"):
            put_frozen(task, model, ())  # those that are there; requirements ask for the others
    return model


def _collated(data: Dataset, num_items: int, report: CheckReport) -> list[RankBatch]:
    where = "train data"
    keys, samples = load_samples(data, num_items, where, report)
    size = max(1, len(samples) // RANKS)
    batches = []
    with report.checking("samples are collated", where):
        for rank in range(RANKS):
            own = slice(rank * size, (rank + 1) * size)
            if samples[own]:
                batches.append((data.collate(samples[own]), tuple(keys[own])))
    if batches:
        check_movable(batches[0][0], "a batch of collate()", where, report)
    return batches


def _device_batches(data: Batches, phase: Phase) -> list[RankBatch]:
    small = phase.model_copy(update={"batch_size": min(phase.batch_size, _MOST_RAYS)})
    cpu = torch.device("cpu")
    return [
        (next(iter(data.batches(
            small, seed=0, start_step=0, rank=rank, world_size=RANKS, device=cpu
        ))), ())
        for rank in range(RANKS)
    ]  # fmt: skip


def _check_phase(
    task: Training,
    model: nn.Module,
    phase: Phase,
    data: Dataset | Batches,
    batches: list[RankBatch],
    rows: Mapping[str, Rows],
    report: CheckReport,
) -> None:
    where = f"phase {phase.name}"
    trained: dict[str, nn.Parameter] = {}
    with report.checking("phase starts", where):
        model.train()
        task.on_phase_start(model, phase, data)
        names = build_optimizer(model, task.parameter_groups(model, phase), phase).names
        trained = {n: p for n, p in model.named_parameters() if n in set(names)}
        if not isinstance(data, Dataset):
            batches = _device_batches(data, phase)
    if not trained or not batches:
        return
    model.zero_grad(set_to_none=True)
    modes = training_modes(model)
    ranks: list[Mapping[str, LossTerm]] = []
    for rank, (batch, keys) in enumerate(batches):
        with report.checking("losses are computed", where):
            step = StepContext(phase, 0, phase.steps or _STEPS, 0, keys, rows)
            seed_step(step, 0, rank)
            if rank == 0:
                task.before_step(model, step)
            terms = task.losses(model, batch, step)
            if _check_terms(terms, where, report):
                _backward(terms.values())
                ranks.append(terms)
    check_modes(model, modes, "losses() or before_step()", where, report)
    if len(ranks) == len(batches):
        _compare_ranks([list(terms) for terms in ranks], where, report)
        _check_gradients(trained, where, report)


def _check_terms(terms: Any, where: str, report: CheckReport) -> bool:
    """Return whether losses are what the engine can sum."""
    check = "losses are sums with weights"
    if not isinstance(terms, Mapping) or not terms:
        report.add(
            check, where, f"losses() gives {terms!r}; give LossTerms by name, always the same"
        )
        return False
    for name, term in terms.items():
        problem = _problem_of(term)
        if problem:
            report.add(check, where, f"loss {name!r} {problem}")
            return False
    return True


def _problem_of(term: Any) -> str | None:
    if not isinstance(term, LossTerm):
        return f"is {type(term).__name__}; give LossTerm(sum, weight)"
    if not isinstance(term.sum, Tensor):
        return f"has a sum of type {type(term.sum).__name__}; it must be a tensor"
    if term.sum.numel() != 1:
        return (
            f"has a sum of shape {tuple(term.sum.shape)}; sum it over its samples "
            "(reduction='sum') to one number"
        )
    weight = float(torch.as_tensor(term.weight).reshape(-1)[0])
    if torch.as_tensor(term.weight).numel() != 1 or weight < 0:
        return f"has the weight {term.weight}; it must be one number, 0 or more"
    if not bool(torch.isfinite(term.sum)):
        return f"is {float(term.sum)} at the first step"
    return None


def _backward(terms: Iterable[LossTerm]) -> None:
    total = sum((term.factor * term.sum.reshape(()) for term in terms), torch.zeros(()))
    if total.requires_grad:
        total.backward()  # type: ignore[no-untyped-call]


def _compare_ranks(names: list[list[str]], where: str, report: CheckReport) -> None:
    with report.checking("losses are alike on all ranks", where):
        for rank, own in enumerate(names):
            if own != names[0]:
                report.add(
                    "losses are alike on all ranks",
                    where,
                    f"rank 0 gives the losses {names[0]}, rank {rank} gives {own}; every rank must "
                    "return the same terms in the same order (0 * features where it has nothing)",
                )


def _check_gradients(trained: Mapping[str, nn.Parameter], where: str, report: CheckReport) -> None:
    check = "gradients reach what is trained"
    with report.checking(check, where):
        unreached = [name for name, p in trained.items() if p.grad is None]
        if unreached:
            report.add(
                check,
                where,
                f"no gradient reaches {len(unreached)} of {len(trained)} trained parameters: "
                f"{some(unreached)}; use them in losses() or leave them out of parameter_groups()",
            )


def training_modes(model: nn.Module) -> dict[str, bool]:
    """Return each module's own train or eval mode."""
    return {name: module.training for name, module in model.named_modules()}


def check_modes(
    model: nn.Module, before: Mapping[str, bool], hook: str, where: str, report: CheckReport
) -> None:
    """Find modules whose train or eval mode a hook has changed for good."""
    with report.checking("modes are left alone", where):
        now = training_modes(model)
        changed = [name or "the model" for name in before if now.get(name) != before[name]]
        if changed:
            report.add(
                "modes are left alone",
                where,
                f"{hook} changes train or eval mode of {some(changed)}; the engine sets modes, "
                "what is changed must be put back",
            )


def check_fit_weights(task: Training, model: nn.Module, report: CheckReport) -> None:
    """Find weights that ``fit_weights`` loses when a model begins with its own."""
    check = "a model can begin with its own weights"
    with report.checking(check, "model"):
        own = model.state_dict()
        try:
            fitted = task.fit_weights(model, own)
        except InputError as error:
            raise ValueError(f"fit_weights() refuses the model's own weights: {error}") from error
        lost = sorted(set(own) - set(fitted.weights) - set(fitted.kept))
        if lost:
            report.add(check, "model", f"fit_weights() loses {some(lost)} of the model's own")
