"""The engine's verbs as a small Python API.

Example:
    >>> from eagleray import Experiment
    >>> experiment = Experiment.from_file("experiments/quickstart.yaml")  # doctest: +SKIP
    >>> experiment.run()  # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from eagleray.contract.task import require
from eagleray.evaluate.driver import choose_benchmarks, evaluate_checkpoints
from eagleray.evaluate.weights import find_weights
from eagleray.experiment.discovery import task_type
from eagleray.experiment.load import load_experiment, make_experiment
from eagleray.experiment.schema import ExperimentSettings
from eagleray.options import RunOptions
from eagleray.predict import PredictSummary, predict_files
from eagleray.prepare import Prepared, StagePlan, plan_stages, prepare_stages
from eagleray.progress import Progress, Silent
from eagleray.runs.records import EvaluationResult
from eagleray.runs.run_folder import RunFolder, run_of
from eagleray.scheduling import ray_session
from eagleray.storage import Store
from eagleray.sweep.driver import SweepResult, run_sweep
from eagleray.task import BaseTask, Evaluation, Prediction, Requirement, Training
from eagleray.train import Report, TrainResult
from eagleray.train.run import check_requirements, describe_run, missing_requirements, train_in_run


class Experiment:
    """One experiment, ready to be planned, prepared, trained, evaluated and used.

    Args:
        settings: The checked settings.
        new: Work in a run folder of its own instead of continuing the latest one.
        limit: Do everything on the first few items only.
        inline: Do everything in this process, without Ray.
        progress: Told about the work.
    """

    def __init__(
        self,
        settings: ExperimentSettings,
        *,
        new: bool = False,
        limit: int | None = None,
        inline: bool = False,
        progress: Progress | None = None,
    ) -> None:
        self.settings = settings
        self.task: BaseTask = task_type(settings.task)(settings.settings)
        self.limit, self.inline = limit, inline
        self.progress: Progress = progress or Silent()
        self.run_folder: RunFolder = run_of(settings, new=new)
        self._prepared: Prepared | None = None
        self._new = new

    @classmethod
    def from_file(cls, path: str | Path, **options: Any) -> Experiment:
        """Read an experiment's YAML; ``options`` are those of the constructor."""
        return cls(load_experiment(path), **options)

    @classmethod
    def from_values(cls, values: Mapping[str, Any], **options: Any) -> Experiment:
        """Check settings given as plain values; ``options`` are those of the constructor."""
        return cls(make_experiment(values), **options)

    def missing(self) -> list[Requirement]:
        """Return what the task needs and does not find."""
        return missing_requirements(self.settings, self.task)

    def check(self, *, training: bool = True) -> None:
        """Refuse before anything starts what could not be finished.

        Args:
            training: Also ask for what only training needs (pretrained weights).

        Raises:
            SettingsError: Something the task needs is not there.
        """
        check_requirements(self.settings, self.task, training=training)

    def session(self) -> AbstractContextManager[None]:
        """Return one Ray session for several verbs; nothing where the work is done inline."""
        return nullcontext() if self.inline else ray_session()

    def plan(self) -> list[StagePlan]:
        """Return what ``prepare`` would do, without doing it.

        Raises:
            SettingsError: Something the task needs is not there.
        """
        self.check()
        return plan_stages(
            self.task,
            Store(self.settings.storage),
            self.settings.prepare,
            self._options(),
        )

    def prepare(self) -> Prepared:
        """Run all preprocessing stages; what is done already is not done again."""
        self.check(training=False)
        self._prepared = prepare_stages(
            self.task,
            Store(self.settings.storage),
            self.settings.prepare,
            self._options(),
        )
        return self._prepared

    def train(self, report: Report | None = None) -> TrainResult:
        """Train, going on from the run's latest checkpoint if there is one.

        Args:
            report: Told about metrics at validations and ends of phases.
        """
        task = require(self.task, Training)
        self.check()
        prepared = self._prepared or self.prepare()
        options = RunOptions(
            inline=self.inline,
            limit=self.limit,
            device=self.settings.device,
            progress=self.progress,
        )
        return train_in_run(self.settings, task, self.run_folder, prepared, options, report=report)

    def evaluate(
        self, benchmarks: Sequence[str] = (), checkpoint: str | Sequence[str] = ()
    ) -> list[EvaluationResult]:
        """Evaluate checkpoints on benchmarks, all of them on the same workers.

        Args:
            benchmarks: By name, or ``all``; by default those of the settings.
            checkpoint: One or several: ``best``, ``last``, ``initial``, or a path; by default that
                of the settings.

        Returns:
            One result per benchmark and checkpoint.
        """
        task = require(self.task, Evaluation)
        prepared = self._prepared or self.prepare()
        describe_run(self.run_folder, self.settings, self.task, prepared)
        names = tuple(benchmarks) or self.settings.evaluate.benchmarks
        return evaluate_checkpoints(
            self.settings,
            task,
            self.run_folder,
            prepared.rows,
            choose_benchmarks(task, names),
            (checkpoint,) if isinstance(checkpoint, str) else tuple(checkpoint),
            RunOptions(inline=self.inline, limit=self.limit, progress=self.progress),
        )

    def run(self) -> list[EvaluationResult]:
        """Prepare, train and evaluate."""
        require(self.task, Training)
        self.check()
        with self.session():
            self.prepare()
            result = self.train()
            if not result.finished:
                raise InterruptedError("training was stopped; the same command goes on from there")
            return self.evaluate() if self.has_benchmarks() else []

    def sweep(self) -> SweepResult:
        """Run the trials of the ``sweep`` section that are not over yet.

        Raises:
            SettingsError: Anything that would end a trial; all mistakes are listed.
        """
        options = RunOptions(inline=self.inline, limit=self.limit, progress=self.progress)
        return run_sweep(self.settings, options, new=self._new)

    def predict(
        self,
        paths: Sequence[str | Path],
        output: str,
        formats: Sequence[str] = (),
        checkpoint: str | None = None,
    ) -> PredictSummary:
        """Run the trained task on a user's own files."""
        which = checkpoint or self.settings.evaluate.checkpoint
        task = require(self.task, Prediction)
        weights = find_weights(self.run_folder, which, task, self.settings.seed)
        return predict_files(
            self.settings,
            task,
            weights,
            [Path(p) for p in paths],
            Store(output),
            formats,
            self._options(),
        )

    def has_benchmarks(self) -> bool:
        """Return whether there is something to evaluate on."""
        return isinstance(self.task, Evaluation) and bool(self.task.benchmarks())

    def _options(self) -> RunOptions:
        return RunOptions(
            inline=self.inline,
            limit=self.limit,
            device=self.settings.device,
            progress=self.progress,
        )
