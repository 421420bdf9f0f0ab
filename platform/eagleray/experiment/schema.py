"""What an experiment's YAML may say: the engine's settings, beside the task's own."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from eagleray.experiment.sweep import SweepSettings
from eagleray.storage import checked_name
from eagleray.task import LATER, Phase, Settings

Mode = Literal["stored", "computed", "streamed"]
"""Where a stage's rows are when they are read: in shards of the storage; computed by the reading
process; computed by workers that answer by key while training goes on."""


class PrepareSettings(Settings):
    """How the preprocessing stages run."""

    workers: int | None = Field(None, ge=1)
    """Workers per stage; by default as many as the machine's CPUs and GPUs hold."""
    items_per_shard: int | None = Field(None, ge=1)
    """Average items per shard; by default about a minute of work."""
    materialise: Mode | dict[str, Mode] = "stored"
    """What becomes of the stages' rows: ``stored`` (or true), ``computed`` by the processes that
    read them (or false), ``streamed`` from workers of their own; or one of these for each stage, by
    its name or its label NAME:SOURCE, the others being stored."""
    cache_gb: Annotated[float, LATER] = Field(0.25, ge=0)
    """Memory in GB for rows that are computed or streamed, per process that computes them: what
    fits is computed once, not once per epoch."""
    remote_loads: Annotated[int | None, LATER] = Field(None, ge=0)
    """Items that CPU-only tasks on other machines load for each worker of a stored stage at a time;
    by default what the stage asks for, mostly 0."""
    ahead: Annotated[int, LATER] = Field(32, ge=1)
    """Samples per training process whose streamed rows are asked for before they are read; at least
    three micro-batches, which the loader reads ahead by itself."""
    allowed_rejects: int = Field(0, ge=0)
    """Rejected items up to this number still give exit status 0."""

    @field_validator("materialise", mode="before")
    @classmethod
    def _words(cls, value: Any) -> Any:
        """Take the plain true and false, which say stored and computed."""
        words = {True: "stored", False: "computed"}
        if isinstance(value, dict):
            return {k: words[v] if isinstance(v, bool) else v for k, v in value.items()}
        return words[value] if isinstance(value, bool) else value


class ValidateSettings(Settings):
    """Validation inside training; feeds the best checkpoint and sweep schedulers."""

    benchmark: str | None = None
    """Benchmark to validate on; by default none."""
    metric: str | None = None
    """Metric that the best checkpoint is chosen by; by default the one the benchmark is ranked
    by."""
    higher_is_better: bool | None = None
    """Whether the greatest value of the metric is the best; by default as the benchmark says."""
    every: int = Field(1000, ge=1)
    """Optimizer steps between validations; also one at the end of training."""
    every_epochs: Annotated[int | None, LATER] = Field(None, ge=1)
    """Passes over the training data between validations, in place of ``every``."""
    from_step: Annotated[int, LATER] = Field(0, ge=0)
    """Optimizer steps of a phase before which nothing is validated, except at its end."""
    units: int | None = Field(None, ge=1)
    """Validate on the first units only; by default on all."""


_HALF = 0.5
"""Two workers of more than half a GPU each never share one; NCCL refuses two ranks on one."""


class TrainSettings(Settings):
    """How the model is trained."""

    strategy: Literal["single", "ddp", "deepspeed"] = "single"
    """One process, DistributedDataParallel, or DeepSpeed ZeRO."""
    num_workers: int | tuple[int, int] = 1
    """Training processes; a pair (least, most) makes the run elastic."""
    zero_stage: Literal[0, 1, 2, 3] = 1
    """ZeRO stage of strategy deepspeed."""
    offload_optimizer: bool = False
    """Keep ZeRO's optimizer states in CPU memory."""
    cpus_per_worker: float = Field(1.0, gt=0)
    """Logical CPUs per training process."""
    gpus_per_worker: float = Field(1.0, gt=0)
    """GPUs per training process, where there are GPUs; below 1 several trials of a sweep share
    one."""
    phases: tuple[Phase, ...] = ()
    """Training phases; by default the task's own."""
    micro_batch_size: int | None = Field(None, ge=1)
    """Samples per forward pass and worker; by default batch_size / num_workers (no
    accumulation)."""
    loader_workers: int = Field(0, ge=0)
    """Processes per worker that read data ahead; 0 reads in a thread."""
    init_from: str | None = None
    """Weights to begin with: a run's checkpoint folder or a model.safetensors, by path or URI."""
    log_every: int = Field(10, ge=1)
    """Optimizer steps between two lines of metrics."""
    checkpoint_every: int = Field(500, ge=1)
    """Optimizer steps between checkpoints; also one at the end of each phase."""
    checkpoint_every_epochs: Annotated[int | None, LATER] = Field(None, ge=1)
    """Passes over the training data between checkpoints, in place of ``checkpoint_every``."""
    keep_checkpoints: int = Field(2, ge=1)
    """Latest checkpoints kept beside the best and the phases' last."""
    max_failures: int = Field(3, ge=0)
    """Restarts of the worker group before the run gives up; those for lost machines are not
    counted."""
    collective_timeout_s: Annotated[int, LATER] = Field(1800, ge=1)
    """Seconds after which a rank that waits for the others gives up, and says so."""
    max_nan_steps: int = Field(10, ge=0)
    """Steps with a loss or gradient that is not finite are skipped and counted; more than this
    in a row stop."""
    activation_checkpointing: bool = False
    """Recompute activations in the backward pass to save memory."""
    compile: bool = False
    """Run the model through torch.compile."""
    channels_last: bool = False
    """Keep 4-D tensors in channels-last order."""
    profile_steps: tuple[int, int] | None = None
    """First and last optimizer step of a profiler window; the trace is written into the run's
    log folder."""
    validate_on: ValidateSettings = ValidateSettings()
    """Validation inside training."""

    @model_validator(mode="after")
    def _possible(self) -> TrainSettings:
        least = self.num_workers if isinstance(self.num_workers, int) else min(self.num_workers)
        most = self.num_workers if isinstance(self.num_workers, int) else max(self.num_workers)
        if least < 1:
            raise ValueError(f"train.num_workers is {self.num_workers}, allowed is 1 or more")
        if self.strategy == "single" and most > 1:
            raise ValueError(
                f"train.strategy 'single' has one process, but train.num_workers is "
                f"{self.num_workers}: "
                "set num_workers to 1 or the strategy to 'ddp' or 'deepspeed'"
            )
        if self.gpus_per_worker <= _HALF and most > 1:
            raise ValueError(
                f"train.gpus_per_worker is {self.gpus_per_worker:g}, but two of a group of {most} "
                "workers must not share a GPU: set it to 1, above 0.5 where workers of streamed "
                "stages are to have the rest, or num_workers to 1"
            )
        if self.gpus_per_worker > 1 and self.gpus_per_worker != int(self.gpus_per_worker):
            raise ValueError(
                f"train.gpus_per_worker is {self.gpus_per_worker:g}, allowed are whole numbers and "
                "fractions below 1"
            )
        if self.offload_optimizer and (self.strategy != "deepspeed" or self.zero_stage == 0):
            raise ValueError(
                "train.offload_optimizer needs strategy 'deepspeed' with zero_stage 1, 2 or 3, "
                f"found strategy {self.strategy!r}, zero_stage {self.zero_stage}"
            )
        return self


