"""One training step as the forward of one module.

Model and losses are wrapped in a single ``nn.Module``, which DistributedDataParallel and DeepSpeed
get: calling a submodule past their wrapper would silently skip the synchronisation of gradients.
"""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Callable, Mapping, Sequence
from numbers import Real
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from eagleray.task import EaglerayError, LossTerm, SettingsError, StepContext

Losses = Callable[[nn.Module, Any, StepContext], Mapping[str, LossTerm]]

AUTOCAST_DTYPE = {"bf16": torch.bfloat16, "fp16": torch.float16}


_SAME = (
    "Training.losses must return the same names in the same order on every rank and at every step, "
    "also where there is nothing to add (0 * features.sum(), weight 0)"
)


class LossError(EaglerayError):
    """A task returned losses that cannot be added up."""


class StepModule(nn.Module):
    """Losses of a micro-batch, normalized over ranks.

    Arithmetic runs in the phase's precision through autocast, for every strategy alike; parameters
    stay float32 and are the master weights. A loss that is not finite on one rank makes the
    gradients of all ranks NaN, so that all of them skip the step.

    Args:
        model: The task's model.
        losses: ``Training.losses``.
        cache_casts: Keep low-precision copies of the weights during a forward pass (not where ZeRO
            3 frees them).
    """

    def __init__(self, model: nn.Module, losses: Losses, *, cache_casts: bool = True) -> None:
        super().__init__()
        self.model = model
        self._losses = losses
        self._cache_casts = cache_casts
        self._names: tuple[str, ...] | None = None

    def forward(self, batch: Any, context: StepContext) -> tuple[Tensor, dict[str, Tensor], Tensor]:
        """Return the loss to differentiate, the global value per term and the global total.

        Raises:
            SettingsError: There are no losses.
            LossError: A loss is of a wrong type, or they are not those of other ranks or steps.
        """
        device = next(self.model.parameters()).device
        with self._autocast(context.phase.precision, device):
            terms = self._losses(self.model, batch, context)
        self._check(terms, context)
        return _normalize(terms, context.phase.normalize, device)

    def _check(self, terms: Any, context: StepContext) -> None:
        """Refuse losses that would hang the ranks, or be mixed up, when they are added up.

        Ranks are compared once, at the phase's first step; later each compares with itself.
        """
        error: Exception | None = None
        try:
            check_terms(terms)
        except (LossError, SettingsError) as wrong:
            error = wrong
        if self._names is None and dist.is_initialized() and dist.get_world_size() > 1:
            answers: list[Any] = [None] * dist.get_world_size()
            dist.all_gather_object(answers, str(error) if error else tuple(terms))
            error = error or _difference(answers, context)
        if error is not None:
            raise error
        if self._names is not None and tuple(terms) != self._names:
            raise LossError(
                f"step {context.step} of phase {context.phase.name!r} gave the losses "
                f"{_listed(tuple(terms))}, the steps before {_listed(self._names)}: {_SAME}"
            )
        self._names = tuple(terms)

    def _autocast(
        self, precision: str, device: torch.device
    ) -> contextlib.AbstractContextManager[Any]:
        if precision == "fp32":
            return contextlib.nullcontext()
        dtype = AUTOCAST_DTYPE[precision]
        return torch.autocast(device.type, dtype, cache_enabled=self._cache_casts)


