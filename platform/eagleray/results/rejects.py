"""Everything that a run could not process: rejects of its prepared stages and its evaluations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from eagleray.prepare.manifest import read_rejects as stage_rejects
from eagleray.results.gallery import Evaluation, read_units
from eagleray.results.run_folder import read_stages
from eagleray.storage import Store
from eagleray.task import EaglerayError

_LIMIT = 1000


@dataclass(frozen=True, slots=True)
class Rejected:
    """An input that was not processed, where, and why."""

    where: str
    key: str
    error: str


def read_rejects(storage: str, run: Store, evaluations: Sequence[Evaluation]) -> list[Rejected]:
    """Return the rejects of a run, at most a thousand.

    Args:
        storage: Folder or URI that holds the prepared data.
        run: The run's folder.
        evaluations: The run's evaluations.
    """
    found: list[Rejected] = []
    for task, stage, fingerprint in sorted(read_stages(run)):
        where = f"prepare {stage}"
        try:
            folder = Store(storage).child(f"prepared/{task}/{stage}/{fingerprint}")
            found += [Rejected(where, r.key, r.error) for r in stage_rejects(folder)]
        except (EaglerayError, ValueError, KeyError, TypeError, OSError) as error:
            found.append(Rejected(where, "", f"its prepared data cannot be read: {error}"))
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
