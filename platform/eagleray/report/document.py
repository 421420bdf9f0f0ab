"""One HTML file about some runs and sweeps: curves, tables, pictures, settings, environment,
rejects.

Everything is inside the file (plotly.js once, pictures as data), so it opens without a network and
can be sent by mail. Every text from a file goes through the template's escaping.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import jinja2
import plotly.graph_objects as go
import plotly.io
from PIL import Image
from plotly.offline import get_plotlyjs

from eagleray import __version__
from eagleray.analysis.table import Comparison, comparisons
from eagleray.browse.diagnostic_figures import lines_figure, matrix_figure
from eagleray.browse.figures import NamedHistory, classes_figure, curves_figure, metric_names
from eagleray.browse.gallery import (
    leading_metric,
    leading_values,
    pictures_in_order,
    worst_first,
)
from eagleray.report.sweep_part import sweep_part
from eagleray.runs.diagnostics import read_diagnostics
from eagleray.runs.evaluation import StoredEvaluation, Unit, read_evaluations, read_units
from eagleray.runs.metrics import read_history
from eagleray.runs.records import RunSummary
from eagleray.runs.rejects import Rejected, read_rejects
from eagleray.runs.run_folder import RunFolder, run_below, runs_store
from eagleray.runs.settings import differing, read_settings
from eagleray.storage import Store
from eagleray.sweep.folder import SweepFolder
from eagleray.task import (
    CurvesDiagnostic,
    Diagnostic,
    EaglerayError,
    InputError,
    MatrixDiagnostic,
    TableDiagnostic,
)

PICTURE_WIDTH_PX = 480
_VALUES_SHOWN = 4


@dataclass(frozen=True)
class GalleryRow:
    """One unit in the report: its numbers and its pictures as data addresses."""

    key: str
    values: Mapping[str, float]
    pictures: Mapping[str, str]


@dataclass(frozen=True)
class EvaluationPart:
    """One evaluation in the report."""

    evaluation: StoredEvaluation
    rows: Sequence[Comparison] = ()
    gallery: Sequence[GalleryRow] = ()
    gallery_order: str = ""
    problems: Sequence[str] = ()
    figures: Sequence[go.Figure] = ()
    tables: Sequence[TableDiagnostic] = ()


@dataclass(frozen=True)
class RunPart:
    """One run in the report."""

    name: str
    summary: RunSummary
    evaluations: Sequence[EvaluationPart]
    settings: Mapping[str, Any]
    environment: Mapping[str, Any]
    rejects: Sequence[Rejected]
    damaged_lines: int
    problems: Sequence[str] = field(default_factory=list)


def report_html(
    storage: str, names: Sequence[str], *, sweeps: Sequence[SweepFolder] = (), pictures: int = 12
) -> str:
    """Return the report of some runs and sweeps.

    Args:
        storage: Folder or URI that holds the runs.
        names: The runs as ``experiment/run``.
        sweeps: Folders of sweeps; each becomes a section.
        pictures: Units shown per evaluation, the worst first.
    """
    runs = [run_below(runs_store(storage), name) for name in names]
    labels = _short_names(names)
    histories = [NamedHistory(n, read_history(r)) for n, r in zip(labels, runs, strict=True)]
    parts = [
        _run_part(run, label, one, pictures)
        for run, label, one in zip(runs, labels, histories, strict=True)
    ]
    swept = [sweep_part(sweep) for sweep in sweeps]
    figures = [curves_figure(histories, m, smoothing=0.8) for m in metric_names(histories)]
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("eagleray.report", "."),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = _number
    environment.filters["signed"] = lambda v: "" if v is None else f"{v:+.4g}"
    environment.filters["value"] = _value
    environment.filters["drawn"] = _figure_html
    return environment.get_template("report.html.j2").render(
        title=", ".join([*(part.name for part in swept), *labels]),
        sweeps=swept,
        runs=parts,
        differing=differing([part.settings for part in parts]) if len(parts) > 1 else {},
        curves=[_figure_html(figure) for figure in figures],
        classes=[_figure_html(figure) for figure in _class_figures(parts)],
        plotly_js=get_plotlyjs(),
        version=__version__,
        made=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    )


def _run_part(run: RunFolder, label: str, one: NamedHistory, pictures: int) -> RunPart:
    problems: list[str] = []
    summary = run.summary()
    if summary == RunSummary():
        problems.append("summary.json is missing or damaged")
    try:
        settings = read_settings(run)
    except InputError as error:
        settings = {}
        problems.append(str(error))
    evaluations = read_evaluations(run)
    return RunPart(
        label,
        summary,
        [_evaluation_part(run, evaluation, pictures) for evaluation in evaluations],
        settings,
        _environment(run, problems),
        read_rejects(run, evaluations),
        one.history.damaged_lines,
        problems,
    )


def _evaluation_part(run: RunFolder, evaluation: StoredEvaluation, pictures: int) -> EvaluationPart:
    result = evaluation.result
    if result is None:
        return EvaluationPart(evaluation, problems=[evaluation.problem])
    gallery: list[GalleryRow] = []
    problems: list[str] = []
    order = ""
    try:
        units = read_units(run, evaluation)
        problems += units.problems
        shown = [unit for unit in units.units if unit.pictures]
        order = leading_metric(units.metrics(), result.metric) if shown else ""
        shown = worst_first(shown, order, higher_is_better=result.higher_is_better)
        gallery = [_gallery_row(run, unit, order, problems) for unit in shown[:pictures]]
    except InputError as error:
        problems.append(str(error))
    found: Sequence[Diagnostic] = ()
    try:
        found = read_diagnostics(run, result.benchmark, result.checkpoint)
    except InputError as error:
        problems.append(str(error))
    figures = [matrix_figure(one) for one in found if isinstance(one, MatrixDiagnostic)]
    figures += [lines_figure(one) for one in found if isinstance(one, CurvesDiagnostic)]
    tables = [one for one in found if isinstance(one, TableDiagnostic)]
    rows = comparisons(result)
    return EvaluationPart(evaluation, rows, gallery, order, problems, figures, tables)


def _gallery_row(run: Store, unit: Unit, metric: str, problems: list[str]) -> GalleryRow:
    shown = {}
    for name, picture in pictures_in_order(unit).items():
        try:
            shown[name] = data_address(run.read(picture.path))
        except (OSError, ValueError, EaglerayError) as error:
            problems.append(f"picture {name} of {unit.key} cannot be read: {error}")
    return GalleryRow(unit.key, leading_values(unit.values, metric, _VALUES_SHOWN), shown)


def data_address(png: bytes) -> str:
    """Return a picture as a data address, made smaller where it is wide.

    Raises:
        OSError: It is no picture.
    """
    with Image.open(io.BytesIO(png), formats=["PNG"]) as opened:
        image: Image.Image = opened
        image.load()
        if image.width > PICTURE_WIDTH_PX:
            height = max(1, round(image.height * PICTURE_WIDTH_PX / image.width))
            image = image.convert("RGB").resize((PICTURE_WIDTH_PX, height))
        buffer = io.BytesIO()
        image.save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _class_figures(parts: Sequence[RunPart]) -> list[go.Figure]:
    """Return one figure per benchmark, checkpoint and class metric with all runs in it."""
    figures: dict[tuple[str, str, str], dict[str, Any]] = {}
    for part in parts:
        for one in part.evaluations:
            result = one.evaluation.result
            if result is None:
                continue
            for metric in result.class_metrics:
                values = {name: value.get(metric) for name, value in result.per_class.items()}
                key = (result.benchmark, result.checkpoint, metric)
                figures.setdefault(key, {})[part.name] = values
    return [
        classes_figure(runs, f"{benchmark} ({checkpoint}): {metric}")
        for (benchmark, checkpoint, metric), runs in figures.items()
    ]


def _environment(run: RunFolder, problems: list[str]) -> Mapping[str, Any]:
    try:
        return run.environment().facts()
    except InputError as error:
        problems.append(str(error))
        return {}


def _figure_html(figure: go.Figure) -> str:
    config = {"displaylogo": False, "responsive": True}
    text: str = plotly.io.to_html(
        figure, config=config, include_plotlyjs=False, full_html=False, default_width="100%"
    )
    return text


def _short_names(names: Sequence[str]) -> list[str]:
    """Return the names without the experiment where all runs are of one experiment."""
    if len({name.partition("/")[0] for name in names}) == 1 and len(names) > 1:
        return [name.partition("/")[2] for name in names]
    return list(names)


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, int | float) else ""


def _value(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    return value if isinstance(value, str) else json.dumps(value, default=str)
