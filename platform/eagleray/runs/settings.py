"""The settings that runs were made with, as flat names and values for people to compare.

Read from ``experiment.yaml`` as it is: the task that wrote it need not be installed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from eagleray.runs.metrics import flatten
from eagleray.storage import Store
from eagleray.task import InputError

EXPERIMENT_FILE = "experiment.yaml"
_WHERE = ("storage", "run", "name")

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read_settings(run: Store) -> dict[str, Any]:
    """Return the resolved settings of a run by dotted name (``train.phases.0.lr``).

    Raises:
        InputError: The file is missing or damaged.
    """
    try:
        values = yaml.load(run.read(EXPERIMENT_FILE), Loader=_Loader)
    except FileNotFoundError as error:
        raise InputError(f"{run.uri} has no {EXPERIMENT_FILE}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{run.uri}/{EXPERIMENT_FILE} is damaged: {_first_line(error)}") from error
    if not isinstance(values, dict):
        raise InputError(
            f"{run.uri}/{EXPERIMENT_FILE} is damaged: it holds {type(values).__name__}"
        )
    return flat_settings(values)


def flat_settings(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested plain values by dotted name (``train.phases.0.lr``)."""
    return flatten(_numbered(dict(values)), separator=".")


def differing(settings: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Return the settings that are not alike in all runs: one value per run, None where it has
    none.

    What says only where a run lies (storage, its name) is left out.

    Example:
        >>> differing([{"seed": 0, "train.lr": 0.1}, {"seed": 0, "train.lr": 0.2}])
        {'train.lr': [0.1, 0.2]}
    """
    names = dict.fromkeys(name for one in settings for name in one)
    rows = {name: [one.get(name) for one in settings] for name in names if name not in _WHERE}
    return {name: row for name, row in rows.items() if any(value != row[0] for value in row)}


def _numbered(value: Any) -> Any:
    """Turn lists of mappings into mappings by position, so that flattening goes through them."""
    if isinstance(value, dict):
        return {key: _numbered(inner) for key, inner in value.items()}
    if isinstance(value, list) and any(isinstance(inner, dict) for inner in value):
        return {str(idx): _numbered(inner) for idx, inner in enumerate(value)}
    return value


def _first_line(error: Exception) -> str:
    return str(error).split("\n", 1)[0]
