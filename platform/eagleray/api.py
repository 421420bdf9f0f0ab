"""The engine's verbs as a small Python API.

Example:
    >>> from eagleray import Experiment
    >>> experiment = Experiment.from_file("experiments/quickstart.yaml")  # doctest: +SKIP
    >>> experiment.run()  # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from eagleray.analysis.regression import open_run, read_baseline
from eagleray.contract.task import require
from eagleray.evaluate.driver import choose_benchmarks, evaluate_checkpoints, with_parts
from eagleray.evaluate.weights import (
    changed_use,
    checkpoint_labels,
    find_weights,
    locate_weights,
    result_labels,
)
from eagleray.experiment.discovery import task_type
from eagleray.experiment.load import load_experiment, make_experiment
from eagleray.experiment.schema import ExperimentSettings
from eagleray.options import OtherCode, RunOptions
from eagleray.predict import PredictSummary, predict_files
from eagleray.prepare import Prepared, StagePlan, plan_stages, prepare_stages
from eagleray.progress import Progress, Silent
from eagleray.runs.provenance import recorded
from eagleray.runs.records import EvaluationResult
from eagleray.runs.run_folder import RunFolder, run_of
from eagleray.runs.siblings import nearest_sibling
from eagleray.scheduling import LazySession, present_machine
from eagleray.storage import Store
from eagleray.sweep.driver import SweepResult, run_sweep
from eagleray.sweep.plan import SweepPlan, plan_sweep
from eagleray.task import (
    BaseTask,
    CostTable,
    Evaluation,
    ModelTask,
    Prediction,
    Requirement,
    SettingsError,
    Training,
)
from eagleray.track import check_trackers, tracked
from eagleray.train import Report, TrainJob, TrainResult, check_job
from eagleray.train.exporting import export_weights
from eagleray.train.model_file import ExportOrigin
from eagleray.train.run import check_requirements, describe_run, missing_requirements, train_in_run

STOPPED = "training was stopped; the same command goes on from there"


class Listener:
    """Told what each part of ``Experiment.run`` gave."""

    def prepared(self, prepared: Prepared) -> None:
        """Hear of the prepared stages."""

    def trained(self, result: TrainResult) -> None:
        """Hear of the training, which may have been stopped."""

    def evaluated(self, results: Sequence[EvaluationResult]) -> None:
        """Hear of the evaluations."""


class Experiment:
    """One experiment, ready to be planned, prepared, trained, evaluated and used.

    Args:
        settings: The checked settings.
        new: Work in a run folder of its own instead of continuing the latest one.
        limit: Do everything on the first few items only.
        inline: Do everything in this process, without Ray.
        progress: Told about the work.
        retry_rejects: Go once more over the items that ``prepare``, ``evaluate`` and ``predict``
            have rejected.
        other_code: What becomes of results that other code has made, see ``RunOptions``.
    """

    def __init__(
        self,
        settings: ExperimentSettings,
        *,
        new: bool = False,
        limit: int | None = None,
        inline: bool = False,
        progress: Progress | None = None,
        retry_rejects: bool = False,
        other_code: OtherCode = "tell",
    ) -> None:
        self.settings = settings
        self.task: BaseTask = task_type(settings.task)(settings.settings)
        self.options = RunOptions(
            inline=inline,
            limit=limit,
            device=settings.device,
            progress=progress or Silent(),
            retry_rejects=retry_rejects,
            other_code=other_code,
        )
        _refuse_file(settings.storage)
        self.run_folder: RunFolder = run_of(settings, new=new)
        self._prepared: Prepared | None = None
        self._prepared_parts: dict[frozenset[str], Prepared] = {}
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
        self.check_choices()

    def check_choices(self) -> None:
        """Refuse what only a later part would meet, perhaps after hours.

        Raises:
            SettingsError: A benchmark to evaluate on is unknown, the device is not there, or the
                package of a tracker.
        """
        check_trackers(self.settings.track)
        names = self.settings.evaluate.benchmarks
        if names and isinstance(self.task, Evaluation):
            choose_benchmarks(self.task, names)
        if self.settings.device == "cuda" and not present_machine().gpus:
            raise SettingsError(
                "device is 'cuda', but there is no CUDA device that torch can use, here or in "
                "the cluster of RAY_ADDRESS: set device to auto or cpu"
            )

    @contextmanager
    def session(self) -> Iterator[None]:
        """Share one Ray session among the verbs inside of the ``with`` statement. It begins when
        a verb first needs it, which may be never: short stages and inline work need none.
        """
        before = self.options
        with LazySession() as session:
            self.options = replace(before, session=before.session or session)
            try:
                yield
            finally:
                self.options = before

    def plan(self) -> list[StagePlan]:
        """Return what ``prepare`` would do, without doing it.

        Raises:
            SettingsError: Something the task needs is not there, or training would be refused.
        """
        self.check()
        if isinstance(self.task, Training):
            job = TrainJob(self.settings, self.task, self.run_folder, {}, self.options.limit)
            check_job(job, inline=self.options.inline)
        return plan_stages(
            self.task,
            Store(self.settings.storage),
            self.settings.prepare,
            self.options,
        )

    def costs(self, planned: Sequence[StagePlan]) -> Sequence[CostTable]:
        """Return what other ways to keep the prepared data would cost.

        Args:
            planned: What ``plan`` returned.
        """
        phases = self.settings.train.phases if isinstance(self.task, Training) else ()
        known = {stage.label: stage.items for stage in planned if stage.items is not None}
        return self.task.costs(known, phases)

    def prepare(self) -> Prepared:
        """Run all preprocessing stages; what is done already is not done again."""
        self.check(training=False)
        self._prepared = prepare_stages(
            self.task,
            Store(self.settings.storage),
            self.settings.prepare,
            self.options,
        )
        return self._prepared

    def prepare_for(self, benchmarks: Sequence[str] = ()) -> Prepared:
        """Run the preprocessing stages that benchmarks read, and no others, so that a checkpoint is
        evaluated where there is no training split.

        Args:
            benchmarks: By name, or ``all``; by default those of the settings.
        """
        if self._prepared is not None:
            return self._prepared
        task = require(self.task, Evaluation)
        chosen = choose_benchmarks(task, tuple(benchmarks) or self.settings.evaluate.benchmarks)
        read = [part for one in chosen for part in with_parts(task, one)]
        labels = frozenset(label for one in read for label in task.stages_of(one.source))
        if labels not in self._prepared_parts:
            self.check(training=False)
            self._prepared_parts[labels] = prepare_stages(
                self.task,
                Store(self.settings.storage),
                self.settings.prepare,
                self.options,
                labels,
            )
        return self._prepared_parts[labels]

    def train(self, report: Report | None = None) -> TrainResult:
        """Train, going on from the run's latest checkpoint if there is one.

        Args:
            report: Told about metrics at validations and ends of phases.
        """
        task = require(self.task, Training)
        self.check()
        prepared = self._prepared or self.prepare()
        sibling = None if self._new else nearest_sibling(self.run_folder, self.settings)
        if sibling is not None:
            self.options.progress.note(sibling)
        return train_in_run(
            self.settings, task, self.run_folder, prepared, self.options, report=report
        )

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
        prepared = self.prepare_for(benchmarks)
        describe_run(self.run_folder, self.settings, self.task, prepared)
        changed = changed_use(self.run_folder, self.settings)
        if changed:
            stated = ", ".join(f"{name} {value}" for name, value in changed.items())
            self.options.progress.note(
                f"{self.run_folder.name} was begun with other settings of use; now: {stated}"
            )
        names = tuple(benchmarks) or self.settings.evaluate.benchmarks
        plugin = type(task).__module__.partition(".")[0]
        with recorded(self.run_folder, "evaluate", plugin), tracked(self.run_folder, self.settings):
            return evaluate_checkpoints(
                self.settings,
                task,
                self.run_folder,
                prepared.rows,
                choose_benchmarks(task, names),
                (checkpoint,) if isinstance(checkpoint, str) else tuple(checkpoint),
                self.options,
            )

    def baselines(
        self, against: str, benchmarks: Sequence[str] = (), checkpoint: str | Sequence[str] = ()
    ) -> dict[tuple[str, str], EvaluationResult]:
        """Return another run's results by benchmark and checkpoint, to compare those of
        ``evaluate`` with (``analysis.regression.compare``). Read them first: they may lie in the
        files that ``evaluate`` writes.

        Args:
            against: A run (EXPERIMENT/RUN, RUN, or its folder or URI).
            benchmarks: As for ``evaluate``.
            checkpoint: As for ``evaluate``.

        Raises:
            SettingsError: There is no such run, or it has no such results.
        """
        other = open_run(self.settings.storage, against)
        names = tuple(benchmarks) or self.settings.evaluate.benchmarks
        given = (checkpoint,) if isinstance(checkpoint, str) else tuple(checkpoint)
        given = given or (self.settings.evaluate.checkpoint,)
        own, labels = result_labels(self.run_folder, self.settings, given), checkpoint_labels(given)
        return {
            (benchmark.name, own[asked]): read_baseline(
                other, benchmark.name, label, benchmark.protocol
            )
            for benchmark in choose_benchmarks(require(self.task, Evaluation), names)
            for asked, label in labels.items()
        }

    def export(self, output: str | Path, checkpoint: str | None = None) -> int:
        """Write one self-contained file of a checkpoint's weights, those of frozen files included,
        which ``checkpoint=FILE`` and ``eagleray import`` take; return its size in bytes.

        Args:
            output: A path that ends in ``.safetensors``.
            checkpoint: As for ``evaluate``; by default that of the settings.
        """
        which = checkpoint or self.settings.evaluate.checkpoint
        task = require(self.task, ModelTask)
        weights = find_weights(self.run_folder, which, task, self.settings.seed)
        settings = task.settings.model_dump(mode="json")
        origin = ExportOrigin(task.name, settings, self.run_folder.name, which)
        return export_weights(task, weights, Path(output), origin)

    def run(self, listener: Listener | None = None) -> list[EvaluationResult]:
        """Prepare, train and evaluate.

        Args:
            listener: Told what each of the three gave.

        Raises:
            InterruptedError: Training was stopped; the same call goes on.
        """
        listener = listener or Listener()
        require(self.task, Training)
        self.check()
        with self.session():
            listener.prepared(self.prepare())
            result = self.train()
            listener.trained(result)
            if not result.finished:
                raise InterruptedError(STOPPED)
            if not isinstance(self.task, Evaluation) or not self.task.benchmarks():
                return []
            results = self.evaluate()
            listener.evaluated(results)
            return results

    def sweep(self) -> SweepResult:
        """Run the trials of the ``sweep`` section that are not over yet.

        Raises:
            SettingsError: Anything that would end a trial; all mistakes are listed.
        """
        return run_sweep(self.settings, self.options, new=self._new)

    def plan_sweep(self) -> SweepPlan:
        """Return the trials of the ``sweep`` section, without running any.

        Raises:
            SettingsError: Anything that would end a trial; all mistakes are listed.
        """
        return plan_sweep(self.settings, self.options, new=self._new)

    def predict(
        self,
        paths: Sequence[str | Path],
        output: str,
        formats: Sequence[str] = (),
        checkpoint: str | None = None,
        flags: Mapping[str, Any] | None = None,
    ) -> PredictSummary:
        """Run the trained task on a user's own files.

        Args:
            paths: Files and folders.
            output: Folder of the exports.
            formats: What is written; by default the task's first format.
            checkpoint: As for ``evaluate``, one.
            flags: The task's own flags by name (``Prediction.flags_type``).
        """
        which = checkpoint or self.settings.evaluate.checkpoint
        task = require(self.task, Prediction)
        weights = locate_weights(self.run_folder, which, task, self.settings.seed)
        return predict_files(
            self.settings,
            task,
            weights,
            [Path(p) for p in paths],
            Store(output),
            formats,
            self.options,
            flags,
        )


def _refuse_file(storage: str) -> None:
    store = Store(storage)
    if store.is_local and Path(store.uri.removeprefix("file://")).is_file():
        raise SettingsError(
            f"storage {storage!r} is a file; name a folder, which may not exist yet"
        )
