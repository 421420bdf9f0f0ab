"""Other runs of the same name: what a new run differs in, said where somebody expected to go on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from eagleray.experiment.schema import ExperimentSettings
from eagleray.runs.run_folder import RunFolder, result_settings, run_below, runs_store
from eagleray.runs.settings import differing, flat_settings, read_settings
from eagleray.task import InputError

_MOST_RUNS = 64
"""Runs that are looked at; each is a file to read."""
_SHOWN = 3
_ABSENT = "not set"


def nearest_sibling(run: RunFolder, experiment: ExperimentSettings) -> str | None:
    """Return which run of the same name a new run is nearest to, and the settings that differ.

    Args:
        run: The run that is about to begin.
        experiment: Its settings.

    Returns:
        A line for people; None if the run is there already, or is the only one of its name.
    """
    if run.is_run:
        return None
    folder = runs_store(experiment.storage).child(experiment.name)
    own = flat_settings(result_settings(experiment))
    nearest: tuple[str, Mapping[str, list[Any]]] | None = None
    prefix = f"{experiment.run}-"
    siblings = [name for name in folder.folders() if name.startswith(prefix)]
    for name in siblings[:_MOST_RUNS]:
        try:
            there = read_settings(run_below(folder, name))
        except InputError:
            continue
        changed = differing([{n: v for n, v in there.items() if _counts(n, own)}, own])
        if changed and (nearest is None or len(changed) < len(nearest[1])):
            nearest = (name, changed)
    return None if nearest is None else _sentence(run, experiment, *nearest)


def _counts(name: str, own: Mapping[str, Any]) -> bool:
    """Return whether a setting changes results: it is there in a new run, or of a kind that is."""
    section, _, rest = name.partition(".")
    known = {n.partition(".")[0] for n in own}
    if section != "train":
        return section in known
    return name in own or rest.startswith(("phases.", "validate_on."))


def _sentence(
    run: RunFolder, experiment: ExperimentSettings, name: str, changed: Mapping[str, list[Any]]
) -> str:
    shown = [
        f"{setting} is {_text(here)} here, {_text(there)} there"
        for setting, (there, here) in list(changed.items())[:_SHOWN]
    ]
    more = f"; and {len(changed) - _SHOWN} more" if len(changed) > _SHOWN else ""
    return (
        f"{run.name} is a new run and does not go on from {experiment.name}/{name}: "
        f"{'; '.join(shown)}{more}"
    )


def _text(value: Any) -> str:
    return _ABSENT if value is None else repr(value)
