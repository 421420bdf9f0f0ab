"""Asking in words: an index of units that is made once, so that a new text needs no network.

The engine runs the model over a split with the evaluation's workers and keeps one row per unit, in
the run. A text is then answered from these rows alone, on the machine that asks.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic

from eagleray.contract.data import Dataset
from eagleray.contract.generics import M, P, S
from eagleray.contract.prediction import Inference
from eagleray.contract.prepare import Rows


@dataclass(frozen=True, slots=True)
class Hit:
    """Something in a unit that answers a text.

    Args:
        unit: Key of the unit.
        score: How well it answers; comparable among the answers to one text.
        values: What a table says of it (a place, a size), by column; the same columns for all.
    """

    unit: str
    score: float
    values: Mapping[str, float | int | str] = field(default_factory=dict)


class Querying(Inference[M, S, P], Generic[M, S, P]):
    """A task whose units can be asked in words."""

    index_schema: ClassVar[Mapping[str, str]]
    """Columns of an index' rows, as in ``Stage.schema``."""
    fit_units: ClassVar[int] = 0
    """Units whose predictions ``fit_index`` sees, spread over the split; 0 = no fit."""

    @abstractmethod
    def query_splits(self) -> Sequence[str]:
        """Return the splits that can be asked; the first one is the default."""

    @abstractmethod
    def query_stages(self, split: str) -> Sequence[str]:
        """Return the labels of the stages whose rows ``query_units`` reads."""

    @abstractmethod
    def query_units(self, split: str, rows: Mapping[str, Rows]) -> Dataset[S, Any]:
        """Return the units of a split; they need no truth.

        Called by the driver, by every worker, and where a hit is shown.
        """

    def fit_index(self, predictions: Iterable[P]) -> Mapping[str, Any]:
        """Compute from some predictions what all rows share (a codebook), as JSON.

        Called by one worker before the others begin.
        """
        return {}

    @abstractmethod
    def index_row(self, sample: S, prediction: P, fitted: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return what is kept of a unit: the row (``index_schema``) that texts are compared with.

        Called once per unit behind ``predict``, by the same process from a few threads.
        """

    @abstractmethod
    def ask(self, text: str, index: Rows, units: Sequence[str], top: int) -> Sequence[Hit]:
        """Return what answers a text best, the best first; raises InputError for one that cannot be
        asked. What ``fit_index`` gave is ``index.fitted()``.

        Called by the command line, without a model; ``index`` may lie on a slow storage, so each
        row is best read once and in order.

        Args:
            text: What is looked for.
            index: Rows of the split.
            units: Keys of those that are asked.
            top: How many hits are wanted at most.
        """

    def show(
        self,
        text: str,
        hits: Sequence[Hit],
        sample: S,
        row: Mapping[str, Any],
        fitted: Mapping[str, Any],
    ) -> Mapping[str, bytes]:
        """Return files that show the hits of one unit, by ending (``above.png``, ``ply``).

        Args:
            text: What was looked for.
            hits: The hits in this unit, the best first.
            sample: The unit, as ``query_units`` loads it.
            row: Its row of the index.
            fitted: What ``fit_index`` gave.
        """
        return {}
