"""An Optuna search through Ray Tune's ``OptunaSearch``, fed from the trials' own records.

The records are the truth: after a kill a new searcher is told every trial that is over, so that no
state of Tune or Optuna has to survive.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from eagleray.experiment.sweep import Draw
from eagleray.sweep.sweep_folder import SweepRecord, TrialRecord
from eagleray.task import SettingsError

VALUE = "value"
"""Name under which trials report the metric to Tune."""
STEPS = "steps"
"""Name under which they report the optimizer steps done."""


class Space:
    """A space in Optuna's terms; choices go by position, so that they may be of any type.

    Args:
        draws: What each setting is drawn from, by full path.
    """

    def __init__(self, draws: Mapping[str, Draw]) -> None:
        self._draws = dict(draws)

    def distributions(self) -> dict[str, Any]:
        """Return Optuna's distribution of each setting."""
        from optuna.distributions import (
            CategoricalDistribution,
            FloatDistribution,
            IntDistribution,
        )

        found: dict[str, Any] = {}
        for path, draw in self._draws.items():
            if draw.choice is not None:
                found[path] = CategoricalDistribution(range(len(draw.choice)))
            elif draw.integer is not None:
                found[path] = IntDistribution(*draw.integer)
            else:
                low, high = getattr(draw, draw.kind)
                found[path] = FloatDistribution(low, high, log=draw.log_uniform is not None)
        return found

    def overrides(self, point: Mapping[str, Any]) -> dict[str, Any]:
        """Return the settings of a point."""
        found = {}
        for path, draw in self._draws.items():
            found[path] = draw.choice[point[path]] if draw.choice is not None else point[path]
        return found

    def point(self, overrides: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return the point of some settings, None where they lie outside of the space."""
        found: dict[str, Any] = {}
        for path, draw in self._draws.items():
            value = overrides.get(path)
            if draw.choice is not None:
                places = [i for i, choice in enumerate(draw.choice) if _equal(choice, value)]
                if not places:
                    return None
                found[path] = places[0]
                continue
            low, high = getattr(draw, draw.kind)
            if not isinstance(value, int | float) or not low <= value <= high:
                return None
            found[path] = value
        return found


def make_searcher(
    space: Space, record: SweepRecord, trials: Sequence[TrialRecord], seed: int
) -> Any:
    """Return an ``OptunaSearch`` that knows the trials that are over and begins with the others.

    Args:
        space: The space.
        record: Says which values are better.
        trials: Records of an earlier call, in any state.
        seed: Seed of the sampler.

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
    over = [trial for trial in trials if trial.is_over]
    again = [space.point(trial.overrides) for trial in trials if not trial.is_over]
    searcher = OptunaSearch(
        space=space.distributions(),
        metric=VALUE,
        mode="max" if record.higher_is_better else "min",
        points_to_evaluate=[point for point in again if point is not None] or None,
        seed=seed + len(over),
    )
    for trial in over:
        point = space.point(trial.overrides)
        value = trial.last_value if trial.state == "stopped" else trial.value
        if point is not None and value is not None:
            searcher.add_evaluated_point(point, value)
    return searcher


def _equal(choice: Any, value: Any) -> bool:
    """Return whether a choice is a value that was read back from JSON."""
    if isinstance(choice, bool) or isinstance(value, bool):
        return choice is value
    if isinstance(choice, list | tuple) and isinstance(value, list | tuple):
        return list(choice) == list(value)
    return bool(choice == value)
