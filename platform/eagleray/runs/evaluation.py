"""What evaluations leave in a run: results, the rows of their units, and pictures of some units.

    evaluation/<benchmark>/<checkpoint>.json      the results
    evaluation/<benchmark>/units/<checkpoint>.json  the metrics of single units
    evaluation/<benchmark>/<fingerprint>/         a stage's folder: shards of rows, pictures

Everything is read as it is found; what is damaged is named, not hidden.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import TypeAdapter

from eagleray.prepare import ShardMarker, StageFolder
from eagleray.runs.records import EvaluationResult, encode_json
from eagleray.runs.run_folder import RunFolder
from eagleray.storage import checked_name
from eagleray.task import EaglerayError, InputError, SettingsError

PICTURE_FOLDER = "pictures"
"""Folder of pictures in a stage's folder; they are called ``<unit>.<name>.png``."""
LAYER_FOLDER = "layers"
"""Folder of labels over pictures: ``<unit>.<name>.png``, and ``<unit>.json`` that says what they
are."""
_KEY = "key"
_UnitMetrics = TypeAdapter(dict[str, dict[str, float]])


@dataclass(frozen=True, slots=True)
class StoredEvaluation:
    """One checkpoint on one benchmark.

    Args:
        benchmark: The benchmark's name.
        checkpoint: The checkpoint's label (``best``, ``last``, ``initial``).
        result: Its results; None where they are damaged.
        problem: What is wrong with them, empty where nothing is.
    """

    benchmark: str
    checkpoint: str
    result: EvaluationResult | None
    problem: str = ""

    @property
    def label(self) -> str:
        """``benchmark/checkpoint``."""
        return f"{self.benchmark}/{self.checkpoint}"

    @property
    def folder(self) -> str:
        """Path of the rows below the run, empty where the results do not name a usable one."""
        try:
            rows = checked_name(self.result.rows if self.result else "", "folder of rows")
        except SettingsError:
            return ""
        # The name comes from a file: only a plain one is followed, never a path out of the run.
        return f"{RunFolder.EVALUATION}/{self.benchmark}/{rows}"


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture below the run's folder."""

    path: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Unit:
    """One unit of a benchmark.

    Args:
        key: The unit's name.
        values: Its numbers: the scalar columns of its row, and its own metrics.
        pictures: Its pictures by name (``input``, ``truth``, ``prediction``).
        layers: Labels over the input by the name of the picture that shows them.
        legend: The JSON that says what the labels are; None without labels.
    """

    key: str
    values: Mapping[str, float]
    pictures: Mapping[str, Picture] = field(default_factory=dict)
    layers: Mapping[str, Picture] = field(default_factory=dict)
    legend: Picture | None = None


@dataclass(frozen=True, slots=True)
class Units:
    """The units of one evaluation in their order, and what of it could not be read."""

    units: Sequence[Unit]
    problems: Sequence[str] = ()
    rejects: Sequence[tuple[str, str]] = ()

    def metrics(self) -> list[str]:
        """Return the names of all numbers that units have."""
        return list(dict.fromkeys(name for unit in self.units for name in unit.values))


def write_result(
    run: RunFolder, result: EvaluationResult, units: Mapping[str, Mapping[str, float]]
) -> None:
    """Write the results of one evaluation, and tell the run's summary.

    Args:
        run: The run's folder.
        result: The results.
        units: Metrics of single units by key, see ``evaluate.units``.
    """
    names = (result.benchmark, result.checkpoint)
    run.write(run.unit_metrics_path(*names), encode_json(units))
    run.write(run.result_path(*names), result.encode())
    run.update_summary(results={"/".join(names): result.as_summary()})


def read_result(run: RunFolder, benchmark: str, checkpoint: str) -> EvaluationResult:
    """Return the results of a checkpoint on a benchmark.

    Raises:
        InputError: They are missing or damaged.
    """
    path = run.result_path(benchmark, checkpoint)
    try:
        return EvaluationResult.parse(json.loads(run.read(path)))
    except (OSError, ValueError, InputError) as error:
        raise InputError(f"{path} is damaged: {error}") from error


