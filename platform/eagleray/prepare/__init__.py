"""Preprocessing: stages in shards that are committed once, resumed and shared by experiments."""

from eagleray.prepare.computed import ComputedRows, rows_at
from eagleray.prepare.driver import (
    Prepared,
    StagePlan,
    plan_stages,
    prepare_stages,
    stage_folders,
    with_upstream,
)
from eagleray.prepare.faults import TransientError
from eagleray.prepare.fingerprint import stage_fingerprint
from eagleray.prepare.folder import (
    ANY_TASK,
    Prunable,
    StageAddress,
    StageFolder,
    delete_prunable,
    prepared_folders,
    prunable,
)
from eagleray.prepare.marker import Manifest, Reject, ShardMarker
from eagleray.prepare.rows import StoredRows, open_rows
from eagleray.prepare.stage_run import StageSummary, run_stage, run_stages
from eagleray.prepare.survey import StageRun

__all__ = [
    "ANY_TASK",
    "ComputedRows",
    "Manifest",
    "Prepared",
    "Prunable",
    "Reject",
    "ShardMarker",
    "StageAddress",
    "StageFolder",
    "StagePlan",
    "StageRun",
    "StageSummary",
    "StoredRows",
    "TransientError",
    "delete_prunable",
    "open_rows",
    "plan_stages",
    "prepare_stages",
    "prepared_folders",
    "prunable",
    "rows_at",
    "run_stage",
    "run_stages",
    "stage_fingerprint",
    "stage_folders",
    "with_upstream",
]
