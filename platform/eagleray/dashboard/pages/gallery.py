"""Pictures of an evaluation: the worst first, filtered by metric; one unit with a slider that lays
the prediction over the truth or the input.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from dash import dcc, html
from dash.development.base_component import Component

from eagleray.browse.filter import NamedValues, read_filter
from eagleray.browse.gallery import (
    leading_metric,
    leading_values,
    picture_names,
    pictures_in_order,
    worst_first,
)
from eagleray.browse.index import RunEntry
from eagleray.dashboard.address import Address, run_link
from eagleray.dashboard.elements import (
    Content,
    Control,
    choice_control,
    note,
    number_text,
    problem,
    text_control,
)
from eagleray.dashboard.pictures import picture_link
from eagleray.dashboard.source import Source
from eagleray.runs.evaluation import StoredEvaluation, Unit, Units, read_evaluations, read_units
from eagleray.task import EaglerayError

UNITS_PER_PAGE = 60


class GalleryPage:
    """Pictures of an evaluation."""

    def __init__(self, source: Source) -> None:
        self._source = source

    def title(self, address: Address) -> str:
        """Name the page."""
        return "Gallery"

    def heading(self, address: Address) -> Content:
        """Return nothing: the run stands among the controls."""
        return []

    def controls(self, address: Address) -> Sequence[Control]:
        """Return the choice of run, evaluation, order, and two pictures to lay over."""
        runs = [run.name for run in self._source.runs() if run.summary.results]
        name = address.one("run") or (runs[0] if runs else "")
        options = [(run, run) for run in runs]
        default = runs[0] if runs else ""
        first = [choice_control("run", "Run", options, name, default, is_always_said=True)]
        entry = self._source.run(name)
        evaluations = self._evaluations(entry)
        if not evaluations:
            return first
        chosen = _chosen(evaluations, address)
        units = self._units(name, chosen)
        metrics, pictures = units.metrics(), picture_names(units.units)
        labels = [(e.label, f"{e.benchmark} ({e.checkpoint})") for e in evaluations]
        primary = _primary(chosen, metrics)
        both = [(n, n) for n in pictures]
        orders = [("", "worst first"), ("best", "best first"), ("given", "as in the data")]
        return [
            *first,
            choice_control("of", "Evaluation", labels, address.one("of"), labels[0][0]),
            *_metric_control(metrics, primary, address),
            choice_control("order", "Order", orders, address.one("order")),
            text_control("q", "Filter", address.one("q"), _example(units, primary)),
            choice_control("left", "Left", both, address.one("left"), _left(pictures)),
            choice_control("right", "Right", both, address.one("right"), _right(pictures)),
        ]

    def content(self, address: Address) -> Content:
        """Return the units as cards, or the one that the address names."""
        runs = [run.name for run in self._source.runs() if run.summary.results]
        name = address.one("run") or (runs[0] if runs else "")
        if not name:
            return [note("Nothing has been evaluated yet.")]
        entry = self._source.run(name)
        if entry is None:
            return [problem(f"There is no run {name!r} in this store (any more).")]
        evaluations = self._evaluations(entry)
        if not evaluations:
            return [note("Nothing has been evaluated in this run.")]
        chosen = _chosen(evaluations, address)
        if chosen.problem:
            return [problem(chosen.problem)]
        units = read_units(self._source.folder(name), chosen)
        shown, wrong = _ordered(units, chosen, address)
        problems: Content = [problem(text) for text in (*units.problems, *wrong)]
        wanted = address.one("unit")
        if wanted:
            unit = next((u for u in units.units if u.key == wanted), None)
            legend = self._legend(name, unit) if unit is not None else ""
            return [*problems, *_one_unit(name, wanted, unit, legend, shown, address)]
        metric = _metric(units, chosen, address)
        return [*problems, *_grid(name, shown, units, metric, address)]

    def version(self, address: Address) -> str:
        """Return a text that changes when the run's summary does."""
        entry = self._source.run(address.one("run")) if address.one("run") else None
        return f"{entry.changed_s}{entry.state}" if entry else "none"

    def _evaluations(self, entry: RunEntry | None) -> list[StoredEvaluation]:
        return read_evaluations(self._source.folder(entry.name)) if entry else []

    def _legend(self, run: str, unit: Unit) -> str:
        """Return what lies over a unit's pictures as JSON for ``assets/layers.js``."""
        if unit.legend is None or "input" not in unit.pictures:
            return ""
        if not self._source.is_inside(run, unit.legend.path):
            return ""
        try:
            known = json.loads(self._source.folder(run).read(unit.legend.path))
            layers = {
                layer: {**known["layers"][layer], "source": picture_link(run, picture)}
                for layer, picture in unit.layers.items()
                if layer in known["layers"]
            }
            told = {"names": known["names"], "colors": known["colors"], "layers": layers}
        except (OSError, ValueError, TypeError, KeyError, EaglerayError):
            return ""
        return json.dumps({**told, "input": picture_link(run, unit.pictures["input"])})

    def _units(self, name: str, evaluation: StoredEvaluation) -> Units:
        if not evaluation.folder:
            return Units([])
        return read_units(self._source.folder(name), evaluation)


def _metric_control(metrics: Sequence[str], primary: str, address: Address) -> list[Control]:
    if not metrics:
        return []
    return [
        choice_control("metric", "By", [(m, m) for m in metrics], address.one("metric"), primary)
    ]


def _chosen(evaluations: Sequence[StoredEvaluation], address: Address) -> StoredEvaluation:
    wanted = address.one("of")
    return next((e for e in evaluations if e.label == wanted), evaluations[0])