def check_terms(terms: Any) -> None:
    """Refuse what is no mapping of names to reduced losses.

    Args:
        terms: What ``Training.losses`` returned.

    Raises:
        SettingsError: There are none.
        LossError: One is of a wrong type or not reduced.
    """
    if not isinstance(terms, Mapping):
        raise LossError(
            f"Training.losses returned {type(terms).__name__}, allowed is a mapping of names to "
            "LossTerm"
        )
    if not terms:
        raise SettingsError("the task returned no losses; it must always return the same terms")
    for name, term in terms.items():
        if not isinstance(term, LossTerm):
            shape = f" of shape {tuple(term.shape)}" if isinstance(term, Tensor) else ""
            raise LossError(
                f"loss {name!r} is {type(term).__name__}{shape}, allowed is LossTerm(sum, weight): "
                "the sum over samples or pixels, and how many (or how much) they are"
            )
        if not isinstance(term.sum, Tensor):
            raise LossError(
                f"the sum of loss {name!r} is {term.sum!r} ({type(term.sum).__name__}), allowed is "
                "a 0-d tensor: without a tensor there is no gradient"
            )
        for part, value in (("sum", term.sum), ("weight", term.weight)):
            if isinstance(value, Tensor) and value.numel() != 1:
                raise LossError(
                    f"the {part} of loss {name!r} has shape {tuple(value.shape)}, allowed is one "
                    f"number: reduce it with .sum(), and give the number of entries as weight"
                )
            if not isinstance(value, Tensor | Real):
                raise LossError(
                    f"the {part} of loss {name!r} is {type(value).__name__}, allowed is a number"
                )


def _difference(answers: Sequence[str | tuple[str, ...]], context: StepContext) -> LossError | None:
    """Return what is wrong with the losses of all ranks: their names, or the text of a mistake."""
    for rank, answer in enumerate(answers):
        if isinstance(answer, str):
            return LossError(f"rank {rank}: {answer}")
        if answer != answers[0]:
            return LossError(
                f"phase {context.phase.name!r}: rank 0 has the losses {_listed(answers[0])}, rank "
                f"{rank} has {_listed(answer)}: {_SAME}"
            )
    return None


def _listed(names: Sequence[str]) -> str:
    return f"({', '.join(names)})"


def _normalize(
    terms: Mapping[str, LossTerm], normalize: str, device: torch.device
) -> tuple[Tensor, dict[str, Tensor], Tensor]:
    sums = torch.stack([_scalar(t.sum, device) for t in terms.values()])
    weights = torch.stack([_scalar(t.weight, device).detach() for t in terms.values()]).to(sums)
    factors = torch.tensor([t.factor for t in terms.values()], device=device).to(sums)
    world_size = dist.get_world_size() if dist.is_initialized() else 1
    if normalize == "rank":
        share = torch.where(weights > 0, factors / weights, 0.0)
        values = torch.where(weights > 0, sums.detach() * share / world_size, 0.0)
        if world_size > 1:
            dist.all_reduce(values)
    else:
        both = torch.stack([weights, sums.detach()])
        if world_size > 1:
            dist.all_reduce(both)
        weights = both[0]
        share = torch.where(weights > 0, world_size * factors / weights, 0.0)
        values = torch.where(weights > 0, both[1] * factors / weights, 0.0)
    loss = torch.where(weights > 0, sums * share, 0.0).sum()
    total = values.sum()
    # All ranks must skip alike: one that stepped alone would have other weights from then on. The
    # total is known to all of them, so its NaN reaches every rank's gradients.
    poison = torch.where(total.isfinite(), 1.0, float("nan")).to(sums)
    return loss * poison, dict(zip(terms, values.unbind(), strict=True)), total


def _scalar(value: Tensor | float, device: torch.device) -> Tensor:
    tensor = torch.as_tensor(value, device=device).reshape(())
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def seed_step(context: StepContext, micro_batch: int, rank: int) -> None:
    """Seed torch's global generators for one micro-batch, so that dropout can be resumed exactly.

    Args:
        context: The step; its first sample makes ranks differ.
        micro_batch: Number of the micro-batch within the step.
        rank: Used only where batches have no sample keys.
    """
    first = context.sample_keys[0] if context.sample_keys else f"rank {rank}"
    text = f"{context.seed}/{context.phase.name}/{context.step}/{micro_batch}/{first}"
    seed = zlib.crc32(text.encode())
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.manual_seed_all(seed)
