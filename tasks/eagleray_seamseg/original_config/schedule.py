"""Optimizer and learning-rate schedule of the original's configuration as a training phase."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from eagleray.task import SettingsError
from eagleray_seamseg.original_config.ini import OriginalConfig
from eagleray_seamseg.settings import paper_phase

_PARAMS: Mapping[str, tuple[str, ...]] = {
    "linear": ("from", "to"),
    "step": ("step_size", "gamma"),
    "poly": ("gamma",),
    "multistep": ("milestones", "gamma"),
}
"""What ``[scheduler] params`` holds for every type."""


def phase_of(config: OriginalConfig, *, batch_size: int) -> dict[str, Any]:
    """Return the values of the training phase.

    Args:
        config: The configuration.
        batch_size: Samples per optimizer step.

    Raises:
        SettingsError: Type, update mode or parameters of the schedule are unknown.
    """
    shape = _shape(config)
    given = paper_phase("package").model_dump()
    warmup = {
        "warmup_steps": config.get("scheduler", "burn_in_steps"),
        "warmup_start": config.get("scheduler", "burn_in_start"),
    }
    same_clock = {key: given["schedule"][key] for key in ("first_step", "lag_steps")}
    return {
        **given,
        "epochs": config.get("scheduler", "epochs"),
        "batch_size": batch_size,
        "lr": config.get("optimizer", "lr"),
        "momentum": config.get("optimizer", "momentum"),
        "nesterov": config.get("optimizer", "nesterov"),
        "weight_decay": config.get("optimizer", "weight_decay"),
        "schedule": {**same_clock, **warmup, **shape},
    }


def _shape(config: OriginalConfig) -> dict[str, Any]:
    kind, mode = config.get("scheduler", "type"), config.get("scheduler", "update_mode")
    if kind not in _PARAMS or mode not in ("batch", "epoch"):
        raise SettingsError(
            f"{config.name}: [scheduler] type = {kind}, update_mode = {mode}; type is one of "
            f"{', '.join(_PARAMS)}, update_mode batch or epoch"
        )
    params = _params(config, kind)
    epochs = config.get("scheduler", "epochs")
    if kind == "poly":
        return {"kind": "poly", "power": params["gamma"]}
    if kind == "linear":
        return {"kind": "linear", "start_factor": params["from"], "end_factor": params["to"]}
    if kind == "step" and mode == "batch":
        return {"kind": "step", "step_size": params["step_size"], "gamma": params["gamma"]}
    milestones = (
        range(params["step_size"], epochs, params["step_size"])
        if kind == "step"
        else params["milestones"]
    )
    shape = {"kind": "multistep", "gamma": params["gamma"]}
    if mode == "batch":
        return {**shape, "milestones": tuple(milestones)}
    return {**shape, "milestone_fractions": tuple(one / epochs for one in milestones)}


def _params(config: OriginalConfig, kind: str) -> dict[str, Any]:
    given = config.get("scheduler", "params")
    wanted = _PARAMS[kind]
    if not isinstance(given, Mapping) or set(wanted) - set(given):
        raise SettingsError(
            f"{config.name}: [scheduler] params = {given!r}: type {kind} needs a dictionary with "
            f"{', '.join(wanted)}"
        )
    for name in wanted:
        value, whole = given[name], name in ("step_size", "milestones")
        values = value if name == "milestones" and isinstance(value, list | tuple) else [value]
        if not all(isinstance(one, int if whole else int | float) for one in values):
            raise SettingsError(
                f"{config.name}: [scheduler] params: {name} is {value!r}, but "
                f"{'whole numbers are' if whole else 'a number is'} needed"
            )
    if kind == "step" and given["step_size"] < 1:
        raise SettingsError(f"{config.name}: [scheduler] params: step_size must be 1 or more")
    return dict(given)