def _primary(evaluation: StoredEvaluation, metrics: Sequence[str]) -> str:
    return leading_metric(metrics, evaluation.result.metric if evaluation.result else "")


def _left(pictures: Sequence[str]) -> str:
    return "truth" if "truth" in pictures else next(iter(pictures), "")


def _right(pictures: Sequence[str]) -> str:
    return "prediction" if "prediction" in pictures else next(iter(pictures[::-1]), "")


def _ordered(
    units: Units, evaluation: StoredEvaluation, address: Address
) -> tuple[list[Unit], list[str]]:
    """Return the units that the address asks for, in its order, and what is wrong with it."""
    shown = {unit.key: unit for unit in units.units if unit.pictures}
    rows = [NamedValues(unit.key, unit.values) for unit in shown.values()]
    chosen, problems = read_filter(address.one("q")).chosen(rows, "unit")
    found, order = [shown[row.told] for row in chosen], address.one("order")
    if order == "given":
        return found, problems
    metric = _metric(units, evaluation, address)
    is_higher = evaluation.result is None or evaluation.result.higher_is_better
    return worst_first(found, metric, higher_is_better=is_higher == (order != "best")), problems


def _metric(units: Units, evaluation: StoredEvaluation, address: Address) -> str:
    return address.one("metric") or _primary(evaluation, units.metrics())


def _example(units: Units, metric: str) -> str:
    """Return a condition that about half of the units fulfil."""
    known = sorted(unit.values[metric] for unit in units.units if metric in unit.values)
    return f"{metric}<{known[len(known) // 2]:.3g}" if known else "words"


def _grid(run: str, shown: Sequence[Unit], units: Units, metric: str, address: Address) -> Content:
    pages = max(1, -(-len(shown) // UNITS_PER_PAGE))
    page = int(address.number("page", 1, 1, pages))
    part = shown[(page - 1) * UNITS_PER_PAGE : page * UNITS_PER_PAGE]
    with_pictures = sum(bool(unit.pictures) for unit in units.units)
    count = f"{len(shown)} of {with_pictures} units with pictures ({len(units.units)} evaluated)"
    links: Content = [
        html.Span(count, className="dim", id="count"),
        dcc.Link(run, href=run_link(run)),
    ]
    if page > 1:
        links.append(
            dcc.Link("← previous", id="previous", href=address.with_query(page=str(page - 1)))
        )
    if page < pages:
        links.append(dcc.Link("next →", id="next", href=address.with_query(page=str(page + 1))))
    cards = [_card(run, unit, metric, address) for unit in part]
    return [html.Div(links, className="bar"), html.Div(cards, className="cards")]


def _card(run: str, unit: Unit, metric: str, address: Address) -> Component:
    images = [
        html.Img(
            src=picture_link(run, picture, is_thumbnail=True),
            alt=f"{name} of {unit.key}",
            title=name,
        )
        for name, picture in pictures_in_order(unit).items()
    ]
    texts = [
        html.Span(unit.key, className="name"),
        html.Span(_numbers(unit, metric), className="dim"),
    ]
    return dcc.Link(
        [html.Div(images, className="row"), *texts],
        href=address.with_query(unit=unit.key),
        className="card",
    )


def _one_unit(
    run: str, wanted: str, unit: Unit | None, legend: str, shown: Sequence[Unit], address: Address
) -> Content:
    keys = [one.key for one in shown]
    back = dcc.Link("← all pictures", href=address.with_query(unit=None))
    if unit is None or not unit.pictures:
        return [back, problem(f"There are no pictures of {wanted!r} in this evaluation.")]
    links: Content = [back]
    if wanted in keys:
        position = keys.index(wanted)
        if position > 0:
            href = address.with_query(unit=keys[position - 1])
            links.append(dcc.Link("previous (p)", id="previous", href=href))
        if position + 1 < len(keys):
            links.append(
                dcc.Link("next (n)", id="next", href=address.with_query(unit=keys[position + 1]))
            )
    names = list(unit.pictures)
    left = _known(address.one("left"), names, _left(names))
    right = _known(address.one("right"), names, _right(names))
    strip = [
        html.Figure(
            [
                html.Img(src=picture_link(run, picture), alt=f"{name} of {unit.key}"),
                html.Figcaption(name),
            ]
        )
        for name, picture in pictures_in_order(unit).items()
    ]
    return [
        html.Div(links, className="bar"),
        html.H2(unit.key),
        note(_numbers(unit)),
        *([html.Div(className="labeled", **{"data-layers": legend})] if legend else []),
        _overlay(run, unit, left, right),
        html.Div(strip, className="strip"),
    ]


def _overlay(run: str, unit: Unit, left: str, right: str) -> Component:
    return html.Div(
        [
            html.Img(src=picture_link(run, unit.pictures[right]), alt=f"{right} of {unit.key}"),
            html.Img(
                src=picture_link(run, unit.pictures[left]),
                alt=f"{left} of {unit.key}",
                className="over",
            ),
            html.Span(left, className="tag left"),
            html.Span(right, className="tag right"),
            html.Span(className="bar-handle"),
        ],
        id="overlay",
        className="overlay",
        role="slider",
        tabIndex=0,
        **{
            "aria-label": f"How much of {left} lies over {right}",
            "aria-valuemin": "0",
            "aria-valuemax": "100",
            "aria-valuenow": "50",
        },
    )


def _known(wanted: str, names: Sequence[str], default: str) -> str:
    return wanted if wanted in names else default


def _numbers(unit: Unit, first: str = "") -> str:
    """Return all numbers of a unit, or the ``first`` and two more."""
    values = leading_values(unit.values, first, 3) if first else unit.values
    return ", ".join(f"{name} {number_text(value)}" for name, value in values.items())
