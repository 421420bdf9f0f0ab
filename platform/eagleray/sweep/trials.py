"""From the ``sweep`` section to trials: named variants, grids and draws, each with its seed."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from eagleray.experiment.paths import full_path
from eagleray.experiment.schema import ExperimentSettings
from eagleray.storage import checked_name
from eagleray.sweep.space import draw_points
from eagleray.sweep.sweep_folder import BASELINE
from eagleray.task import SettingsError

_NOT_VARIED = {
    "task": "begin an experiment of its own for another task",
    "name": "it is where runs lie",
    "run": "it is where runs lie",
    "storage": "it is where runs lie",
    "sweep": "a sweep inside of a sweep has no meaning",
    "seed": "set sweep.seeds instead",
}
_ID_LENGTH = 80


@dataclass(frozen=True)
class Trial:
    """One training of a sweep.

    Args:
        id: Unique within the sweep; a file's name.
        variant: Its variant; None in a search.
        seed: Its seed.
        overrides: The settings in which it differs from the base experiment, by full path.
    """

    id: str
    variant: str | None
    seed: int
    overrides: Mapping[str, Any] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """What messages call it: the variant, which has the same settings for every seed."""
        return self.variant if self.variant is not None else self.id


def checked_paths(experiment: ExperimentSettings) -> ExperimentSettings:
    """Return the experiment with every path of its sweep written in full.

    Raises:
        SettingsError: Paths are unknown or cannot be varied; all of them are listed.
    """
    sweep, mistakes = experiment.sweep, []

    def in_full(paths: Mapping[str, Any], where: str) -> dict[str, Any]:
        found = {}
        for path, value in paths.items():
            try:
                full = full_path(path, experiment)
                _check_varied(full)
                if full in found:
                    raise SettingsError(f"{full!r} is given twice")
                found[full] = value
            except SettingsError as error:
                mistakes.append(f"sweep.{where}: {error}")
        return found

    changed = sweep.model_copy(
        update={
            "ablations": {n: in_full(v, f"ablations.{n}") for n, v in sweep.ablations.items()},
            "grid": in_full(sweep.grid, "grid"),
            "search": sweep.search.model_copy(
                update={"space": in_full(sweep.search.space, "search.space")}
            ),
        }
    )
    if mistakes:
        raise SettingsError("\n".join(mistakes))
    return experiment.model_copy(update={"sweep": changed})


def variants(experiment: ExperimentSettings) -> dict[str, dict[str, Any]]:
    """Return the settings of each variant of ablations or a grid; empty for a search.

    The baseline comes first.
    """
    sweep = experiment.sweep
    if sweep.ablations:
        for name in sweep.ablations:
            checked_name(name, "variant")
        return {BASELINE: {}, **sweep.ablations}
    if not sweep.grid:
        return {}
    paths = list(sweep.grid)
    names = _short_names(paths)
    found = {}
    for values in itertools.product(*sweep.grid.values()):
        name = " ".join(f"{names[p]}={_text(v)}" for p, v in zip(paths, values, strict=True))
        if name in found:
            raise SettingsError(f"sweep.grid: {name} is there twice; give every value once")
        found[name] = dict(zip(paths, values, strict=True))
    return found


def seeds(experiment: ExperimentSettings) -> tuple[int, ...]:
    """Return the seeds of every variant."""
    return experiment.sweep.seeds or (experiment.seed,)


def expand(experiment: ExperimentSettings) -> list[Trial]:
    """Return the trials that are known beforehand: all but those of an Optuna search.

    Args:
        experiment: The base experiment, with full paths.

    Raises:
        SettingsError: The sweep section names no trials, or the same variant twice.
    """
    sweep = experiment.sweep
    if sweep.search.space:
        seed = seeds(experiment)[0]
        if sweep.search.algorithm == "optuna":
            return []
        points = draw_points(sweep.search.space, sweep.search.trials, seed)
        return [Trial(f"t{i:04d}", None, seed, point) for i, point in enumerate(points)]
    found = variants(experiment)
    if not found:
        raise SettingsError(
            f"experiment {experiment.name!r} says no trials: give its section 'sweep' one of "
            "ablations, grid and search.space"
        )
    ids = _file_names(list(found))
    return [
        Trial(f"{ids[name]}-s{seed}", name, seed, overrides)
        for name, overrides in found.items()
        for seed in seeds(experiment)
    ]


def _check_varied(path: str) -> None:
    reason = _NOT_VARIED.get(path.partition(".")[0])
    if reason is not None:
        raise SettingsError(f"{path!r} cannot be varied: {reason}")


def _short_names(paths: Sequence[str]) -> dict[str, str]:
    """Return the shortest endings of paths that tell them apart."""
    names = {}
    for path in paths:
        parts = path.split(".")
        endings = [".".join(parts[-n:]) for n in range(1, len(parts) + 1)]
        names[path] = next(
            e for e in endings if sum(other == e or other.endswith(f".{e}") for other in paths) == 1
        )
    return names


def _file_names(variant_names: Sequence[str]) -> dict[str, str]:
    """Return a usable name for each variant: itself where it is one, else with a hash."""
    plain = {name: re.sub(r"[^A-Za-z0-9._-]+", "_", name)[:_ID_LENGTH] for name in variant_names}
    count = Counter(plain.values())
    found = {}
    for name, short in plain.items():
        is_whole = count[short] == 1 and len(name) <= _ID_LENGTH and short[0].isalnum()
        digest = hashlib.sha256(name.encode()).hexdigest()[:6]
        found[name] = short if is_whole else f"v{digest}-{short.lstrip('._-')}"
    return found


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
