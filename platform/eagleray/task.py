"""The contract between a task (a plugin) and the engine: all that a plugin imports of it.

A task says what is computed; the engine says where, when and how often. Nothing here knows Ray, a
file layout or vision. The folder ``contract/`` has one module per capability, in the order of an
experiment: settings, prepare, data, training, evaluation, prediction, importing, viewing.
``tasks/README.md`` shows how to write a task in an afternoon.
"""

from __future__ import annotations

from eagleray.contract.base import BaseTask, DataTask, ModelTask
from eagleray.contract.costs import CostTable
from eagleray.contract.data import Batches, Dataset
from eagleray.contract.diagnostics import (
    CurvesDiagnostic,
    Diagnostic,
    LabelLayer,
    LabelLayers,
    MatrixDiagnostic,
    TableDiagnostic,
)
from eagleray.contract.errors import EaglerayError, InputError, SettingsError, is_transient
from eagleray.contract.evaluation import Benchmark, Evaluation, Metrics, PublishedResult
from eagleray.contract.frozen import FrozenFile
from eagleray.contract.importing import ImportedCheckpoint, Importing, PublishedFiles
from eagleray.contract.phase import Phase, Schedule
from eagleray.contract.prediction import Inference, Prediction
from eagleray.contract.prepare import Item, Record, Resources, Rows, Stage
from eagleray.contract.querying import Hit, Querying
from eagleray.contract.requirements import Download, Requirement
from eagleray.contract.settings import (
    LATER,
    OF_USE,
    Settings,
    values_of_use,
    with_use,
    without_use,
)
from eagleray.contract.task import CapabilityError, Task
from eagleray.contract.training import (
    FittedWeights,
    LossTerm,
    ParameterGroup,
    StepContext,
    Training,
)
from eagleray.contract.viewing import (
    AskableScene,
    Camera,
    Capture,
    CapturedScene,
    FramedScene,
    InteractiveScene,
    PartedScene,
    PicturedScene,
    RgbImage,
    Scene,
    Solid,
    SolidScene,
    Viewing,
    Viewpoint,
    ViewRequest,
)
from eagleray.storage.folder_writer import FolderWriter

__all__ = [
    "LATER",
    "OF_USE",
    "AskableScene",
    "BaseTask",
    "Batches",
    "Benchmark",
    "Camera",
    "CapabilityError",
    "Capture",
    "CapturedScene",
    "CostTable",
    "CurvesDiagnostic",
    "DataTask",
    "Dataset",
    "Diagnostic",
    "Download",
    "EaglerayError",
    "Evaluation",
    "FittedWeights",
    "FolderWriter",
    "FramedScene",
    "FrozenFile",
    "Hit",
    "ImportedCheckpoint",
    "Importing",
    "Inference",
    "InputError",
    "InteractiveScene",
    "Item",
    "LabelLayer",
    "LabelLayers",
    "LossTerm",
    "MatrixDiagnostic",
    "Metrics",
    "ModelTask",
    "ParameterGroup",
    "PartedScene",
    "Phase",
    "PicturedScene",
    "Prediction",
    "PublishedFiles",
    "PublishedResult",
    "Querying",
    "Record",
    "Requirement",
    "Resources",
    "RgbImage",
    "Rows",
    "Scene",
    "Schedule",
    "Settings",
    "SettingsError",
    "Solid",
    "SolidScene",
    "Stage",
    "StepContext",
    "TableDiagnostic",
    "Task",
    "Training",
    "ViewRequest",
    "Viewing",
    "Viewpoint",
    "is_transient",
    "values_of_use",
    "with_use",
    "without_use",
]
