"""From the ``sweep`` section to its trials: named variants, grids and draws, each with its seed."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from eagleray.experiment.discovery import task_type
from eagleray.experiment.overrides import given_phases, make_overridden
from eagleray.experiment.paths import full_path, short_names
from eagleray.experiment.schema import ExperimentSettings
from eagleray.runs.run_folder import RunFolder, run_below, runs_store
from eagleray.scheduling import WorkerGroup
from eagleray.storage import Store, checked_name
from eagleray.sweep.folder import BASELINE, TrialRecord
from eagleray.sweep.space import draw_points
from eagleray.task import BaseTask, SettingsError

_NOT_VARIED = {
    "task": "begin an experiment of its own for another task",
    **dict.fromkeys(("name", "run", "storage"), "it is where runs lie"),
    "sweep": "a sweep inside of a sweep has no meaning",
    "seed": "set sweep.seeds instead",
}
_ID_LENGTH = 80


class Point(NamedTuple):
    """A trial that the section asks for, before its settings are built and checked.

    Args:
        id: Unique within the sweep; a file's name.
        variant: Its variant; None in a search.
        seed: Its seed.
        overrides: The settings in which it differs from the base experiment, by full path.
    """

    id: str
    variant: str | None
    seed: int
    overrides: Mapping[str, Any]


@dataclass(frozen=True)
class Trial:
    """One training of a sweep, checked; an ordinary run of its own settings. Picklable.

    Args:
        point: What the section calls it and in which settings it differs.
        settings: Its whole experiment.
        run: Its run as ``experiment/run``.
        group: The workers that it takes.
    """

    point: Point
    settings: ExperimentSettings
    run: str
    group: WorkerGroup

    @property
    def id(self) -> str:
        """Unique within the sweep; a file's name."""
        return self.point.id

    @property
    def run_folder(self) -> RunFolder:
        """The folder of its run."""
        return run_below(runs_store(self.settings.storage), self.run)

    def first_record(self) -> TrialRecord:
        """Return its record before anything was done."""
        device = "cuda" if self.group.device == "cuda" else "cpu"
        return TrialRecord.model_validate(
            {**self.point._asdict(), "run": self.run, "device": device}
        )


def task_of(settings: ExperimentSettings) -> BaseTask:
    """Return the task of an experiment, with its settings."""
    return task_type(settings.task)(settings.settings)


def with_full_paths(settings: ExperimentSettings) -> ExperimentSettings:
    """Return the experiment with every path of its sweep written in full.

    Raises:
        SettingsError: Paths are unknown or cannot be varied; all of them are listed.
    """
    sweep, mistakes = settings.sweep, []

    def in_full(paths: Mapping[str, Any], where: str) -> dict[str, Any]:
        changed: dict[str, Any] = {}
        for path, value in paths.items():
            try:
                full = full_path(path, settings)
                reason = _NOT_VARIED.get(full.partition(".")[0])
                if reason is not None:
                    raise SettingsError(f"{full!r} cannot be varied: {reason}")
                if full in changed:
                    raise SettingsError(f"{full!r} is given twice")
                changed[full] = value
            except SettingsError as error:
                mistakes.append(f"sweep.{where}: {error}")
        return changed

    space = in_full(sweep.search.space, "search.space")
    changed = {
        "ablations": {n: in_full(v, f"ablations.{n}") for n, v in sweep.ablations.items()},
        "grid": in_full(sweep.grid, "grid"),
        "search": sweep.search.model_copy(update={"space": space}),
    }
    if mistakes:
        raise SettingsError("\n".join(mistakes))
    return settings.model_copy(update={"sweep": sweep.model_copy(update=changed)})


def variants(settings: ExperimentSettings) -> dict[str, dict[str, Any]]:
    """Return the settings of each variant of ablations or a grid, the baseline first; none for a
    search.
    """
    sweep = settings.sweep
    if sweep.ablations:
        for name in sweep.ablations:
            checked_name(name, "variant")
        return {BASELINE: {}, **sweep.ablations}
    names = short_names(list(sweep.grid))
    combined: dict[str, dict[str, Any]] = {}
    for values in itertools.product(*sweep.grid.values()) if names else ():
        chosen = dict(zip(names, values, strict=True))
        texts = {p: v if isinstance(v, str) else json.dumps(v) for p, v in chosen.items()}
        name = " ".join(f"{names[path]}={text}" for path, text in texts.items())
        if name in combined:
            raise SettingsError(f"sweep.grid: {name} is there twice; give every value once")
        combined[name] = chosen
    return combined


def seeds(settings: ExperimentSettings) -> tuple[int, ...]:
    """Return the seeds of every variant."""
    return settings.sweep.seeds or (settings.seed,)


def points(settings: ExperimentSettings) -> list[Point]:
    """Return the trials that are known beforehand: all but those of an Optuna search.

    Args:
        settings: The base experiment, with full paths.

    Raises:
        SettingsError: The sweep section names no trials, or the same variant twice.
    """
    search, named = settings.sweep.search, variants(settings)
    if search.space:
        seed = seeds(settings)[0]
        is_known = search.algorithm == "random"
        drawn = draw_points(search.space, search.trials, seed) if is_known else []
        return [Point(f"t{i:04d}", None, seed, point) for i, point in enumerate(drawn)]
    if not named:
        raise SettingsError(
            f"experiment {settings.name!r} says no trials: give its section 'sweep' one of "
            "ablations, grid and search.space"
        )
    files = _file_names(list(named))
    return [
        Point(f"{files[name]}-s{seed}", name, seed, overrides)
        for name, overrides in named.items()
        for seed in seeds(settings)
    ]


def trial_settings(
    base: ExperimentSettings, overrides: Mapping[str, Any], seed: int
) -> ExperimentSettings:
    """Return the experiment of a trial.

    What a task derives its phases from may be among the overrides: fields of phases that the base
    experiment has left at the task's own values then follow, all others stay.

    Raises:
        SettingsError: A value is not allowed.
    """
    values = base.model_dump(mode="json", exclude={"sweep"})
    values |= {"seed": seed, "storage": Store(base.storage).uri}
    values["train"]["phases"] = given_phases(base)
    try:
        return make_overridden(values, overrides, "trial", drop_missing_phases=True)
    except SettingsError as error:  # the caller says in messages which trial it is
        raise SettingsError(str(error).replace("trial: ", "")) from error


def _file_names(variant_names: Sequence[str]) -> dict[str, str]:
    """Return a usable name for each variant: itself where it is one, else with a hash."""
    plain = {name: re.sub(r"[^A-Za-z0-9._-]+", "_", name)[:_ID_LENGTH] for name in variant_names}
    count = Counter(plain.values())
    names = {}
    for name, short in plain.items():
        is_whole = count[short] == 1 and len(name) <= _ID_LENGTH and short[0].isalnum()
        digest = hashlib.sha256(name.encode()).hexdigest()[:6]
        names[name] = short if is_whole else f"v{digest}-{short.lstrip('._-')}"
    return names
