"""The flags of every verb. Nothing heavy is imported here, so that help and completion are there at
once.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from eagleray.contract.errors import SettingsError

if TYPE_CHECKING:
    from eagleray.options import OtherCode


@dataclass(frozen=True)
class Flags:
    """Flags of every verb that works on an experiment."""

    limit: int | None = None
    """Work on the first few items only."""
    inline: bool = False
    """Work in this very process, without Ray (for a debugger)."""
    new: bool = False
    """Begin a new run instead of continuing the latest one of these settings."""
    verbose: bool = False
    """Let through what Ray and its workers write."""


@dataclass(frozen=True)
class CodeFlags(Flags):
    """Flags of ``train`` and ``run``; training itself goes on from its checkpoints (``--new``
    trains anew).
    """

    again: bool = False
    """Compute anew what other code has made."""
    keep: bool = False
    """Keep what other code has made: the change touches no result."""

    @property
    def other_code(self) -> OtherCode:
        """What becomes of what other code has made."""
        if self.again and self.keep:
            raise SettingsError("--again and --keep say opposite things of what other code made")
        return "again" if self.again else "keep" if self.keep else "tell"


@dataclass(frozen=True)
class PrepareFlags(CodeFlags):
    """Flags of ``prepare``."""

    retry_rejects: bool = False
    """Go once more over the items that were rejected."""


@dataclass(frozen=True)
class EvaluateFlags(PrepareFlags):
    """Flags of ``evaluate``."""

    checkpoint: tuple[str, ...] = ()
    """One or several of best, last, initial (before training), or paths of a model.safetensors."""
    benchmark: tuple[str, ...] = ()
    """Benchmarks by name, or ``all``."""
    against: str | None = None
    """A run (EXPERIMENT/RUN, RUN, or its folder or URI) whose results must not be better: exit
    status 4 and a table where a metric fell."""
    tolerance: tuple[str, ...] = ()
    """How far metrics may fall, in their own units: 0.5 for all, PQ=0.5 for one."""


@dataclass(frozen=True)
class PredictFlags(PrepareFlags):
    """Flags of ``predict``."""

    files: tyro.conf.Positional[tuple[Path, ...]] = ()
    """Files and folders; folders are searched recursively."""
    output: str = "predictions"
    """Folder of the exports."""
    format: tuple[str, ...] = ()
    """Export formats; by default the task's first one."""
    checkpoint: str | None = None
    """best, last, initial (before training), or the path of a model.safetensors."""


@dataclass(frozen=True)
class ExportFlags(Flags):
    """Flags of ``export``."""

    output: Path = Path("model.safetensors")
    """The file that is written; one that is there is replaced."""
    checkpoint: str | None = None
    """best, last, initial (before training), or the path of a model.safetensors."""


@dataclass(frozen=True)
class SweepFlags(Flags):
    """Flags of ``sweep``."""

    dry_run: bool = False
    """Check everything and list the trials, without running any."""


@dataclass(frozen=True)
class CheckFlags:
    """Flags of the check."""

    items: int = 4
    """Items per stage, units per benchmark, files that are predicted."""
    inputs: tuple[Path, ...] = ()
    """Own files for predict; by default the pictures called input of the benchmarks."""
    published: Path | None = None
    """Weights as the original publishes them, for the import."""


@dataclass(frozen=True)
class TaskFlags(CheckFlags):
    """Flags of the check of a task with its default settings."""

    task: Annotated[str, tyro.conf.Positional] = ""
    """An installed task, or an experiment (.yaml) with its own settings."""


@dataclass(frozen=True)
class DoctorFlags:
    """Say what is there, what is missing and what to do; status 1 if something is missing."""

    experiment: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """Experiments whose data and weights are looked for too."""
    build: bool = False
    """Build ahead what is otherwise built at its first use: compiled operators."""
    storage: str = "storage"
    """Folder or URI whose room is looked at; an experiment names its own."""


@dataclass(frozen=True)
class NewFlags:
    """Make a package for a task of your own: it installs, trains on toy data and is tested."""

    name: Annotated[str, tyro.conf.Positional]
    """Name of the task and its package: lower-case letters, digits and underscores."""
    like: str = "segmentation"
    """What it begins as: an installed template."""
    to: Path = Path()
    """Folder in which the package's folder is made."""


@dataclass(frozen=True)
class TasksFlags:
    """List installed tasks with their benchmarks and published numbers."""


@dataclass(frozen=True)
class SchemaFlags:
    """Write the JSON schema of experiments, for editors."""

    of: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """A task's name, or an experiment (.yaml) whose task is meant; by default all tasks."""
    output: Path | None = None
    """The file that is written; by default the schema is printed."""


