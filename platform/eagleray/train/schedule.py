"""Learning rate as a stateless function of the step, so that resuming needs no scheduler state.

Covers the published recipes: warm-up and "one call late" multistep or poly (Seamless), linear
warm-up and
step drops (EfficientPS), poly to zero (OPS), cosine with absolute ends (POP-3D), cosine held over
epochs
(OmniSeg3D).
"""

from __future__ import annotations

import math

from eagleray.task import Schedule


def multiplier(schedule: Schedule, step: int, total_steps: int) -> float:
    """Return the factor of the base learning rate at clock ``step``.

    Args:
        schedule: What to compute; ``end_lr`` and ``warmup_start_lr`` are not looked at
        (``learning_rate``).
        step: Value of the schedule's clock t, not shifted by ``first_step``.
        total_steps: Length of the phase in optimizer steps.

    Example:
        >>> multiplier(Schedule(kind="multistep", milestones=(30,)), 30, 100)
        0.1
    """
    if schedule.warmup_steps > 0:
        if step <= schedule.warmup_steps:
            start = schedule.warmup_start
            return step / schedule.warmup_steps * (1.0 - start) + start
        step -= schedule.lag_steps
    return _shape(schedule, step // schedule.hold_steps * schedule.hold_steps, total_steps)


def learning_rate(schedule: Schedule, base_lr: float, step: int, total_steps: int) -> float:
    """Return the learning rate of a parameter group for an optimizer step.

    Args:
        schedule: What to compute.
        base_lr: The group's base learning rate.
        step: Optimizer step within the phase, from 0; the clock is ``max(0, step +
        schedule.first_step)``.
        total_steps: Length of the phase in optimizer steps.
    """
    if base_lr == 0.0:
        return 0.0
    factors: dict[str, float] = {}
    if schedule.end_lr is not None:
        factors["end_factor"] = schedule.end_lr / base_lr
    if schedule.warmup_start_lr is not None:
        factors["warmup_start"] = schedule.warmup_start_lr / base_lr
    if factors:
        schedule = schedule.model_copy(update=factors)
    return base_lr * multiplier(schedule, max(0, step + schedule.first_step), total_steps)


def _shape(schedule: Schedule, step: int, total_steps: int) -> float:
    part = min(step / total_steps, 1.0)
    match schedule.kind:
        case "constant":
            return 1.0
        case "poly":
            return float((1.0 - part) ** schedule.power)
        case "cosine":
            end = schedule.end_factor
            return end + (1.0 - end) * 0.5 * (1.0 + math.cos(math.pi * part))
        case "linear":
            return schedule.start_factor + (schedule.end_factor - schedule.start_factor) * part
        case "step":
            return float(schedule.gamma ** (step // schedule.step_size))
        case "multistep":
            at = (
                *schedule.milestones,
                *(f * total_steps for f in schedule.milestone_fractions),
            )
            return float(schedule.gamma ** sum(m <= step for m in at))
