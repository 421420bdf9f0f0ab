"""Strategy ``deepspeed``: ZeRO stages 0 to 3 with our own torch optimizer and float32 master
weights.

The model stays float32 and low precision comes from autocast inside the step, as in the other
strategies. State goes in and out by parameter name: in stages 1 and 2 a rank owns a slice of each
group's flat row of parameters, in stage 3 a slice of each parameter.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import deepspeed
import torch
import torch.distributed as dist
from deepspeed.utils import safe_get_local_optimizer_state, safe_set_local_optimizer_state
from torch import Tensor, nn

from eagleray.task import Phase, StepContext
from eagleray.train.optimizer import PhaseOptimizer
from eagleray.train.step import Losses, StepModule
from eagleray.train.strategies.base import Moments, Strategy, load_torch_moments, torch_moments
from eagleray.train.strategies.native import clip_and_step

_NEVER = 1_000_000_000

logging.getLogger("DeepSpeed").setLevel(logging.ERROR)  # else some forty lines at every start


class DeepSpeedStrategy(Strategy):
    """DeepSpeed's engine around the step module.

    Args:
        model: The task's model, on its device, with the weights to begin with.
        optimizer: The phase's optimizer over its parameters.
        phase: The phase.
        losses: ``Training.losses``.
        zero_stage: 0 to 3.
        offload_optimizer: Keep optimizer states in CPU memory.
        num_micro_batches: Forward passes per step.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: PhaseOptimizer,
        phase: Phase,
        losses: Losses,
        *,
        zero_stage: int,
        offload_optimizer: bool,
        num_micro_batches: int,
    ) -> None:
        super().__init__(model, optimizer, phase)
        named = dict(model.named_parameters())
        self._names = {named[n]: n for n in optimizer.names}
        self._stage = zero_stage
        zero: dict[str, Any] = {"stage": zero_stage}
        if offload_optimizer:
            zero["offload_optimizer"] = {"device": "cpu"}
        config = {
            "train_micro_batch_size_per_gpu": 1,
            "gradient_accumulation_steps": num_micro_batches,
            "gradient_clipping": (phase.clip_norm or 0.0) if zero_stage else 0.0,
            "steps_per_print": _NEVER,
            "zero_optimization": zero,
            "zero_allow_untested_optimizer": True,
            "zero_force_ds_cpu_optimizer": False,
        }
        self._engine, *_ = deepspeed.initialize(
            model=StepModule(model, losses, cache_casts=zero_stage < 3),
            optimizer=optimizer.optimizer,
            config=config,
            dist_init_required=False,
        )

    @property
    def is_sharded(self) -> bool:
        """Whether this rank holds only its part of the weights: in stage 3."""
        return self._stage == 3

    def _forward_backward(
        self, batch: Any, context: StepContext, number: int, count: int
    ) -> tuple[dict[str, Tensor], Tensor]:
        if self._stage and self.loss_scale.enabled:
            self._engine.optimizer.override_loss_scale(self.loss_scale.value)
        loss, terms, total = self._engine(batch, context)
        self._engine.backward(loss if self._stage else loss * self.loss_scale.value)
        if number < count - 1:
            self._engine.step()
        return terms, total

    def _update(self, rates: Sequence[float]) -> tuple[float, bool]:
        if self._stage == 0:
            return self._update_whole(rates)
        for group, rate in zip(self._engine.optimizer.param_groups, rates, strict=True):
            group["lr"] = rate
        self._engine.step()
        norm = self._engine.get_global_grad_norm()
        return float(norm), bool(self._engine.was_step_applied())

    def _update_whole(self, rates: Sequence[float]) -> tuple[float, bool]:
        """Step without ZeRO: gradients are whole, and DeepSpeed would not look whether they are
        finite.
        """
        norm, applied = clip_and_step(
            self._engine.optimizer,
            list(self._names),
            rates,
            scale=self.loss_scale.value,
            clip_norm=self.phase.clip_norm,
        )
        self._engine.zero_grad()
        self._engine.micro_steps += 1
        return norm, applied

    def local(self, parameter: nn.Parameter) -> Tensor:
        """Return this rank's part of a parameter."""
        ds: Any = parameter
        part: Tensor = ds.ds_tensor.data if self.is_sharded else ds.data
        return part

    def assemble(self, parameter: nn.Parameter, local: Tensor) -> Tensor:
        """Gather a parameter from all ranks, without the padding (collective)."""
        if not self.is_sharded:
            return local
        parts = [torch.empty_like(local) for _ in range(self.world_size)]
        if self.world_size > 1:
            dist.all_gather(parts, local.contiguous())
        else:
            parts = [local]
        ds: Any = parameter
        return torch.cat(parts)[: ds.ds_numel].view(ds.ds_shape)

    def shard(self, parameter: nn.Parameter, whole: Tensor) -> Tensor:
        """Cut this rank's part out of a whole parameter, padded to equal parts."""
        if not self.is_sharded:
            return whole
        size = self.local(parameter).numel()
        padded = whole.new_zeros(size * self.world_size)
        padded[: whole.numel()] = whole.flatten()
        return padded[size * self.rank : size * (self.rank + 1)]

    def moments(self) -> Moments:
        """Gather the optimizer's state from the ranks' slices (collective)."""
        if self._stage == 0:
            return torch_moments(self._engine.optimizer, self._names)
        base = self._engine.optimizer.optimizer
        result: Moments = {}
        for flat, params in zip(self._flats(), self._groups(), strict=True):
            state = base.state.get(flat, {})
            keys = [k for k, v in state.items() if isinstance(v, Tensor) and v.shape == flat.shape]
            for parameter in params:
                whole = {k: self._whole_state(parameter, state[k], k) for k in keys}
                if self.rank == 0 and whole:
                    found = {k: v.detach().cpu().contiguous() for k, v in whole.items()}
                    if "step" in state:
                        found["step"] = state["step"].detach().cpu().clone()
                    result[self._names[parameter]] = found
        return result

    def _whole_state(self, parameter: nn.Parameter, flat_state: Tensor, key: str) -> Tensor:
        """Return one of a parameter's moments, whole (collective)."""
        if self.is_sharded:
            local = safe_get_local_optimizer_state(parameter, key)
            return self.assemble(parameter, local)
        # DeepSpeed's own safe_get_full_optimizer_state links the moments after the first group's
        # first step and so finds those of the first group only.
        whole = torch.zeros(parameter.numel(), dtype=flat_state.dtype, device=flat_state.device)
        # A rank's slice of the flat row begins and ends anywhere, also inside of a parameter. The
        # mapping says which of its elements are here (none: None) and where in the row; the other
        # elements stay zero, so that the sum over ranks is the whole.
        mapping = getattr(parameter, "_hp_mapping", None)
        if mapping is not None:
            at, of = mapping.get_hp_fragment_address(), mapping.lp_fragment_address
            whole.narrow(0, of.start, of.numel).copy_(flat_state.narrow(0, at.start, at.numel))
        if self.world_size > 1:
            dist.all_reduce(whole)
        return whole.view(parameter.shape)

    def load_moments(self, moments: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Cut this rank's slices out of whole states."""
        if self._stage == 0:
            load_torch_moments(self._engine.optimizer, self._names, moments)
            return
        keys = sorted({k for state in moments.values() for k in state} - {"step"})
        base = self._engine.optimizer.optimizer
        for flat, params in zip(self._flats(), self._groups(), strict=True):
            found = [moments[self._names[p]] for p in params if self._names.get(p) in moments]
            if not found:
                continue
            state = {k: torch.zeros_like(flat, requires_grad=False) for k in keys}
            if "step" in found[0]:
                state["step"] = torch.stack([s["step"] for s in found]).max()
            base.state[flat] = state
            for parameter in params:
                if self._names[parameter] in moments:
                    self._fill(parameter, state, moments[self._names[parameter]], keys)

    def _fill(
        self,
        parameter: nn.Parameter,
        state: Mapping[str, Tensor],
        moments: Mapping[str, Tensor],
        keys: Sequence[str],
    ) -> None:
        for key in keys:
            whole = moments[key].to(parameter.device)
            if self.is_sharded:
                safe_set_local_optimizer_state(parameter, self.shard(parameter, whole), key)
                continue
            mapping = getattr(parameter, "_hp_mapping", None)
            if mapping is not None:
                to, of = mapping.get_hp_fragment_address(), mapping.lp_fragment_address
                part = whole.flatten().narrow(0, of.start, of.numel)
                state[key].narrow(0, to.start, to.numel).copy_(part)

    def _flats(self) -> list[Tensor]:
        zero = self._engine.optimizer
        flats: list[Tensor] = (
            zero.fp32_partitioned_groups_flat
            if self.is_sharded
            else zero.single_partition_of_fp32_groups
        )
        return flats

    def _groups(self) -> list[list[nn.Parameter]]:
        zero = self._engine.optimizer
        groups: list[list[nn.Parameter]] = (
            zero.fp16_groups if self.is_sharded else zero.bit16_groups
        )
        return groups

    def close(self) -> None:
        """Free the engine's buffers."""
        self._engine.destroy()
