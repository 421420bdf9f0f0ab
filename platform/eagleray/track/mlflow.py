"""Runs in MLflow: one MLflow run per run, in the experiment of its name."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

from eagleray.experiment.schema import MlflowSettings
from eagleray.runs.records import EvaluationResult
from eagleray.track.protocol import DONE, Logged, RunFacts

T = TypeVar("T")
_NOT_IN_NAMES = re.compile(r"[^\w\-. :/]")
"""What MLflow refuses in the name of a metric."""
_MOST_PARAMS, _MOST_METRICS, _LONGEST_PARAM = 100, 1000, 6000
"""What one call of MLflow's REST interface takes."""
_PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_TIMEOUT": "20"}
"""A server that does not answer is asked again at the next look, not for minutes in one call."""
_ENDS = {DONE: "FINISHED", "KeyboardInterrupt": "KILLED", "InterruptedError": "KILLED"}


class MlflowTracker:
    """Tells MLflow, see ``Tracker``.

    Args:
        settings: Where, and in which experiment.
    """

    def __init__(self, settings: MlflowSettings) -> None:
        self._settings = settings
        self._client: Any = None
        self._id = ""

    def open(self, facts: RunFacts, known: str) -> str:
        """Begin an MLflow run with the settings as parameters, or go on with the known one."""
        for name, value in _PATIENCE.items():
            os.environ.setdefault(name, value)
        from mlflow import MlflowClient
        from mlflow.entities import Param

        self._client = MlflowClient(tracking_uri=self._settings.uri)
        if known and self._is_there(known):
            self._client.update_run(known, status="RUNNING")
            self._id = known
            return known
        name = self._settings.experiment or facts.experiment
        experiment = self._client.get_experiment_by_name(name)
        where = experiment.experiment_id if experiment else self._client.create_experiment(name)
        tags = {"task": facts.task, "run": facts.name, "folder": facts.folder}
        self._id = self._client.create_run(where, run_name=facts.name, tags=tags).info.run_id
        params = [
            Param(_NOT_IN_NAMES.sub("_", key), str(value)[:_LONGEST_PARAM])
            for key, value in facts.settings.items()
        ]
        for part in _parts(params, _MOST_PARAMS):
            self._client.log_batch(self._id, params=part)
        return self._id

    def _is_there(self, known: str) -> bool:
        from mlflow.exceptions import MlflowException

        try:
            return bool(self._client.get_run(known).info.lifecycle_stage == "active")
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return False
            raise

    def log(self, entries: Sequence[Logged]) -> None:
        """Log the values at their steps and times."""
        self._log([(n, v, e.time_s, e.step) for e in entries for n, v in e.values.items()])

    def results(self, results: Sequence[EvaluationResult]) -> None:
        """Log results as metrics ``benchmark/checkpoint/metric``."""
        self._log(
            [
                (f"{r.benchmark}/{r.checkpoint}/{name}", value, 0.0, 0)
                for r in results
                for name, value in r.values.items()
                if value is not None
            ]
        )

    def _log(self, values: Sequence[tuple[str, float, float, int]]) -> None:
        from mlflow.entities import Metric

        metrics = [
            Metric(_NOT_IN_NAMES.sub("_", name), value, int(time_s * 1000), step)
            for name, value, time_s, step in values
        ]
        for part in _parts(metrics, _MOST_METRICS):
            self._client.log_batch(self._id, metrics=part)

    def files(self, files: Mapping[str, bytes]) -> None:
        """Log the files as artifacts under their paths."""
        for path, content in files.items():
            self._client.log_text(self._id, content.decode("utf-8", "replace"), path)

    def close(self, outcome: str) -> None:
        """Say how the work ended."""
        self._client.set_terminated(self._id, status=_ENDS.get(outcome, "FAILED"))


def _parts(values: Sequence[T], most: int) -> Iterator[Sequence[T]]:
    for begin in range(0, len(values), most):
        yield values[begin : begin + most]
