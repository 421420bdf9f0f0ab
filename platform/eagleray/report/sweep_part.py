"""A sweep in the report: its table and its figures, the same as on the dashboard's page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from eagleray.analysis.ablation import make_table
from eagleray.analysis.table_formats import Table
from eagleray.analysis.variants import ranked_trials, trial_value
from eagleray.report.sweep_figures import (
    HOURS,
    parallel_figure,
    scatter_figure,
)
from eagleray.report.variant_figures import differences_figure, variants_figure
from eagleray.storage import Store
from eagleray.sweep.sweep_folder import sweep_name
from eagleray.sweep.sweep_results import read_results
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


def sweep_part(sweep: Store) -> SweepPart:
    """Return a sweep's table and figures; what cannot be read is named."""
    try:
        results = read_results(sweep)
    except (EaglerayError, OSError) as error:
        return SweepPart(sweep_name(sweep), None, problems=[str(error)])
    table, metric = make_table(results), results.record.metric
    trials, settings = ranked_trials(results), results.settings()
    if all(trial_value(trial, results, metric) is None for trial in trials):
        return SweepPart(sweep_name(sweep), table, problems=results.problems)
    is_ablation = results.record.kind == "ablations"
    differences = differences_figure(results, metric)
    wide = [variants_figure(results, metric)] if is_ablation else []
    wide += [differences] if differences else []
    wide += [parallel_figure(results, trials, metric)] if settings else []
    over = [HOURS] if is_ablation else [*settings[:MOST_SCATTERS], HOURS]
    figures = [scatter_figure(results, trials, name, metric) for name in over]
    return SweepPart(sweep_name(sweep), table, wide, figures, results.problems)
