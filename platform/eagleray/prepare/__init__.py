"""Preprocessing: stages in shards that are committed once, resumed and shared by experiments."""

from eagleray.prepare.computed import ComputedRows
from eagleray.prepare.driver import (
    Prepared,
    StagePlan,
    plan_stages,
    prepare_stages,
    stage_folder,
)
from eagleray.prepare.fingerprint import stage_fingerprint
from eagleray.prepare.manifest import read_rejects
from eagleray.prepare.marker import Reject
from eagleray.prepare.prune import Prunable, delete_prunable, prunable
from eagleray.prepare.rows import StoredRows, open_rows
from eagleray.prepare.stage_run import StageSummary, StageTask, run_stage, run_stages

__all__ = [
    "ComputedRows",
    "Prepared",
    "Prunable",
    "Reject",
    "StagePlan",
    "StageSummary",
    "StageTask",
    "StoredRows",
    "delete_prunable",
    "open_rows",
    "plan_stages",
    "prepare_stages",
    "prunable",
    "read_rejects",
    "run_stage",
    "run_stages",
    "stage_fingerprint",
    "stage_folder",
]
