"""The verbs of the command line, in the order in which they are listed."""

from __future__ import annotations

from dataclasses import dataclass

HELP = ("-h", "--help")
"""What asks for help."""


@dataclass(frozen=True, slots=True)
class Verb:
    """One verb of the command line; ``module:function`` is imported when it is used.

    Args:
        name: What is typed.
        summary: What it does, in a line.
        target: Module below ``eagleray.cli`` and function.
        flags: Class in ``eagleray.cli.flags``.
        takes_experiment: Whether settings of an experiment may follow.
        waits_for: What takes seconds to import before its first own word, else nothing.
    """

    name: str
    summary: str
    target: str
    flags: str
    takes_experiment: bool = False
    waits_for: str = ""


def _of_experiment(name: str, summary: str, flags: str, target: str = "") -> Verb:
    return Verb(name, summary, target or f"work:{name}", flags, True, "PyTorch, Ray and the task")


_TASKS = "PyTorch and the tasks"
GROUPS = {
    "begin": (
        Verb("tasks", "List installed tasks, benchmarks, published numbers.", "catalog:tasks",
             "TasksFlags", waits_for=_TASKS),
        Verb("doctor", "Say what is there, what is missing and what to do.", "doctor:doctor",
             "DoctorFlags", waits_for=_TASKS),
        Verb("new", "Make a package for a task of your own.", "creating:new", "NewFlags"),
        _of_experiment("check", "Try a task's hooks on a few items.", "TaskFlags",
                       "checking:check_task"),
        Verb("download", "Fetch named weights and data files.", "catalog:download",
             "DownloadFlags", waits_for=_TASKS),
        Verb("import", "Convert published weights, configurations.", "files:import_published",
             "ImportFlags", waits_for=_TASKS),
        Verb("schema", "Write the JSON schema of experiments, for editors.", "catalog:schema",
             "SchemaFlags", waits_for=_TASKS),
        Verb("completion", "Write what a shell needs to complete commands.",
             "completion:completion", "CompletionFlags"),
    ),
    "work on an experiment": (
        _of_experiment("plan", "Say what would run, without running it.", "Flags"),
        _of_experiment("prepare", "Run all preprocessing stages.", "PrepareFlags"),
        _of_experiment("train", "Train, or go on training.", "CodeFlags"),
        _of_experiment("evaluate", "Evaluate checkpoints; paper / ours / difference.",
                       "EvaluateFlags"),
        _of_experiment("run", "Prepare, train and evaluate.", "CodeFlags"),
        _of_experiment("sweep", "Run ablations, a grid or a search.", "SweepFlags"),
        Verb("suite", "Run several experiments into one page.", "suite:suite", "SuiteFlags",
             waits_for="PyTorch, Ray and the tasks"),
        _of_experiment("predict", "Run the trained task on your own files.", "PredictFlags"),
        _of_experiment("export", "Write a checkpoint's weights as one file.", "ExportFlags"),
        _of_experiment("submit", "Run a verb as a job on a Ray cluster.", "SubmitFlags",
                       "submit:submit"),
    ),
    "look at results": (
        Verb("list", "List runs and sweeps, the newest first.", "listing:list_all", "ListFlags"),
        Verb("tail", "Follow a run that works.", "listing:tail", "TailFlags"),
        Verb("show", "Show results of runs.", "showing:show", "ShowFlags"),
        Verb("report", "Write results as one HTML file.", "showing:report", "ReportFlags"),
        Verb("dashboard", "Show all runs in the browser.", "showing:dashboard", "DashboardFlags",
             waits_for="the dashboard"),
        Verb("view", "Look at a run from any side in the browser.", "showing:view", "ViewFlags",
             waits_for="PyTorch and the viewer"),
        Verb("query", "Ask what a run saw in words.", "asking:query", "QueryFlags",
             waits_for="PyTorch and the task"),
    ),
    "look after a storage": (
        Verb("mark", "Give runs tags and notes, or put them aside.", "marking:mark", "MarkFlags"),
        Verb("trash", "Delete runs, or bring them back.", "marking:trash", "TrashFlags"),
        Verb("verify", "Compare all files with their checksums.", "files:verify", "VerifyFlags",
             waits_for="Ray"),
        Verb("prune", "Delete prepared data that no run refers to.", "files:prune", "PruneFlags",
             waits_for="Ray"),
    ),
}  # fmt: skip
VERBS = {verb.name: verb for verbs in GROUPS.values() for verb in verbs}
