"""The contract between a task (a plugin) and the engine: read this to write a task.

A task says what is computed; the engine says where, when and how often. Nothing here knows Ray, a
file layout or vision. The order of this file is the order of an experiment: settings, prepare,
data, train, evaluate, predict. Errors and the base of settings are in ``errors.py``, the settings
of training in ``phase.py``; all of it is imported from here.
``tasks/README.md`` shows how to write a task in an afternoon.
"""

from __future__ import annotations

import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from torch import Tensor, nn

from eagleray.errors import EaglerayError as EaglerayError
from eagleray.errors import InputError as InputError
from eagleray.errors import Settings as Settings
from eagleray.errors import SettingsError as SettingsError
from eagleray.phase import Phase as Phase
from eagleray.phase import Schedule as Schedule

# ---------------------------------------------------------------------- prepare


@dataclass(frozen=True, slots=True)
class Item:
    """One input of a stage (an image, a key frame, a scene), as cheap to list as possible.

    Args:
        key: Unique within the stage and stable between listings.
        identity: Changes when the input changes (size and time of the file, a checksum, a seed).
        payload: What ``load`` needs, JSON values only.
    """

    key: str
    identity: str
    payload: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Record:
    """One output row of a stage.

    Args:
        key: Unique within the stage; the item's key where an item gives one record.
        row: Column values by the names of ``Stage.schema``.
        files: Content by relative POSIX path (``overlay/a.png``); unique within the stage.
    """

    key: str
    row: Mapping[str, Any]
    files: Mapping[str, bytes] = field(default_factory=dict)


class Rows(Protocol):
    """The rows of a finished stage, read by key. Safe to pickle and to use from data-loader
    workers.
    """

    def __len__(self) -> int: ...

    def keys(self) -> Sequence[str]:
        """Return the record keys in listing order."""
        ...

    def __getitem__(self, key: str) -> Mapping[str, Any]: ...

    def read_file(self, key: str, name: str) -> bytes:
        """Return the file ``name`` that the record ``key`` carries."""
        ...

    def shard_idx(self, key: str) -> int:
        """Return the number of the shard that holds ``key`` (for reading in storage order)."""
        ...

    def summary(self) -> Mapping[str, Any]:
        """Return what ``Stage.finish`` gave."""
        ...


class Resources(Settings):
    """What one worker of a stage asks for; the engine fits it to the machine at hand."""

    cpus: float = Field(1.0, gt=0)
    """Logical CPUs per worker."""
    gpus: float = Field(0.0, ge=0)
    """GPUs per worker, fractions allowed; ignored on machines without one."""
    memory_gb: float = Field(0.0, ge=0)
    """Resident memory per worker in GB; 0 = unknown."""
    batch_size: int = Field(1, ge=1)
    """Items per call of ``process``."""
    loader_threads: int = Field(1, ge=1)
    """Threads that call ``load`` ahead of ``process``."""
    writer_threads: int = Field(2, ge=1)
    """Threads that call ``encode`` behind ``process`` and write files."""
    seconds_per_item: float = Field(0.1, gt=0)
    """Expected seconds per item, from which shards of about a minute are cut."""


class Stage(ABC):
    """One preprocessing step: turns items into records that the engine commits in shards.

    A stage is pickled to workers before ``setup``; whatever ``setup`` creates stays on the worker.
    """

    name: str
    version: int = 1
    source: str = ""
    """Which of the task's data it reads (``train``, ``val``); part of the label, not of the
    results' identity."""
    schema: Mapping[str, str]
    """Column name to Arrow type name: ``string, int64, int32, float32, float64, bool, binary,
    list<int32>`` ..."""
    resources: Resources = Resources()
    upstream: tuple[str, ...] = ()
    """Labels of the stages whose rows it reads."""
    fit_items: int = 0
    """How many items ``fit`` wants to see; 0 = no fit."""

    @property
    def label(self) -> str:
        """Name of the stage within its experiment, ``name:source``."""
        return f"{self.name}:{self.source}" if self.source else self.name

    @abstractmethod
    def settings(self) -> Settings:
        """Return everything that its results depend on, apart from its inputs."""

    def weights(self) -> Sequence[Path]:
        """Return the weight files that its results depend on; their checksums enter the
        fingerprint.
        """
        return ()

    @abstractmethod
    def items(self, upstream: Mapping[str, Rows]) -> Iterator[Item]:
        """List the inputs in a stable order, without opening them where that can be helped."""

    def setup(self, device: str, upstream: Mapping[str, Rows], fitted: Mapping[str, Any]) -> None:
        """Get ready on a worker, once: load networks, keep handles and what ``fit`` found."""

    @abstractmethod
    def load(self, item: Item) -> Any:
        """Decode one item on the CPU, from several threads; raises InputError for bad data."""

    @abstractmethod
    def process(self, samples: Sequence[Any]) -> Sequence[Any]:
        """Turn a batch of loaded samples into records, one sequence per sample, on the device; or
        into what ``encode`` takes.
        """

    def encode(self, processed: Any) -> Sequence[Record]:
        """Turn what ``process`` gave for one sample into records, in threads of its own while the
        device goes on; by default they are records already. Errors are rejects as in ``load``, but
        an EaglerayError that is no InputError (a full disk) ends the job.
        """
        records: Sequence[Record] = processed
        return records

    def fit(self, samples: Iterable[Any]) -> Mapping[str, Any]:
        """Compute from loaded samples what all workers need (a PCA basis, a codebook), as JSON.

        ``setup`` runs before, with nothing fitted, so that networks may be used.
        """
        return {}

    def finish(self, rows: Rows) -> Mapping[str, Any]:
        """Compute one JSON object over all rows, once they are complete."""
        return {}


