"""Training: phases on one process, on several with DDP, or with DeepSpeed ZeRO."""

from __future__ import annotations

from eagleray.train.driver import TrainResult, check_job, train_run
from eagleray.train.job import WORKER_SETTINGS, Report, TrainingError, TrainJob
from eagleray.train.stop import request_stop
from eagleray.train.weights import checkpoint_weights

__all__ = [
    "WORKER_SETTINGS",
    "Report",
    "TrainJob",
    "TrainResult",
    "TrainingError",
    "check_job",
    "checkpoint_weights",
    "request_stop",
    "train_run",
]