class EvaluateSettings(Settings):
    """How a checkpoint is evaluated."""

    benchmarks: tuple[str, ...] = ()
    """Benchmarks to evaluate on; by default the task's first one."""
    checkpoint: str = "best"
    """Which checkpoint: best, last, initial (before training), or the path or URI of a
    model.safetensors."""
    workers: int | None = Field(None, ge=1)
    """Evaluation workers; by default as many as the machine holds."""
    batch_size: int = Field(1, ge=1)
    """Units per forward pass."""
    units_per_shard: int = Field(32, ge=1)
    """Average units per committed shard of rows."""
    pictures: int = Field(16, ge=0)
    """Pictures kept per benchmark (of the first units)."""
    precision: Annotated[Literal["fp32", "bf16", "fp16"], LATER] = "fp32"
    """Arithmetic of evaluate and predict: autocast over float32 weights, as in training."""
    channels_last: Annotated[bool, LATER] = False
    """Keep 4-D tensors in channels-last order, in evaluate and predict."""
    compile: Annotated[bool, LATER] = False
    """Run the model through torch.compile, in evaluate and predict."""


class MlflowSettings(Settings):
    """Where MLflow keeps runs (``pip install mlflow``)."""

    uri: str | None = None
    """Server, database or folder; by default what MLFLOW_TRACKING_URI says, else MLflow's own."""
    experiment: str | None = None
    """MLflow's experiment; by default called as this one."""


class WandbSettings(Settings):
    """Where Weights & Biases keeps runs (``pip install wandb``)."""

    project: str | None = None
    """Project; by default called as this experiment."""
    entity: str | None = None
    """User or team; by default that of the key."""
    mode: Literal["online", "offline"] = "online"
    """Offline writes into the run's folder, for ``wandb sync``."""


class TrackSettings(Settings):
    """Experiment trackers that are told what runs log: settings, metrics, results, how they were
    made. A tracker that does not answer is named and changes nothing of the run.
    """

    mlflow: MlflowSettings | None = None
    """MLflow; ``{}`` takes its defaults, none leaves it out."""
    wandb: WandbSettings | None = None
    """Weights & Biases; ``{}`` takes its defaults, none leaves it out."""


class ExperimentSettings(Settings):
    """One experiment: a task with its settings, and how to prepare, train and evaluate it.

    ``settings`` is narrowed to the task's own model when a file is read.
    """

    task: str
    """Name of an installed task, see ``eagleray tasks``."""
    name: str = "experiment"
    """Name of the experiment's folder; by default the file's name."""
    run: str = "main"
    """First part of the run's name; runs of other names stand beside each other."""
    seed: int = Field(0, ge=0, lt=2**63)
    """Seed of everything random."""
    storage: str = "storage"
    """Folder or URI that holds prepared data and runs."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where models run; auto takes the GPUs if there are any."""
    settings: Any
    """The task's settings."""
    prepare: PrepareSettings = PrepareSettings()
    """Preprocessing."""
    train: TrainSettings = TrainSettings()
    """Training."""
    evaluate: EvaluateSettings = EvaluateSettings()
    """Evaluation."""
    sweep: SweepSettings = SweepSettings()
    """Ablations, grids and searches."""
    track: TrackSettings = TrackSettings()
    """Experiment trackers."""

    @field_validator("name", "run")
    @classmethod
    def _is_one_folder(cls, name: str, info: ValidationInfo) -> str:
        # whichever way it comes in: a run whose name is a path is found by no reader and no prune
        what = "experiment name" if info.field_name == "name" else "run name"
        return checked_name(name, what)