# ---------------------------------------------------------------------- data


class Dataset(ABC):
    """Map-style data of a training split or a benchmark."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def key(self, index: int) -> str:
        """Return a stable name of the sample (the unit's name in an evaluation)."""

    @abstractmethod
    def load(self, index: int, rng: np.random.Generator) -> Any:
        """Read one sample; ``rng`` depends on seed, phase, epoch and sample only."""

    @abstractmethod
    def collate(self, samples: Sequence[Any]) -> Any:
        """Join samples to a batch: tensors, or nested dataclasses, tuples, lists and dicts of
        them.
        """

    def group(self, index: int) -> int:
        """Return the sample's group; batches never mix groups (orientation, aspect ratio)."""
        return 0

    def shard_idx(self, index: int) -> int:
        """Return where the sample is stored, so that neighbours are read together."""
        return 0


class Batches(Protocol):
    """Training data on the device (the rays of a scene): an iterator that begins at any step."""

    def batches(
        self,
        phase: Phase,
        *,
        seed: int,
        start_step: int,
        rank: int,
        world_size: int,
        device: torch.device,
    ) -> Iterator[Any]:
        """Yield the batches of one rank from ``start_step`` on, one per step.

        What a step draws depends on (seed, phase, step) only; all ranks together draw
        ``phase.batch_size`` samples.
        """
        ...


# ---------------------------------------------------------------------- train


@dataclass(frozen=True, slots=True)
class ParameterGroup:
    """Parameters (by name) that share multipliers; parameters in no group are frozen during the
    phase.
    """

    names: Sequence[str]
    lr_factor: float = 1.0
    weight_decay_factor: float = 1.0


@dataclass(frozen=True, slots=True)
class LossTerm:
    """A loss as (sum, weight): the engine divides the sum by the weight added up over ranks.

    A term contributes ``factor * sum / weight``, and nothing where the added-up weight is 0. Every
    rank returns the same terms in the same order, also when it has nothing to add (0 * features).
    """

    sum: Tensor
    weight: Tensor | float
    factor: float = 1.0


@dataclass(frozen=True, slots=True)
class StepContext:
    """Where training stands; randomness is keyed by (seed, phase, step, sample), not by rank."""

    phase: Phase
    step: int
    total_steps: int
    seed: int
    sample_keys: tuple[str, ...] = ()
    """Names of the samples of this micro-batch, in collation order."""

    def generator(self, sample_idx: int | None = None, salt: str = "") -> torch.Generator:
        """Return a CPU generator for one sample of the micro-batch (None: one shared by all
        ranks).
        """
        key = "" if sample_idx is None else self.sample_keys[sample_idx]
        text = f"{self.seed}/{self.phase.name}/{self.step}/{key}/{salt}"
        high, low = zlib.crc32(text.encode()), zlib.adler32(text[::-1].encode())
        return torch.Generator().manual_seed((high << 32) | low)


# ---------------------------------------------------------------------- evaluate


@dataclass(frozen=True, slots=True)
class PublishedResult:
    """A published number: the metric's name in ``Metrics.values``, its value and where it was
    read.
    """

    metric: str
    value: float
    source: str
    model: str = ""
    recalled: bool = False
    """True where the number is quoted from memory and still to be checked."""


@dataclass(frozen=True, slots=True)
class Benchmark:
    """A dataset split with a protocol and the numbers published for it.

    Args:
        name: Unique within the task.
        source: What to hand to ``Task.dataset``; its samples are the units.
        metric: The number that ranks runs.
        protocol: One paragraph: resolution, classes, rules.
        schema: Columns of the rows that ``Task.score`` returns, as in ``Stage.schema``.
    """

    name: str
    source: str
    metric: str
    protocol: str
    schema: Mapping[str, str]
    higher_is_better: bool = True
    vocabulary: tuple[str, ...] = ()
    published: tuple[PublishedResult, ...] = ()


@dataclass(frozen=True, slots=True)
class Metrics:
    """Result of a benchmark: scalars, and scalars per class (class name -> metric -> value)."""

    values: Mapping[str, float]
    per_class: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


# ---------------------------------------------------------------------- predict, import


@dataclass(frozen=True, slots=True)
class Tool:
    """An interactive function behind ``view`` and ``query`` (click, threshold, text query)."""

    name: str
    help: str
    arguments: type[Settings]
    call: Callable[..., Any]


@dataclass(frozen=True, slots=True)
class ImportedCheckpoint:
    """Foreign weights in our names; every key of the file is in exactly one of mapped and extra."""

    state_dict: Mapping[str, Tensor]
    mapped: Mapping[str, str]
    missing: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PublishedFiles:
    """What ``eagleray import`` makes of a published file: weights, an experiment, or both.

    Args:
        checkpoint: The weights, where the file holds some.
        experiment: Values of the experiment that its configuration describes; checked by the
            engine.
        files: What the experiment refers to, by the path below the folder that it was given.
        notes: What the user must know, one line each: what was not carried over, and why.
    """

    checkpoint: ImportedCheckpoint | None = None
    experiment: Mapping[str, Any] | None = None
    files: Mapping[str, bytes] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FittedWeights:
    """Weights of another training, made to fit a model.

    Args:
        weights: What is loaded, by name.
        kept: Tensors that keep the model's initial values although the file has them, with the
            reason; said aloud.
        notes: Further lines to say aloud.
    """

    weights: Mapping[str, Tensor]
    kept: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Requirement:
    """What must be there before a run starts (a dataset, a weight file): ``doctor``, ``plan``.

    Args:
        name: What it is.
        found: Whether it is there.
        hint: What to do where it is not; names ``eagleray download NAME`` where there is one.
        training_only: Evaluation and prediction do without it.
        optional: Everything does without it, at a price that the hint names.
        build: Makes it here and now (``doctor --build``); None where a person has to.
        replaced_by_init: Weights to begin with, for which ``train.init_from`` stands in.
    """

    name: str
    found: bool
    hint: str
    training_only: bool = False
    optional: bool = False
    build: Callable[[], object] | None = None
    replaced_by_init: bool = False


@dataclass(frozen=True, slots=True)
class Download:
    """A published file by name: ``eagleray download NAME``.

    Args:
        name: Unique over all tasks.
        summary: What it is.
        url: Where it is published.
        license: The license it comes under, and whose terms bind its use besides.
        file: Name under which it is kept.
        checksum: ``sha256:`` or ``md5:`` with the hexadecimal digits that are published (the first
            ones at least); empty where none are.
        num_bytes: Size as published; 0 = unknown.
        by_hand: How a person gets the file where its host wants a browser or a login; empty where
            the URL gives the file itself.
        is_archive: A zip or tar file, unpacked into a folder called ``name``.
    """

    name: str
    summary: str
    url: str
    license: str
    file: str
    checksum: str = ""
    num_bytes: int = 0
    by_hand: str = ""
    is_archive: bool = False


class Task(ABC):
    """What a plugin offers. Picklable; holds settings only."""

    name: ClassVar[str]
    summary: ClassVar[str]
    settings_type: ClassVar[type[Settings]]

    def __init__(self, settings: Any) -> None:
        self.settings = settings

    def requirements(self) -> Sequence[Requirement]:
        """Return the files this task needs with these settings."""
        return ()

    @classmethod
    def downloads(cls) -> Sequence[Download]:
        """Return the published files that this task can use."""
        return ()

    def stages(self) -> Sequence[Stage]:
        """Return the preprocessing steps in an order in which upstream comes first."""
        return ()

    @abstractmethod
    def dataset(self, source: str, rows: Mapping[str, Rows]) -> Dataset | Batches:
        """Return the data called ``source``: ``"train"``, or the source of a benchmark.

        Args:
            source: Which data.
            rows: The rows of all prepared stages, by label.
        """

    @abstractmethod
    def build(self) -> nn.Module:
        """Return the model on the CPU in float32, with its pretrained weights loaded where the
        settings name some.
        """

    @abstractmethod
    def phases(self) -> Sequence[Phase]:
        """Return the paper's training phases; an experiment may override their fields."""

    def parameter_groups(self, model: nn.Module, phase: Phase) -> Sequence[ParameterGroup]:
        """Return what is trained in the phase; by default all that requires a gradient."""
        return (ParameterGroup([n for n, p in model.named_parameters() if p.requires_grad]),)

    def on_phase_start(self, model: nn.Module, phase: Phase, data: Dataset | Batches) -> None:
        """Get ready for a phase (change buffers), alike on all ranks."""

    def before_step(self, model: nn.Module, step: StepContext) -> None:
        """Change buffers before a step (an occupancy grid), alike on all ranks."""

    @abstractmethod
    def losses(self, model: nn.Module, batch: Any, step: StepContext) -> Mapping[str, LossTerm]:
        """Return the named losses of a micro-batch. The same modules run in the same order on
        every rank.
        """

    def benchmarks(self) -> Sequence[Benchmark]:
        """Return the benchmarks that these settings can be evaluated on; the first one is the
        default.
        """
        return ()

    def predict(self, model: nn.Module, samples: Sequence[Any]) -> Sequence[Any]:
        """Return one prediction per sample (of a benchmark's dataset or of ``inputs``), on the
        model's device.
        """
        raise NotImplementedError(f"task {self.name!r} has no prediction")

    def score(self, benchmark: str, sample: Any, prediction: Any) -> Mapping[str, Any]:
        """Return the row (``Benchmark.schema``) that one unit adds to the metric."""
        raise NotImplementedError(f"task {self.name!r} has no benchmark {benchmark!r}")

    def compute(self, benchmark: str, rows: Iterable[Mapping[str, Any]]) -> Metrics:
        """Return the metrics over the rows of all units, which come in unit order."""
        raise NotImplementedError(f"task {self.name!r} has no benchmark {benchmark!r}")

    def picture(self, sample: Any, prediction: Any) -> Mapping[str, npt.NDArray[np.uint8]]:
        """Return named RGB pictures, uint8 (H, W, 3), of one size: ``input``, ``truth``,
        ``prediction``.
        """
        return {}

    def inputs(self, paths: Sequence[Path]) -> Iterator[Item]:
        """List a user's own files (folders are searched recursively); keys are relative paths
        without suffix.
        """
        raise NotImplementedError(f"task {self.name!r} cannot read a user's own files")

    def load_input(self, item: Item) -> Any:
        """Read one of the user's files as a sample for ``predict``; raises InputError."""
        raise NotImplementedError(f"task {self.name!r} cannot read a user's own files")

    formats: ClassVar[Sequence[str]] = ()
    """What ``export`` can write; the first one is the default."""

    def check_format(self, format: str) -> None:
        """Raise SettingsError for one of ``formats`` that these settings cannot give."""

    def export(self, item: Item, sample: Any, prediction: Any, format: str) -> Record:
        """Return the files of one prediction in a format, and a row for ``export_index`` (JSON
        values). Called from several threads.
        """
        raise NotImplementedError(f"task {self.name!r} has no export {format!r}")

    def export_index(self, format: str, rows: Sequence[Mapping[str, Any]]) -> Mapping[str, bytes]:
        """Return the files that a format has once for all predictions (the JSON of COCO
        panoptic).
        """
        return {}

    def tools(self) -> Sequence[Tool]:
        """Return interactive functions."""
        return ()

    def import_checkpoint(self, path: Path) -> ImportedCheckpoint:
        """Read published weights in the original's format; every key is accounted for."""
        raise NotImplementedError(f"task {self.name!r} has no checkpoint import")

    def import_published(self, path: Path, folder: Path) -> PublishedFiles:
        """Read any file that the original publishes or reads, whatever these settings say: weights,
        a configuration, an archive of both. By default weights.

        Args:
            path: The file.
            folder: Where the weights, the experiment and its files will lie.
        """
        return PublishedFiles(self.import_checkpoint(path))

    def fit_weights(self, model: nn.Module, weights: Mapping[str, Tensor]) -> FittedWeights:
        """Make the weights of ``train.init_from`` fit the model: what depends on other classes
        keeps its initial values; raises SettingsError for what cannot fit. By default nothing is
        changed, and tensors of other shapes are left out.
        """
        return FittedWeights(weights)
