"""What the ``sweep`` section of an experiment may say."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from eagleray.task import Settings


class Draw(Settings):
    """What a searched setting is drawn from: exactly one of these."""

    choice: tuple[Any, ...] | None = None
    """One of these values."""
    uniform: tuple[float, float] | None = None
    """Least and greatest value."""
    log_uniform: tuple[float, float] | None = None
    """Least and greatest value, both positive; uniform in the logarithm."""
    integer: tuple[int, int] | None = None
    """Least and greatest whole number, both included."""

    @property
    def kind(self) -> str:
        """Name of the field that is set."""
        return next(name for name in type(self).model_fields if getattr(self, name) is not None)

    @model_validator(mode="after")
    def _possible(self) -> Draw:
        given = [name for name in type(self).model_fields if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(
                f"give exactly one of {', '.join(type(self).model_fields)}, found "
                f"{' and '.join(given) or 'none'}"
            )
        if self.choice is not None:
            if not self.choice:
                raise ValueError("choice needs one value at least")
            return self
        low, high = getattr(self, given[0])
        if low >= high or (self.log_uniform is not None and low <= 0):
            raise ValueError(
                f"{given[0]} needs its least value first, then a greater one"
                f"{', both above 0' if self.log_uniform else ''}; found [{low}, {high}]"
            )
        return self


class SearchSettings(Settings):
    """A search over a space of settings; none where the space is empty."""

    algorithm: Literal["random", "optuna"] = "random"
    """Independent draws, or Optuna's tree-structured Parzen estimator, which learns from the
    trials that are over."""
    trials: int = Field(20, ge=1)
    """Trials of the search; a greater number goes on with a finished one."""
    space: dict[str, Draw] = Field({})
    """What each setting, by dotted path, is drawn from."""


class SchedulerSettings(Settings):
    """What ends weak trials early, judged by the validations inside training."""

    kind: Literal["none", "asha"] = "none"
    """Asynchronous successive halving (ASHA), or nothing."""
    grace_steps: int = Field(100, ge=1)
    """Optimizer steps that every trial gets before it can be stopped."""
    reduction_factor: int = Field(3, ge=2)
    """One trial in so many goes on at grace_steps times each power of this number."""


class SweepSettings(Settings):
    """Which trials ``eagleray sweep`` runs: one of ablations, grid and search.

    Settings are named by dotted paths (``train.phases.0.lr``, ``settings.data.scene``); what is no
    section of the experiment is looked up below ``settings``.
    """

    benchmark: str | None = None
    """Benchmark that ranks trials; by default the first of evaluate.benchmarks, else the
    task's first."""
    metric: str | None = None
    """Its metric; by default the one the benchmark is ranked by."""
    higher_is_better: bool | None = None
    """Whether the greatest value of the metric is the best; by default as the benchmark says."""
    seeds: tuple[int, ...] = ()
    """Every variant runs with each of these seeds; by default the experiment's one."""
    trials_at_once: int | None = Field(None, ge=1)
    """Trials that run at the same time; by default, and at most, as many as fit."""
    ablations: dict[str, dict[str, Any]] = Field({})
    """Named variants, each with the settings in which it differs from the experiment, which is
    the variant ``baseline``."""
    grid: dict[str, tuple[Any, ...]] = Field({})
    """Values of each setting; every combination is a variant."""
    search: SearchSettings = SearchSettings()
    """A search over a space."""
    scheduler: SchedulerSettings = SchedulerSettings()
    """What ends weak trials of a grid or a search early."""
    published: dict[str, str] = Field({})
    """Which published model a variant is, by variant; by default the one of its own name."""

    @model_validator(mode="after")
    def _one_kind(self) -> SweepSettings:
        given = [
            name
            for name, values in (
                ("ablations", self.ablations),
                ("grid", self.grid),
                ("search.space", self.search.space),
            )
            if values
        ]
        if len(given) > 1:
            raise ValueError(f"give one of ablations, grid and search, found {' and '.join(given)}")
        if self.scheduler.kind != "none" and self.ablations:
            raise ValueError(
                "a scheduler would end weak variants early and leave an ablation without their "
                "results; use it with a grid or a search, or set scheduler.kind to none"
            )
        if self.search.space and len(self.seeds) > 1:
            raise ValueError(
                f"a search draws new settings for every trial and takes one seed, found "
                f"{list(self.seeds)}"
            )
        if len(set(self.seeds)) < len(self.seeds) or any(seed < 0 for seed in self.seeds):
            raise ValueError(f"seeds must be different and not negative, found {list(self.seeds)}")
        empty = [path for path, values in self.grid.items() if not values]
        if empty:
            raise ValueError(f"grid: {empty[0]} has no values")
        return self
