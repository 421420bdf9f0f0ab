"""Weights and configurations that others published, and weights of other trainings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor


@dataclass(frozen=True, slots=True)
class ImportedCheckpoint:
    """Foreign weights in our names; every key of the file is in exactly one of mapped and extra."""

    state_dict: Mapping[str, Tensor]
    mapped: Mapping[str, str]
    missing: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PublishedFiles:
    """What ``eagleray import`` makes of a published file: weights, an experiment, or both.

    Args:
        checkpoint: The weights, where the file holds some.
        experiment: Values of the experiment that its configuration describes; checked by the
            engine.
        files: What the experiment refers to, by the path below the folder that it was given.
        notes: What the user must know, one line each: what was not carried over, and why.
    """

    checkpoint: ImportedCheckpoint | None = None
    experiment: Mapping[str, Any] | None = None
    files: Mapping[str, bytes] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FittedWeights:
    """Weights of another training, made to fit a model.

    Args:
        weights: What is loaded, by name.
        kept: Tensors that keep the model's initial values although the file has them, with the
            reason; said aloud.
        notes: Further lines to say aloud.
    """

    weights: Mapping[str, Tensor]
    kept: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
