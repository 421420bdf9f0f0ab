"""The benchmark's metrics of single units, by which a gallery can show the worst first."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable

from eagleray.task import Evaluation, Rows

_log = logging.getLogger(__name__)


def unit_values(
    task: Evaluation, benchmark: str, rows: Rows, keys: Iterable[str]
) -> dict[str, dict[str, float]]:
    """Return what ``Evaluation.compute`` gives for each unit alone, as far as it is finite.

    A metric that means nothing for one unit is no error: it is left out, and so is a unit that the
    task refuses.

    Args:
        task: The task.
        benchmark: Name of the benchmark.
        rows: The rows of all its units.
        keys: The units that are asked for.
    """
    found: dict[str, dict[str, float]] = {}
    for key in keys:
        try:
            values = task.compute(benchmark, iter([rows[key]])).values
        except Exception as error:
            _log.info("benchmark %s has no metrics of the unit %s alone: %r", benchmark, key, error)
            continue
        found[key] = {k: float(v) for k, v in values.items() if math.isfinite(v)}
    return found
