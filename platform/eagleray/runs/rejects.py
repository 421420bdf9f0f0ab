"""Everything that a run could not process: rejects of its prepared stages and its evaluations."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic import TypeAdapter

from eagleray.runs.evaluation import StoredEvaluation, read_units
from eagleray.runs.records import encode_json
from eagleray.runs.run_folder import RunFolder
from eagleray.storage import Store
from eagleray.task import EaglerayError, InputError

FILE = "rejects.json"
TRAINING_FOLDER = "rejects"
_TRAIN = "train"
_LIMIT = 1000
_ERROR_CHARACTERS = 2000
_Stages = TypeAdapter(dict[str, list[tuple[str, str]]])


@dataclass(frozen=True, slots=True)
class Rejected:
    """An input that was not processed, where, and why."""

    where: str
    key: str
    error: str


@dataclass(frozen=True)
class TrainingRejects:
    """Writes down samples that training could not read; called by any process of a run, once or
    again.

    Args:
        run: The run's folder.
    """

    run: Store

    def __call__(self, key: str, error: InputError) -> None:
        """Write down one sample."""
        name = hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:16]
        content = json.dumps({"key": key, "error": str(error)[:_ERROR_CHARACTERS]}, sort_keys=True)
        self.run.create(f"{TRAINING_FOLDER}/{name}.json", content.encode() + b"\n")


def training_rejects(run: Store) -> list[tuple[str, str]]:
    """Return key and error of the samples that training could not read, sorted by key."""
    contents = run.read_many(run.files(TRAINING_FOLDER))
    rejects = [json.loads(content) for content in contents.values()]
    return sorted((reject["key"], reject["error"]) for reject in rejects)


def record_rejects(run: Store, stages: Mapping[str, Sequence[tuple[str, str]]]) -> None:
    """Write what the prepared stages and the training of a run rejected, at most a thousand each;
    what is known of other stages stays.

    Args:
        run: The run's folder.
        stages: Key and error of each rejected item by the stage's label.
    """
    in_training = training_rejects(run)
    every = {**stages, **({_TRAIN: in_training} if in_training else {})}
    kept = {
        label: [list(reject) for reject in rejects[:_LIMIT]] for label, rejects in every.items()
    }
    try:
        known = _Stages.validate_json(run.read(FILE))
    except (OSError, ValueError):
        known = {}
    run.write(FILE, encode_json({**known, **kept}))


def read_rejects(run: RunFolder, evaluations: Sequence[StoredEvaluation]) -> list[Rejected]:
    """Return the rejects of a run, at most a thousand.

    Args:
        run: The run's folder.
        evaluations: The run's evaluations.
    """
    rejects = _prepared(run)
    for evaluation in evaluations:
        if evaluation.result is None or not evaluation.result.rejected:
            continue
        where = f"evaluate {evaluation.benchmark} ({evaluation.checkpoint})"
        try:
            units = read_units(run, evaluation)
        except EaglerayError as error:
            rejects.append(Rejected(where, "", str(error)))
            continue
        rejects += [Rejected(where, key, error) for key, error in units.rejects]
    return rejects[:_LIMIT]


def _prepared(run: Store) -> list[Rejected]:
    try:
        stages = _Stages.validate_json(run.read(FILE))
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        return [Rejected("prepare", "", f"{FILE} is damaged: {str(error).splitlines()[0]}")]
    return [
        Rejected(label if label == _TRAIN else f"prepare {label}", key, error)
        for label, rejects in stages.items()
        for key, error in rejects
    ]
