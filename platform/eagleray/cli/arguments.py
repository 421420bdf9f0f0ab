"""Command lines of verbs that take an experiment: ``eagleray VERB EXP.yaml --train.num_workers 2``.

Flags of the verb and overrides of the experiment come in any order; tyro derives help text, types
and checks from the same pydantic models that read the YAML.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import tyro
from pydantic import ValidationError

from eagleray.experiment.load import explain, load_experiment
from eagleray.experiment.schema import ExperimentSettings
from eagleray.experiment.sweep import SweepSettings
from eagleray.task import SettingsError

F = TypeVar("F")


@dataclasses.dataclass(frozen=True)
class Flags:
    """Flags of every verb that works on an experiment."""

    limit: int | None = None
    """Work on the first few items only."""
    inline: bool = False
    """Work in this very process, without Ray (for a debugger)."""
    new: bool = False
    """Begin a new run instead of continuing the latest one of these settings."""


def parse(
    verb: str, summary: str, flags: type[F], arguments: Sequence[str]
) -> tuple[Path, F, ExperimentSettings]:
    """Read a verb's command line.

    Args:
        verb: Name of the verb, for the help text.
        summary: What the verb does, for the help text.
        flags: Dataclass of the verb's flags.
        arguments: What stands behind the verb.

    Returns:
        The experiment's file, the flags, and the experiment with its overrides.

    Raises:
        SettingsError: No experiment file is named, or it says something that is not allowed.
        SystemExit: The flags or overrides are wrong (status 2), or help was asked for (0).
    """
    path = _experiment_path(arguments)
    if path is None:
        asks_help = any(a in ("-h", "--help") for a in arguments)
        usage = f"usage: eagleray {verb} EXPERIMENT.yaml [FLAGS] [--SETTING VALUE ...]"
        if asks_help:
            raise SystemExit(_print_short_help(usage, summary, flags))
        raise SettingsError(f"eagleray {verb} needs the path of an experiment (.yaml); {usage}")
    experiment = load_experiment(path)
    command = _command_type(flags, type(experiment))
    shown = _without_mappings(experiment)
    default = command(experiment_file=Path(path), flags=flags(), experiment=shown)
    try:
        parsed: Any = tyro.cli(
            command,
            args=[path, *_without(arguments, path)],
            default=default,
            prog=f"eagleray {verb}",
            description=summary,
        )
        overridden = _with_mappings(parsed.experiment, experiment)
    except ValidationError as error:
        raise SettingsError(explain(error, type(experiment), "command line")) from error
    return parsed.experiment_file, parsed.flags, overridden


def _experiment_path(arguments: Sequence[str]) -> str | None:
    named = [a for a in arguments if a.endswith((".yaml", ".yml")) and not a.startswith("-")]
    return named[0] if named else None


def _without(arguments: Sequence[str], path: str) -> list[str]:
    """Return the rest, so that a flag that takes several values does not take the experiment."""
    rest = list(arguments)
    rest.remove(path)
    return rest


def _without_mappings(experiment: ExperimentSettings) -> ExperimentSettings:
    """Return the experiment without its sweep's variants and spaces: free mappings are said in the
    file only, since every entry would become a flag or a subcommand.
    """
    sweep = experiment.sweep
    emptied = sweep.model_copy(
        update={
            "ablations": {},
            "grid": {},
            "published": {},
            "search": sweep.search.model_copy(update={"space": {}}),
        }
    )
    return experiment.model_copy(update={"sweep": emptied})


def _with_mappings(
    overridden: ExperimentSettings, original: ExperimentSettings
) -> ExperimentSettings:
    """Put back what ``_without_mappings`` left out; raises ValidationError."""
    values, sweep = overridden.sweep.model_dump(), original.sweep.model_dump()
    values |= {name: sweep[name] for name in ("ablations", "grid", "published")}
    values["search"]["space"] = sweep["search"]["space"]
    return overridden.model_copy(update={"sweep": SweepSettings.model_validate(values)})


def _command_type(flags: type[Any], experiment: type[ExperimentSettings]) -> type[Any]:
    return dataclasses.make_dataclass(
        "Command",
        [
            ("experiment_file", tyro.conf.Positional[Path]),
            ("flags", Annotated[flags, tyro.conf.arg(name="")]),
            ("experiment", Annotated[experiment, tyro.conf.arg(name="")]),
        ],
    )


def _print_short_help(usage: str, summary: str, flags: type[Any]) -> int:
    tyro.cli(
        flags,
        args=["--help"],
        prog=usage.removeprefix("usage: "),
        description=f"{summary} Name an experiment to see all of its settings here.",
    )
    return 0
