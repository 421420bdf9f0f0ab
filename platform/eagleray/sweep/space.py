"""Spaces of searched settings: random draws, corners, words, and an Optuna search over them."""

from __future__ import annotations

import json
import logging
import math
import random
from collections.abc import Mapping, Sequence
from typing import Any

from eagleray.experiment.sweep import Draw
from eagleray.sweep.folder import SweepSummary, TrialRecord
from eagleray.task import SettingsError

VALUE = "value"
"""Name under which trials report the metric to Tune."""
STEPS = "steps"
"""Name under which they report the optimizer steps done."""

Space = Mapping[str, Draw]
"""What each setting is drawn from, by full path."""

_MOST_REPEATS = 1000
"""Draws in a row that were all there before, after which a space counts as exhausted."""


def draw_points(space: Space, count: int, seed: int) -> list[dict[str, Any]]:
    """Return independent draws, all different; fewer where the space holds no more.

    More draws with the same seed begin with the same ones.
    """
    rng = random.Random(seed)
    points: dict[str, dict[str, Any]] = {}
    repeats = 0
    while len(points) < count and repeats < _MOST_REPEATS:
        point = {path: _draw_value(draw, rng) for path, draw in space.items()}
        key = json.dumps(point, sort_keys=True, default=str)
        repeats = repeats + 1 if key in points else 0
        points.setdefault(key, point)
    return list(points.values())


def corner_points(space: Space) -> list[dict[str, Any]]:
    """Return points that show whether a space is usable: every bound and choice at least once.

    The first has all least values, the second all greatest; each further one changes one setting
    of the first.
    """
    ends = {path: _ends(draw) for path, draw in space.items()}
    lowest = {path: values[0] for path, values in ends.items()}
    points = [lowest, {path: values[-1] for path, values in ends.items()}]
    return [*points, *({**lowest, p: v} for p, values in ends.items() for v in values[1:])]


def space_text(draw: Draw) -> str:
    """Return what is drawn from in words.

    Example:
        >>> space_text(Draw(log_uniform=(1e-4, 1e-2)))
        'log-uniform from 0.0001 to 0.01'
        >>> space_text(Draw(choice=("a", None)))
        'one of a, null'
    """
    if draw.choice is not None:
        texts = (v if isinstance(v, str) else json.dumps(v) for v in draw.choice)
        return f"one of {', '.join(texts)}"
    low, high = _ends(draw)
    return f"{draw.kind.replace('_', '-')} from {low:g} to {high:g}"


def optuna_distributions(space: Space) -> dict[str, Any]:
    """Return Optuna's distribution of each setting.

    Optuna takes plain values only, while a choice may be a list: choices go as JSON texts, which
    are also equal to what a trial's record gives back.
    """
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    distributions: dict[str, Any] = {}
    for path, draw in space.items():
        if draw.choice is not None:
            distributions[path] = CategoricalDistribution([json.dumps(v) for v in draw.choice])
        elif draw.integer is not None:
            distributions[path] = IntDistribution(*draw.integer)
        else:
            is_log = draw.log_uniform is not None
            distributions[path] = FloatDistribution(*_ends(draw), log=is_log)
    return distributions


def point_overrides(space: Space, point: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that a point of Optuna's means."""
    texts = {path: {json.dumps(v): v for v in draw.choice or ()} for path, draw in space.items()}
    return {path: texts[path].get(point[path], point[path]) for path in space}


def optuna_point(space: Space, overrides: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the point of some settings, None where they lie outside of the space."""
    point: dict[str, Any] = {}
    for path, draw in space.items():
        value = overrides.get(path)
        if draw.choice is not None:
            point[path] = json.dumps(value)
            if point[path] not in [json.dumps(choice) for choice in draw.choice]:
                return None
            continue
        low, high = _ends(draw)
        if not isinstance(value, int | float) or not low <= value <= high:
            return None
        point[path] = value
    return point


def make_searcher(space: Space, summary: SweepSummary, trials: Sequence[TrialRecord]) -> Any:
    """Return an ``OptunaSearch`` that knows the trials that are over and begins with the others.

    The records are the truth: a new searcher is told them after a kill, so that no state of Tune or
    Optuna has to survive.

    Args:
        space: The space.
        summary: Says which values are better, and the seed of the sampler.
        trials: Records of an earlier call, in any state.

    Raises:
        SettingsError: Optuna is not installed.
    """
    try:
        import optuna
    except ImportError as error:
        raise SettingsError(
            "sweep.search.algorithm 'optuna' needs Optuna: pip install 'eagleray[sweep]'"
        ) from error
    from ray.tune.search.optuna import OptunaSearch

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    logging.getLogger("ray.tune.search.optuna").setLevel(logging.ERROR)
    points = [(trial, optuna_point(space, trial.overrides)) for trial in trials]
    searcher = OptunaSearch(
        space=optuna_distributions(space),
        metric=VALUE,
        mode="max" if summary.higher_is_better else "min",
        points_to_evaluate=[p for trial, p in points if p and not trial.is_over] or None,
        seed=summary.seeds[0] + sum(trial.is_over for trial in trials),
    )
    for trial, point in points:
        value = trial.last_value if trial.state == "stopped" else trial.value
        if trial.is_over and point is not None and value is not None:
            searcher.add_evaluated_point(point, value)
    return searcher


def _ends(draw: Draw) -> tuple[Any, ...]:
    """Return the choices, or the least and the greatest value."""
    ends: tuple[Any, ...] = getattr(draw, draw.kind)
    return ends


def _draw_value(draw: Draw, rng: random.Random) -> Any:
    ends = _ends(draw)
    if draw.choice is not None:
        return ends[rng.randrange(len(ends))]
    if draw.integer is not None:
        return rng.randint(*ends)
    if draw.uniform is not None:
        return rng.uniform(*ends)
    low, high = (math.log(end) for end in ends)
    return min(max(math.exp(rng.uniform(low, high)), ends[0]), ends[1])
