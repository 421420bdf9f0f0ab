"""Entry point of the command ``eagleray``: picks the verb and turns errors into exit statuses.

Exit status: 0 done; 2 the command or an experiment is wrong; 3 finished, but items were rejected;
4 finished, but a metric fell (``evaluate --against``); 1 anything else; 130 interrupted.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from eagleray import __version__
from eagleray.experiment.discovery import nearest
from eagleray.task import EaglerayError, SettingsError

FAILED_STATUS = 1
"""Exit status of a job that ended without a result (a sweep: without that of every trial)."""
REJECTS_STATUS = 3
"""Exit status of a job that finished, but rejected more items than allowed."""
FALLEN_STATUS = 4
"""Exit status of an evaluation that finished, but found a metric worse than in another run."""


@dataclass(frozen=True, slots=True)
class Verb:
    """One verb of the command line; ``module:function`` is imported when it is used."""

    name: str
    summary: str
    target: str


VERBS = {
    v.name: v
    for v in (
        Verb("tasks", "List installed tasks, benchmarks, published numbers.", "catalog:tasks"),
        Verb("doctor", "Say what is there, what is missing and what to do.", "doctor:doctor"),
        Verb("new", "Make a package for a task of your own.", "creating:new"),
        Verb("check", "Try a task's hooks on a few items.", "checking:check_task"),
        Verb("plan", "Say what would run, without running it.", "work:plan"),
        Verb("prepare", "Run all preprocessing stages.", "work:prepare"),
        Verb("train", "Train, or go on training.", "work:train"),
        Verb("evaluate", "Evaluate checkpoints; paper / ours / difference.", "work:evaluate"),
        Verb("sweep", "Run ablations, a grid or a search.", "work:sweep"),
        Verb("run", "Prepare, train and evaluate.", "work:run"),
        Verb("predict", "Run the trained task on your own files.", "work:predict"),
        Verb("export", "Write a checkpoint's weights as one file.", "work:export"),
        Verb("show", "Show results of runs.", "showing:show"),
        Verb("report", "Write results as one HTML file.", "showing:report"),
        Verb("dashboard", "Show all runs in the browser.", "showing:dashboard"),
        Verb("view", "Look at a run from any side in the browser.", "showing:view"),
        Verb("query", "Ask what a run saw in words.", "asking:query"),
        Verb("mark", "Give runs tags and notes, or put them aside.", "marking:mark"),
        Verb("trash", "Delete runs, or bring them back.", "marking:trash"),
        Verb("submit", "Run a verb as a job on a Ray cluster.", "submit:submit"),
        Verb("download", "Fetch named weights and data files.", "catalog:download"),
        Verb("schema", "Write the JSON schema of experiments, for editors.", "catalog:schema"),
        Verb("import", "Convert published weights, configurations.", "files:import_published"),
        Verb("verify", "Compare all files with their checksums.", "files:verify"),
        Verb("prune", "Delete prepared data that no run refers to.", "files:prune"),
    )
}


_STORAGE_PACKAGES = ("botocore", "aiobotocore", "s3fs", "gcsfs", "google", "azure", "adlfs")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit."""
    raise SystemExit(run(list(sys.argv[1:] if arguments is None else arguments)))


def run(arguments: list[str]) -> int:
    """Run the command line and return the exit status."""
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        sys.stdout.write(overview())
        return 0
    if arguments[0] in ("-V", "--version"):
        sys.stdout.write(f"eagleray {__version__}\n")
        return 0
    try:
        verb = _verb(arguments[0])
        return verb(arguments[1:])
    except EaglerayError as error:
        sys.stderr.write(f"eagleray: {error}\n")
        return 2 if isinstance(error, SettingsError) else 1
    except (KeyboardInterrupt, InterruptedError) as error:
        reason = f" ({error})" if str(error) else "; the same command goes on from here"
        sys.stderr.write(f"eagleray: interrupted{reason}\n")
        return 130
    except Exception as error:
        if not _is_of_storage(error):
            raise
        sys.stderr.write(
            f"eagleray: storage does not do what was asked: {type(error).__name__}: {error}; check "
            "that it is there, may be written to, and that credentials are set\n"
        )
        return 1


def _is_of_storage(error: Exception) -> bool:
    """Return whether a disk or an object store refused, which is no mistake in the code."""
    package = type(error).__module__.partition(".")[0]
    return isinstance(error, OSError) or package in _STORAGE_PACKAGES


def overview() -> str:
    """Return the list of verbs."""
    lines = [f"  {v.name:10} {v.summary}" for v in VERBS.values()]
    return (
        "usage: eagleray VERB [EXPERIMENT.yaml] [FLAGS] [--SETTING VALUE ...]\n\n"
        + "\n".join(lines)
        + "\n\neagleray VERB --help tells more; with an experiment it lists every setting.\n"
    )


def _verb(name: str) -> Callable[[list[str]], int]:
    if name not in VERBS:
        raise SettingsError(f"there is no verb {name!r}; {nearest(name, list(VERBS))}")
    module_name, _, function = VERBS[name].target.partition(":")
    from importlib import import_module

    verb: Callable[[list[str]], int] = getattr(
        import_module(f"eagleray.cli.{module_name}"), function
    )
    return verb


def say(text: str) -> None:
    """Write a line for the user at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
