"""A sweep in the report: its table and its figures, the same as on the dashboard's page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from eagleray.analysis.ablation import HOURS, make_table
from eagleray.analysis.table_formats import Table
from eagleray.browse.sweep_figures import (
    differences_figure,
    parallel_figure,
    scatter_figure,
    variants_figure,
)
from eagleray.sweep.folder import SweepFolder
from eagleray.sweep.results import read_results
from eagleray.task import EaglerayError

MOST_SCATTERS = 12
"""Settings that are drawn against the metric; more are in the table alone."""


@dataclass(frozen=True)
class SweepPart:
    """One sweep in the report.

    Args:
        name: ``experiment/sweep``.
        table: Its table; None where the sweep cannot be read.
        wide: Figures as wide as the page.
        figures: Smaller ones.
        problems: What could not be read.
    """

    name: str
    table: Table | None
    wide: Sequence[go.Figure] = ()
    figures: Sequence[go.Figure] = ()
    problems: Sequence[str] = ()


def sweep_part(sweep: SweepFolder) -> SweepPart:
    """Return a sweep's table and figures; what cannot be read is named."""
    try:
        results = read_results(sweep)
    except (EaglerayError, OSError) as error:
        return SweepPart(sweep.name, None, problems=[str(error)])
    table, trials, settings = make_table(results), results.ranked(), results.settings()
    if all(results.value(trial) is None for trial in trials):
        return SweepPart(sweep.name, table, problems=results.problems)
    is_ablation = results.summary.kind == "ablations"
    wide = [variants_figure(results) if is_ablation else None, differences_figure(results)]
    wide += [parallel_figure(results, trials)] if settings else []
    over = [HOURS] if is_ablation else [*settings[:MOST_SCATTERS], HOURS]
    figures = [scatter_figure(results, trials, name) for name in over]
    return SweepPart(
        sweep.name, table, [w for w in wide if w is not None], figures, results.problems
    )
