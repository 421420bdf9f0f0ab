"""What a run's JSON files say, read once and used by attribute: results and the summary.

evaluation/<benchmark>/<checkpoint>.json    an ``EvaluationResult``
summary.json                                a ``RunSummary``, with the results but their classes
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any

from pydantic import TypeAdapter, ValidationError

from eagleray.task import InputError, PublishedResult

INITIAL = "initial"
"""Label of the checkpoint before training."""


@dataclass(frozen=True, slots=True)
class EvaluationResult:
    """One checkpoint on one benchmark.

    Args:
        benchmark: The benchmark's name.
        checkpoint: Label of the checkpoint (``best``, ``last``, ``initial``, a file's name).
        metric: The metric that ranks runs.
        values: Metrics over all units; None where one is not finite.
        protocol: The benchmark's protocol.
        higher_is_better: Which way ``metric`` goes.
        per_class: Metrics by class.
        published: Numbers published for the benchmark.
        units: Units that were evaluated.
        rejected: Units that could not be.
        units_digest: Name of the set of units in its order; empty in results of old versions.
        rows: Name of the folder with the rows of all units; empty for a mean of other benchmarks.
    """

    benchmark: str
    checkpoint: str
    metric: str
    values: Mapping[str, float | None]
    protocol: str = ""
    higher_is_better: bool = True
    per_class: Mapping[str, Mapping[str, float | None]] = field(default_factory=dict)
    published: tuple[PublishedResult, ...] = ()
    units: int = 0
    rejected: int = 0
    units_digest: str = ""
    rows: str = ""

    @property
    def value(self) -> float | None:
        """The metric that ranks runs; None where it is not finite."""
        return self.values.get(self.metric)

    @property
    def class_metrics(self) -> list[str]:
        """Names of the metrics that classes have."""
        return list(dict.fromkeys(name for values in self.per_class.values() for name in values))

    def is_higher_better(self, metric: str) -> bool:
        """Return which way a metric goes; of others than ``metric`` more is taken for better."""
        return self.higher_is_better or metric != self.metric

    def encode(self) -> bytes:
        """Return the content of its file."""
        return encode_json(asdict(self))

    def as_summary(self) -> dict[str, Any]:
        """Return what the run's summary says of it: all but the classes."""
        values = asdict(self)
        del values["per_class"]
        return values

    @classmethod
    def parse(cls, values: Any) -> EvaluationResult:
        """Return the result in values read from JSON; what else they hold is left out.

        Raises:
            InputError: They are no result.
        """
        try:
            return _RESULT.validate_python(values)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(map(str, first["loc"])) or "the whole"
            raise InputError(
                f"it is no result of an evaluation: {where}: {first['msg']}"
            ) from error


@dataclass(frozen=True, slots=True)
class BestCheckpoint:
    """The best checkpoint of a training, and the validation metric that says so."""

    checkpoint: str
    metric: str
    value: float


@dataclass(frozen=True, slots=True)
class RunSummary:
    """What became of a run. What a damaged file does not say is empty.

    Args:
        task: Name of the task.
        experiment: Name of the experiment.
        state: ``training``, ``trained``, ``stopped`` or ``failed``; empty before training.
        step: Optimizer steps done.
        error: Why it failed.
        train: Newest metrics of training and validation by name.
        best: The best checkpoint, where anything was validated.
        results: Results of all evaluations, without their classes.
    """

    task: str = ""
    experiment: str = ""
    state: str = ""
    step: int | None = None
    error: str = ""
    train: Mapping[str, Any] = field(default_factory=dict)
    best: BestCheckpoint | None = None
    results: tuple[EvaluationResult, ...] = ()

    def result(self, benchmark: str, checkpoint: str) -> EvaluationResult | None:
        """Return the result of a checkpoint on a benchmark, None where there is none."""
        asked = (benchmark, checkpoint)
        return next((r for r in self.results if (r.benchmark, r.checkpoint) == asked), None)

    @classmethod
    def parse(cls, values: Any) -> RunSummary:
        """Return the summary in values read from JSON.

        Entries of the wrong type are left out, so that a list of runs shows the rest of them.

        Raises:
            InputError: They are no mapping.
        """
        if not isinstance(values, dict):
            raise InputError("it is no mapping")
        step, train = values.get("step"), values.get("train")
        return cls(
            task=str(values.get("task") or ""),
            experiment=str(values.get("experiment") or ""),
            state=str(values.get("state") or ""),
            step=step if type(step) is int else None,
            error=str(values.get("error") or ""),
            train=train if isinstance(train, dict) else {},
            best=_best(values.get("best")),
            results=_results(values.get("results")),
        )


_RESULT = TypeAdapter(EvaluationResult)


def encode_json(values: Mapping[str, Any]) -> bytes:
    """Return values as the bytes that all JSON files of a run are written with."""
    return (json.dumps(values, indent=1, sort_keys=True) + "\n").encode()


def _best(values: Any) -> BestCheckpoint | None:
    if not isinstance(values, dict) or not isinstance(values.get("value"), int | float):
        return None
    name, metric = values.get("checkpoint", ""), values.get("metric", "")
    return BestCheckpoint(str(name), str(metric), values["value"])


def _results(values: Any) -> tuple[EvaluationResult, ...]:
    results = []
    for stored in values.values() if isinstance(values, dict) else ():
        with suppress(InputError):
            results.append(EvaluationResult.parse(stored))
    return tuple(results)
