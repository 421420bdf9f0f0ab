"""The settings of training: phases with their learning-rate schedules."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from eagleray.contract.settings import LATER, Settings


class Schedule(Settings):
    """Learning rate over optimizer steps, as a stateless function of the step."""

    kind: Literal["constant", "poly", "cosine", "linear", "step", "multistep"] = "constant"
    """Shape after the warm-up."""
    power: float = Field(default=0.9, gt=0)
    """Exponent of ``poly``: (1 - t/total)^power."""
    gamma: float = Field(default=0.1, gt=0)
    """Factor of ``step`` and ``multistep``."""
    milestones: tuple[int, ...] = ()
    """Optimizer steps at which ``multistep`` multiplies by gamma."""
    milestone_fractions: tuple[float, ...] = ()
    """The same as parts of the phase's length (120 of 160 epochs: 0.75)."""
    step_size: int = Field(default=1, ge=1)
    """Optimizer steps between two drops of ``step``."""
    start_factor: float = Field(default=1.0, ge=0)
    """Multiplier at the beginning of ``linear``."""
    end_factor: float = Field(default=0.0, ge=0)
    """Multiplier at the end of ``linear`` and ``cosine``."""
    end_lr: float | None = Field(default=None, ge=0)
    """Learning rate at the end of ``linear`` and ``cosine``, the same for all groups; replaces
    end_factor."""
    warmup_steps: int = Field(default=0, ge=0)
    """Optimizer steps of linear warm-up."""
    warmup_start: float = Field(default=1 / 3, ge=0, le=1)
    """Multiplier at the beginning of the warm-up."""
    warmup_start_lr: float | None = Field(default=None, ge=0)
    """Learning rate at the beginning of the warm-up, the same for all groups; replaces
    warmup_start."""
    warmup_reaches_base: Annotated[bool, LATER] = True
    """The warm-up covers clock ``warmup_steps`` too, where it reaches the base rate; else the shape
    begins there (POP-3D), and a cosine is below the base rate by then."""
    first_step: int = Field(default=0, ge=-1, le=1)
    """Clock t of the first optimizer step: 1 where the original counts from 1, -1 where it runs
    one step late."""
    hold_steps: int = Field(default=1, ge=1)
    """The shape is read at multiples of this many steps (1000: once per epoch of 1000 steps)."""
    lag_steps: int = Field(default=0, ge=0)
    """After a warm-up the shape is read this many steps late (1 in the original Seamless)."""


class Phase(Settings):
    """One stretch of training with its own length, optimizer, schedule and precision."""

    name: str = Field(default="main", pattern=r"^[a-z0-9_]+$")
    """Name of the phase."""
    steps: int | None = Field(default=None, ge=1)
    """Length in optimizer steps; give this or ``epochs``."""
    epochs: float | None = Field(default=None, gt=0)
    """Length in passes over the training data."""
    batch_size: int = Field(default=1, ge=1)
    """Samples per optimizer step over all workers and micro-batches."""
    optimizer: Literal["sgd", "adam", "adamw"] = "sgd"
    """Update rule."""
    lr: float = Field(default=0.01, ge=0)
    """Base learning rate."""
    momentum: float = Field(default=0.9, ge=0, lt=1)
    """SGD momentum."""
    nesterov: bool = False
    """Nesterov form of the SGD momentum."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Adam's decay rates."""
    eps: float = Field(default=1e-8, gt=0)
    """Adam's denominator offset."""
    weight_decay: float = Field(default=0.0, ge=0)
    """Weight decay (L2 for sgd and adam, decoupled for adamw)."""
    schedule: Schedule = Schedule()
    """Learning-rate schedule."""
    clip_norm: float | None = Field(default=None, gt=0)
    """Largest global L2 norm of the gradient."""
    ema_decay: float | None = Field(default=None, gt=0, lt=1)
    """Decay of an exponential moving average of the weights, which is then what is evaluated."""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Arithmetic of forward and backward; master weights stay float32."""
    normalize: Literal["global", "rank"] = "global"
    """Loss sums are divided by the weights of all ranks, or of each rank alone."""

    @model_validator(mode="after")
    def _one_length(self) -> Phase:
        if (self.steps is None) == (self.epochs is None):
            raise ValueError(
                f"phase {self.name!r}: give either steps or epochs, exactly one of them"
            )
        return self