@dataclass(frozen=True)
class DownloadFlags:
    """Fetch named weights and data files: resumed, verified, unpacked."""

    names: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """What to fetch; see --list."""
    to: Path = Path("downloads")
    """Folder in which the files are kept."""
    from_file: Annotated[Path | None, tyro.conf.arg(name="from")] = None
    """A file that you fetched yourself: it is verified and put into its place."""
    list: bool = False
    """Show what there is, with license, size and checksum."""


@dataclass(frozen=True)
class ShowFlags:
    """Show results of runs: all of them, or some in full; or the table of a sweep."""

    runs: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """Runs as EXPERIMENT/RUN, RUN, or EXPERIMENT (all of its runs)."""
    storage: str = "storage"
    """Folder or URI that holds the runs."""
    sweep: str = ""
    """Show the table of a sweep: EXPERIMENT/SWEEP, SWEEP, or EXPERIMENT."""
    metric: str = ""
    """Another metric than the sweep's own."""
    format: Literal["text", "markdown", "latex", "csv"] = "text"
    """Format of the table; CSV has every digit."""


@dataclass(frozen=True)
class ReportFlags:
    """Write results of runs as one HTML file that needs no network."""

    runs: Annotated[tuple[str, ...], tyro.conf.Positional]
    """Runs as EXPERIMENT/RUN, RUN, or EXPERIMENT (all of its runs); sweeps as EXPERIMENT/SWEEP,
    SWEEP, or their folder."""
    storage: str = "storage"
    """Folder or URI that holds the runs."""
    output: Path = Path("report.html")
    """The file that is written."""
    pictures: int = 12
    """Units shown with pictures per evaluation, the worst first."""


@dataclass(frozen=True)
class DashboardFlags:
    """Show all runs of a store in the browser; what runs have written is not changed."""

    storage: str = "storage"
    """Folder or URI that holds the runs."""
    host: str = "127.0.0.1"
    """Address to listen on; any other than this machine's own needs a token."""
    port: int = 8050
    """Port; 0 takes a free one."""
    token: str = ""
    """Token that visitors need; by default one is made where it is needed, and printed."""


@dataclass(frozen=True)
class ViewFlags:
    """Look at a run from any side in the browser; one port, to be forwarded from a cluster."""

    run: Annotated[str, tyro.conf.Positional]
    """Run as EXPERIMENT/RUN, RUN, or EXPERIMENT."""
    storage: str = "storage"
    """Folder or URI that holds the runs."""
    checkpoint: str = "last"
    """Which checkpoint: best, last, initial, or a path to a model.safetensors."""
    host: str = "127.0.0.1"
    """Address to listen on; any other than this machine's own needs a token."""
    port: int = 8080
    """Port; 0 takes a free one."""
    max_side_px: int = 800
    """Longest side of a rendered image."""
    token: str = ""
    """The token that visitors need; by default a new one wherever others can reach the port."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where it is rendered."""


@dataclass(frozen=True)
class SubmitFlags:
    """Run an experiment as a job on a Ray cluster; other flags and settings go to the verb."""

    address: str | None = None
    """The cluster's job server, http://HEAD:8265; by default RAY_API_SERVER_ADDRESS."""
    verb: Literal["run", "prepare", "train", "evaluate", "sweep"] = "run"
    """What the job does."""
    env: tuple[str, ...] = ()
    """Environment variables of the job, NAME=VALUE: ${NAME} in the experiment stands for them."""
    working_dir: Path | None = None
    """Folder that is copied to the cluster and that the job starts in; by default one that holds
    the experiment alone."""
    cluster: Path | None = None
    """The file that the cluster is made from (`ray up` YAML, RayCluster or RayJob): it says which
    nodes may come, which a cluster that begins with none does not tell."""
    grace_s: int = 600
    """How long the job may take to write its checkpoint when it is stopped."""
    ship_code: bool = False
    """Send this installation's source code along instead of using the code on the nodes."""
    wait: bool = True
    """Follow the job's output until it ends, and exit as it did."""


@dataclass(frozen=True)
class ImportFlags:
    """Convert what an original publishes to ours: weights, a configuration, an archive of both;
    every key of the file is accounted for.
    """

    task: Annotated[str, tyro.conf.Positional]
    """A task's name; or an experiment (.yaml) whose settings describe the network, for weights
    alone."""
    file: Annotated[Path, tyro.conf.Positional]
    """The file in its original format, or the folder of an archive that was unpacked."""
    output: Path = Path("model.safetensors")
    """Where our weights are written."""
    experiment: Path | None = None
    """Where the experiment is written that a configuration gives; by default beside the weights,
    under the file's name. A file that is there is never replaced."""


