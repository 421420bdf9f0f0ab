"""Benchmarks: what is measured, what was published, what came out."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, Self

from eagleray.contract.base import DataTask
from eagleray.contract.diagnostics import Diagnostic, LabelLayers
from eagleray.contract.generics import M, P, S
from eagleray.contract.prediction import Inference
from eagleray.contract.settings import with_use

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class PublishedResult:
    """A published number: the metric's name in ``Metrics.values``, its value and where it was
    read.
    """

    metric: str
    value: float
    source: str
    model: str = ""
    recalled: bool = False
    """True where the number is quoted from memory and still to be checked."""


@dataclass(frozen=True, slots=True)
class Benchmark:
    """A dataset split with a protocol and the numbers published for it.

    Args:
        name: Unique within the task.
        source: What to hand to ``DataTask.dataset``; its samples are the units. Empty where it is
            the mean of others.
        metric: The number that ranks runs.
        protocol: One paragraph: resolution, classes, rules.
        schema: Columns of the rows that ``Evaluation.score`` returns, as in ``Stage.schema``.
    """

    name: str
    source: str
    metric: str
    protocol: str
    schema: Mapping[str, str]
    higher_is_better: bool = True
    vocabulary: tuple[str, ...] = ()
    published: tuple[PublishedResult, ...] = ()
    use: Mapping[str, Any] = field(default_factory=dict)
    """Settings of use (``OF_USE``) that it states, nested as in an experiment's YAML; they replace
    the experiment's own."""
    mean_of: tuple[str, ...] = ()
    """Names of the benchmarks that it is the mean of (folds of a data set), each counting alike.
    Their units are evaluated once for both; it has none of its own and is never validated on."""


@dataclass(frozen=True, slots=True)
class Metrics:
    """Result of a benchmark: scalars, and scalars per class (class name -> metric -> value)."""

    values: Mapping[str, float]
    per_class: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


class Evaluation(Inference[M, S, P], DataTask, Generic[M, S, P]):
    """A task whose predictions ``P`` for samples ``S`` are scored on benchmarks."""

    @abstractmethod
    def benchmarks(self) -> Sequence[Benchmark]:
        """Return the benchmarks that these settings can be evaluated on; the first one is the
        default.

        Called by the driver and in validation by every rank.
        """

    @abstractmethod
    def score(self, benchmark: str, sample: S, prediction: P) -> Mapping[str, Any]:
        """Return the row (``Benchmark.schema``) that one unit adds to the metric.

        Called once per unit behind ``predict``, by the same process; ``sample`` is as it was
        loaded, on the CPU. An evaluation calls it from a few threads, while the device predicts the
        next units.
        """

    @abstractmethod
    def compute(self, benchmark: str, rows: Iterable[Mapping[str, Any]]) -> Metrics:
        """Return the metrics over the rows of all units, which come in unit order.

        Called by the driver over all units, and over single pictured ones; in validation by rank 0.
        ``rows`` can be gone through once.
        """

    def diagnostics(
        self, benchmark: str, rows: Iterable[Mapping[str, Any]]
    ) -> Sequence[Diagnostic]:
        """Return what is drawn beside the metrics: matrices, curves, tables.

        Called by the driver over all units, after ``compute``. An error here is told and touches no
        metric. ``rows`` can be gone through once.
        """
        return ()

    def on_benchmark(self, benchmark: Benchmark) -> Self:
        """Return the task with the settings that a benchmark states.

        Raises:
            SettingsError: It states something else than settings of use.
        """
        if not benchmark.use:
            return self
        origin = f"benchmark {benchmark.name!r} of task {self.name!r}"
        return type(self)(with_use(self.settings, benchmark.use, origin))

    def picture(self, sample: S, prediction: P) -> Mapping[str, npt.NDArray[np.uint8]]:
        """Return named RGB pictures, uint8 (H, W, 3), of one size: ``input``, ``truth``,
        ``prediction``. An error here is told and touches no unit.

        Called for the first ``evaluate.pictures`` units, by the thread that scored them.
        """
        return {}

    def layers(self, sample: S, prediction: P) -> LabelLayers | None:
        """Return labels that can be switched on and off over the picture ``input``, of its
        proportions; None where there are none. An error here is told and touches no unit.

        Called where ``picture`` is.
        """
        return None
