"""The contract between a task (a plugin) and the engine: all that a plugin imports of it.

A task says what is computed; the engine says where, when and how often. Nothing here knows Ray, a
file layout or vision. The folder ``contract/`` has one module per capability, in the order of an
experiment: settings, prepare, data, training, evaluation, prediction, importing, viewing.
``tasks/README.md`` shows how to write a task in an afternoon.
"""

from __future__ import annotations

from eagleray.contract.data import Batches, Dataset
from eagleray.contract.errors import EaglerayError, InputError, SettingsError
from eagleray.contract.evaluation import Benchmark, Metrics, PublishedResult
from eagleray.contract.importing import FittedWeights, ImportedCheckpoint, PublishedFiles
from eagleray.contract.prepare import Item, Record, Resources, Rows, Stage
from eagleray.contract.requirements import Download, Requirement
from eagleray.contract.settings import Settings
from eagleray.contract.task import Task
from eagleray.contract.training import LossTerm, ParameterGroup, Phase, Schedule, StepContext
from eagleray.contract.viewing import (
    Camera,
    InteractiveScene,
    RgbImage,
    Tool,
    Viewpoint,
    ViewRequest,
)
from eagleray.storage.folder_writer import FolderWriter

__all__ = [
    "Batches",
    "Benchmark",
    "Camera",
    "Dataset",
    "Download",
    "EaglerayError",
    "FittedWeights",
    "FolderWriter",
    "ImportedCheckpoint",
    "InputError",
    "InteractiveScene",
    "Item",
    "LossTerm",
    "Metrics",
    "ParameterGroup",
    "Phase",
    "PublishedFiles",
    "PublishedResult",
    "Record",
    "Requirement",
    "Resources",
    "RgbImage",
    "Rows",
    "Schedule",
    "Settings",
    "SettingsError",
    "Stage",
    "StepContext",
    "Task",
    "Tool",
    "ViewRequest",
    "Viewpoint",
]
