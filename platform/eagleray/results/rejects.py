"""Everything that a run could not process: rejects of its prepared stages and its evaluations."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic import TypeAdapter

from eagleray.results.gallery import Evaluation, read_units
from eagleray.storage import Store
from eagleray.task import EaglerayError

FILE = "rejects.json"
_LIMIT = 1000
_Stages = TypeAdapter(dict[str, list[tuple[str, str]]])


@dataclass(frozen=True, slots=True)
class Rejected:
    """An input that was not processed, where, and why."""

    where: str
    key: str
    error: str


def record_rejects(run: Store, stages: Mapping[str, Sequence[tuple[str, str]]]) -> None:
    """Write what the prepared stages of a run rejected, at most a thousand each.

    Args:
        run: The run's folder.
        stages: Key and error of each rejected item by the stage's label.
    """
    kept = {label: [list(reject) for reject in found[:_LIMIT]] for label, found in stages.items()}
    run.write(FILE, (json.dumps(kept, indent=1, sort_keys=True) + "\n").encode())


def read_rejects(run: Store, evaluations: Sequence[Evaluation]) -> list[Rejected]:
    """Return the rejects of a run, at most a thousand.

    Args:
        run: The run's folder.
        evaluations: The run's evaluations.
    """
    found = _prepared(run)
    for evaluation in evaluations:
        if not evaluation.result.get("rejected"):
            continue
        where = f"evaluate {evaluation.benchmark} ({evaluation.checkpoint})"
        try:
            units = read_units(run, evaluation)
        except EaglerayError as error:
            found.append(Rejected(where, "", str(error)))
            continue
        found += [Rejected(where, key, error) for key, error in units.rejects]
    return found[:_LIMIT]


def _prepared(run: Store) -> list[Rejected]:
    try:
        stages = _Stages.validate_json(run.read(FILE))
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        return [Rejected("prepare", "", f"{FILE} is damaged: {str(error).splitlines()[0]}")]
    return [
        Rejected(f"prepare {label}", key, error)
        for label, rejects in stages.items()
        for key, error in rejects
    ]
