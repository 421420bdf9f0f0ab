"""Spaces of searched settings: draws, corners, and the same in words."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Mapping
from typing import Any

from eagleray.experiment.sweep import Draw

_MOST_REPEATS = 1000
"""Draws in a row that were all there before, after which a space counts as exhausted."""


def draw_points(space: Mapping[str, Draw], count: int, seed: int) -> list[dict[str, Any]]:
    """Return independent draws, all different; fewer where the space holds no more.

    More draws with the same seed begin with the same ones.

    Args:
        space: What each setting is drawn from.
        count: Number of draws.
        seed: Seed of the draws.
    """
    rng = random.Random(seed)
    points: list[dict[str, Any]] = []
    seen: set[str] = set()
    repeats = 0
    while len(points) < count and repeats < _MOST_REPEATS:
        point = {path: _draw_value(draw, rng) for path, draw in space.items()}
        key = json.dumps(point, sort_keys=True, default=str)
        repeats = repeats + 1 if key in seen else 0
        if key not in seen:
            seen.add(key)
            points.append(point)
    return points


def corner_points(space: Mapping[str, Draw]) -> list[dict[str, Any]]:
    """Return points that show whether a space is usable: every bound and choice at least once.

    The first has all least values, the second all greatest; each further one changes one setting
    of the first.
    """
    ends = {path: _ends(draw) for path, draw in space.items()}
    lowest = {path: values[0] for path, values in ends.items()}
    points = [lowest, {path: values[-1] for path, values in ends.items()}]
    points += [{**lowest, path: value} for path, values in ends.items() for value in values[1:]]
    return points


def space_text(draw: Draw) -> str:
    """Return what is drawn from in words.

    Example:
        >>> space_text(Draw(log_uniform=(1e-4, 1e-2)))
        'log-uniform from 0.0001 to 0.01'
        >>> space_text(Draw(choice=("a", None)))
        'one of a, null'
    """
    if draw.choice is not None:
        return "one of " + ", ".join(
            v if isinstance(v, str) else json.dumps(v) for v in draw.choice
        )
    low, high = _ends(draw)
    return f"{draw.kind.replace('_', '-')} from {low:g} to {high:g}"


def _ends(draw: Draw) -> tuple[Any, ...]:
    """Return the choices, or the least and the greatest value."""
    found: tuple[Any, ...] = getattr(draw, draw.kind)
    return found


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