def evaluated(run: RunFolder, benchmark: str) -> list[str]:
    """Return the checkpoints that have results on a benchmark."""
    files = run.files(f"{run.EVALUATION}/{benchmark}")
    return [Path(path).stem for path in files if path.endswith(".json")]


def read_evaluations(run: RunFolder) -> list[StoredEvaluation]:
    """Return all evaluations of a run, by benchmark and checkpoint."""
    evaluations = []
    for benchmark in run.folders(run.EVALUATION):
        for checkpoint in evaluated(run, benchmark):
            try:
                result = read_result(run, benchmark, checkpoint)
                evaluations.append(StoredEvaluation(benchmark, checkpoint, result))
            except InputError as error:
                evaluations.append(StoredEvaluation(benchmark, checkpoint, None, str(error)))
    return evaluations


def read_units(run: RunFolder, evaluation: StoredEvaluation) -> Units:
    """Return the units of an evaluation with the pictures that were kept of them.

    Args:
        run: The run's folder.
        evaluation: One of ``read_evaluations``.

    Raises:
        InputError: Its rows are not there.
    """
    folder = evaluation.folder
    if evaluation.result is not None and not evaluation.result.rows:
        raise InputError(
            f"{evaluation.label} names no units: it is the mean of other benchmarks, which show "
            "theirs, or was made by an old version"
        )
    if not folder or not run.exists(folder):
        raise InputError(f"{run.uri} holds no rows of this evaluation (looked in {folder!r})")
    stage = StageFolder(run.child(folder))
    markers, problems = stage.readable_markers()
    own = _unit_metrics(run, evaluation, problems)
    units: list[Unit] = []
    for marker in markers:
        pictures = _pictures(marker, folder, PICTURE_FOLDER)
        layers = _pictures(marker, folder, LAYER_FOLDER)
        legends = {
            file.key: Picture(f"{folder}/{file.path}", file.sha256)
            for file in marker.files
            if file.name.startswith(f"{LAYER_FOLDER}/") and file.name.endswith(".json")
        }
        try:
            rows = _scalar_rows(stage, marker)
        except (pa.ArrowException, ValueError, OSError, EaglerayError) as error:
            problems.append(f"rows of shard {marker.shard} cannot be read: {error}")
            rows = {key: {} for key in pictures}
        units += [
            Unit(
                key,
                {**values, **own.get(key, {})},
                pictures.get(key, {}),
                layers.get(key, {}),
                legends.get(key),
            )
            for key, values in rows.items()
        ]
    rejects = [(reject.key, reject.error) for marker in markers for reject in marker.rejected]
    return Units(units, problems, rejects)


def _unit_metrics(
    run: RunFolder, evaluation: StoredEvaluation, problems: list[str]
) -> dict[str, dict[str, float]]:
    """Return the metrics of single units, as far as they were computed."""
    path = run.unit_metrics_path(evaluation.benchmark, evaluation.checkpoint)
    try:
        return _UnitMetrics.validate_json(run.read(path))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        problems.append(f"{path} is damaged: {str(error).splitlines()[0]}")
        return {}


def _pictures(marker: ShardMarker, folder: str, below: str) -> dict[str, dict[str, Picture]]:
    found: dict[str, dict[str, Picture]] = {}
    for file in marker.files:
        if file.name.startswith(f"{below}/") and file.name.endswith(".png"):
            name = file.name.removesuffix(".png").rpartition(".")[2]
            picture = Picture(f"{folder}/{file.path}", file.sha256)
            found.setdefault(file.key, {})[name] = picture
    return found


def _scalar_rows(stage: StageFolder, marker: ShardMarker) -> dict[str, dict[str, float]]:
    if not marker.rows:
        return {}
    file = pq.ParquetFile(BytesIO(stage.read_rows(marker)))
    names = [f.name for f in file.schema_arrow if _is_number(f.type)]
    table = file.read([_KEY, *names], use_threads=False)
    columns = {name: table.column(name).to_pylist() for name in names}
    return {
        key: {
            name: float(values[idx]) for name, values in columns.items() if values[idx] is not None
        }
        for idx, key in enumerate(table.column(_KEY).to_pylist())
    }


def _is_number(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind)
    )
