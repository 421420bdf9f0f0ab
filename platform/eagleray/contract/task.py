"""The ordinary task, which can do all that an experiment asks for, and the check of what a task
can do.
"""

from __future__ import annotations

from typing import Generic

from typing_extensions import TypeVar

from eagleray.contract.base import BaseTask
from eagleray.contract.errors import SettingsError
from eagleray.contract.evaluation import Evaluation
from eagleray.contract.generics import B, D, M, P, S
from eagleray.contract.importing import Importing
from eagleray.contract.prediction import Prediction
from eagleray.contract.querying import Querying
from eagleray.contract.training import Training
from eagleray.contract.viewing import Viewing

C = TypeVar("C", bound=BaseTask)


class Task(Training[M, B, D], Evaluation[M, S, P], Prediction[M, S, P], Generic[M, S, B, P, D]):
    """A task that trains, is evaluated and predicts: ``Task[Model, Sample, Batch, Prediction]``.

    One that does less names its capabilities instead, ``class Mine(Training[...],
    Evaluation[...])``; ``Importing`` and ``Viewing`` are added beside it.
    """


_VERBS: dict[str, type[BaseTask]] = {
    "prepare": BaseTask,
    "train": Training,
    "evaluate": Evaluation,
    "predict": Prediction,
    "import": Importing,
    "view": Viewing,
    "query": Querying,
}


class CapabilityError(SettingsError):
    """A task was asked for something that it does not do."""


def offered_verbs(task: BaseTask) -> tuple[str, ...]:
    """Return the verbs that a task can be used with."""
    return tuple(verb for verb, capability in _VERBS.items() if isinstance(task, capability))


def require(task: BaseTask, capability: type[C]) -> C:
    """Return the task as one that has a capability.

    Args:
        task: Any task.
        capability: A class of the contract, from ``ModelTask`` to ``Viewing``.

    Raises:
        CapabilityError: The task does not have it.
    """
    if isinstance(task, capability):
        return task
    asked = next(verb for verb, one in _VERBS.items() if issubclass(one, capability))
    raise CapabilityError(
        f"task {task.name!r} does not {asked}; it offers {', '.join(offered_verbs(task))}"
    )