@dataclass(frozen=True)
class PruneFlags:
    """Delete prepared data that no run refers to."""

    storage: str = "storage"
    """Folder or URI that holds prepared data and runs."""
    delete: bool = False
    """Really delete; without it the list is shown only."""


@dataclass(frozen=True)
class VerifyFlags:
    """Compare all files of prepared stages, evaluations and checkpoints with their checksums; exit
    status 1 where something is damaged.
    """

    storage: Annotated[str, tyro.conf.Positional] = "storage"
    """Folder or URI that holds prepared data and runs."""
    repair: bool = False
    """Forget what is damaged, so that the next call computes just that."""


@dataclass(frozen=True)
class ListFlags:
    """List the runs and sweeps of a storage, the newest first."""

    storage: str = "storage"
    """Folder or URI that holds the runs."""
    limit: int = 20
    """Runs that are listed; 0 for all."""


@dataclass(frozen=True)
class TailFlags:
    """Follow a run: its newest metrics and what it writes, until it ends."""

    run: Annotated[str, tyro.conf.Positional]
    """Run as EXPERIMENT/RUN, RUN, or EXPERIMENT."""
    storage: str = "storage"
    """Folder or URI that holds the runs."""
    lines: int = 10
    """Lines shown of what is there already."""
    follow: bool = True
    """Wait for more until the run ends."""


@dataclass(frozen=True)
class CompletionFlags:
    """Write a script that completes verbs, flags and files in a shell.

    bash: eagleray completion bash > ~/.local/share/bash-completion/completions/eagleray
    """

    shell: Annotated[Literal["bash", "zsh", "tcsh"], tyro.conf.Positional] = "bash"
    """The shell."""


@dataclass(frozen=True)
class QueryFlags:
    """Ask what a run saw in words. The first question of a split makes an index with the
    evaluation's workers; after it a new text needs no network.
    """

    run: Annotated[str, tyro.conf.Positional]
    """Run as EXPERIMENT/RUN, RUN, or EXPERIMENT."""
    texts: Annotated[tuple[str, ...], tyro.conf.Positional]
    """What is looked for: one text or several."""
    storage: str = "storage"
    """Folder or URI that holds the runs."""
    split: str = ""
    """Which split is asked; by default the task's first."""
    frame: str = ""
    """Ask this key frame only."""
    top: int = 10
    """How many hits are shown for each text."""
    output: str = "query"
    """Folder or URI that receives table, pictures and other files; those there are replaced."""
    checkpoint: str = ""
    """best, last, initial, or a path to a model.safetensors; by default that which is evaluated."""
    limit: int | None = None
    """Index the first few units only."""
    inline: bool = False
    """Work in this very process, without Ray."""


@dataclass(frozen=True)
class MarkFlags:
    """Give runs tags and notes, or put them aside; without a flag their marks are shown."""

    runs: Annotated[tuple[str, ...], tyro.conf.Positional]
    """Runs as EXPERIMENT/RUN, RUN, or EXPERIMENT if it has one run only."""
    storage: str = "storage"
    """Folder or URI that holds the runs."""
    tag: tuple[str, ...] = ()
    """Tags that they get."""
    untag: tuple[str, ...] = ()
    """Tags that they lose."""
    note: str | None = None
    """Their note, in place of the old one."""
    archive: bool = False
    """Put them aside: lists leave them out."""
    unarchive: bool = False
    """Take them back."""


@dataclass(frozen=True)
class TrashFlags:
    """Move runs to the trash, or back; without runs, show what lies in it."""

    runs: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """Runs as EXPERIMENT/RUN, RUN, or EXPERIMENT if it has one run only."""
    storage: str = "storage"
    """Folder or URI that holds the runs."""
    restore: bool = False
    """Move them back; they are named as the trash shows them."""
    empty: bool = False
    """Delete what lies in the trash for good."""


@dataclass(frozen=True)
class SuiteFlags:
    """Run several experiments of several tasks, one after the other, into one page. What is done
    is not done again; an entry that fails is named and the next one begins.
    """

    suite: Annotated[Path, tyro.conf.Positional]
    """The suite's file (.yaml)."""
    output: Path | None = None
    """The page that is written; by default the suite's name with .html."""
    storage: str = ""
    """Folder or URI for all experiments; by default the suite's, else each one's own."""
    limit: int | None = None
    """Work on the first few items only."""
    inline: bool = False
    """Work in this very process, without Ray."""
    again: bool = False
    """Run also what is done."""
    dry_run: bool = False
    """Read everything and list the entries, without running any."""
    verbose: bool = False
    """Let through what Ray and its workers write."""
