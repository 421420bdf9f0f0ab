"""Command lines of verbs that take an experiment: ``eagleray VERB EXP.yaml --train.num_workers 2``.

Flags of the verb and overrides of the experiment come in any order; tyro derives help text, types
and checks from the same pydantic models that read the YAML.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Generic, TypeVar

import tyro
from pydantic import ValidationError

from eagleray.contract.prediction import NoFlags
from eagleray.experiment.load import explain, make_experiment, read_values, task_of
from eagleray.experiment.overrides import make_overridden, value_at
from eagleray.experiment.schema import ExperimentSettings
from eagleray.task import Prediction, Settings, SettingsError

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


@dataclasses.dataclass(frozen=True)
class CommandLine(Generic[F]):
    """A verb's command line, read and checked.

    Args:
        path: The experiment's file.
        flags: The verb's flags.
        experiment: The experiment with its overrides.
        task_flags: Flags of the task's own, for ``predict``.
    """

    path: Path
    flags: F
    experiment: ExperimentSettings
    task_flags: Settings


def parse(
    verb: str, summary: str, flags: type[F], arguments: Sequence[str]
) -> tuple[Path, F, ExperimentSettings]:
    """Return the experiment's file, the flags and the experiment of ``parse_command_line``."""
    line = parse_command_line(verb, summary, flags, arguments)
    return line.path, line.flags, line.experiment


def parse_command_line(
    verb: str, summary: str, flags: type[F], arguments: Sequence[str]
) -> CommandLine[F]:
    """Read a verb's command line.

    Args:
        verb: Name of the verb, for the help text.
        summary: What the verb does, for the help text.
        flags: Dataclass of the verb's flags.
        arguments: What stands behind the verb.

    Raises:
        SettingsError: No experiment file is named, it says something that is not allowed, or a flag
            is one of the task's for ``predict`` alone.
        SystemExit: The flags or overrides are wrong (status 2), or help was asked for (0).
    """
    path = _experiment_path(arguments)
    if path is None:
        asks_help = any(a in ("-h", "--help") for a in arguments)
        usage = f"usage: eagleray {verb} EXPERIMENT.yaml [FLAGS] [--SETTING VALUE ...]"
        if asks_help:
            raise SystemExit(_print_short_help(usage, summary, flags))
        raise SettingsError(f"eagleray {verb} needs the path of an experiment (.yaml); {usage}")
    values, rest = read_values(path), _in_words(_without(arguments, path))
    prog = f"eagleray {verb}"
    experiment = make_experiment(values, path)
    task_flags = _flags_of_task(verb, flags, experiment, rest)
    given = _given_paths(rest, experiment)
    # The task's phases follow its settings, so these are read first: the flags of phases, and the
    # help, are those of the experiment as it will run.
    drafted = {p for p in given if p == "settings" or p.startswith("settings.")}
    if drafted:
        draft = _parsed_settings(experiment, rest, prog)
        changes = {p: value_at(draft, p) for p in drafted}
        experiment = make_overridden(values, changes, "command line", drop_missing_phases=True)
    default = _lengths_cleared(_without_mappings(experiment), given)
    command = _command_type(flags, type(experiment), task_flags)
    try:
        parsed: Any = tyro.cli(
            command,
            args=[path, *rest],
            default=command(Path(path), flags(), task_flags(), default),
            prog=prog,
            description=summary,
        )
    except ValidationError as error:
        raise SettingsError(explain(error, type(experiment), "command line")) from error
    changes = {p: value_at(parsed.experiment, p) for p in given}
    overridden = make_overridden(values, changes, f"{path} with the flags") if given else experiment
    return CommandLine(parsed.experiment_file, parsed.flags, overridden, parsed.task_flags)


def _flags_of_task(
    verb: str, flags: type[Any], experiment: ExperimentSettings, arguments: Sequence[str]
) -> type[Settings]:
    """Return the flags that the task adds to a verb: to ``predict`` alone, others refuse them."""
    task = task_of(experiment)
    offered = task.flags_type if issubclass(task, Prediction) else NoFlags
    own = {field.name for field in dataclasses.fields(flags)}
    taken = set(offered.model_fields) & (own | set(ExperimentSettings.model_fields))
    if verb == "predict":
        if taken:
            raise SettingsError(
                f"task {experiment.task!r} has flags for `predict` that are the engine's: "
                f"{', '.join(sorted(taken))}; give those of flags_type other names"
            )
        return offered
    for argument in arguments:
        name = argument.split("=", 1)[0]
        field = name.removeprefix("--").replace("-", "_")
        if name.startswith("--") and field in offered.model_fields and field not in taken:
            raise SettingsError(
                f"{name} is a flag of task {experiment.task!r} for `predict`; `{verb}` does not "
                "take it"
            )
    return NoFlags


def _given_paths(arguments: Sequence[str], experiment: ExperimentSettings) -> list[str]:
    """Return the full paths of the settings that flags name, in their order.

    What lies inside of a list (other than the phases) is given by the whole list.
    """
    paths: dict[str, None] = {}
    for argument in arguments:
        is_choice = not argument.startswith("-") and ":" in argument  # tyro: settings.data:kitti
        if not (argument.startswith("--") or is_choice):
            continue
        text = argument.removeprefix("--").split("=", 1)[0]
        parts = (text.split(":", 1)[0] if is_choice else text).replace("-", "_").split(".")
        if parts[0] not in ExperimentSettings.model_fields:
            continue
        is_phase = parts[:2] == ["train", "phases"]
        if parts[-1].startswith("no_") and not _is_setting(parts, experiment):  # tyro: --no-compile
            parts[-1] = parts[-1].removeprefix("no_")
        listed = [i for i, p in enumerate(parts) if p.isdigit() and not (is_phase and i == 2)]
        paths[".".join(parts[: listed[0]] if listed else parts)] = None
    return list(paths)


def _is_setting(parts: Sequence[str], experiment: ExperimentSettings) -> bool:
    try:
        value_at(experiment, ".".join(parts))
    except (AttributeError, LookupError, TypeError):
        return False
    return True


def _parsed_settings(
    experiment: ExperimentSettings, arguments: Sequence[str], prog: str
) -> ExperimentSettings:
    """Return the experiment with the flags of its task's settings alone."""
    wanted = [a for a in arguments if a not in ("-h", "--help")]
    section = dataclasses.make_dataclass("Section", [("settings", type(experiment.settings))])
    parsed, _ = tyro.cli(
        section,
        args=wanted,
        default=section(settings=experiment.settings),
        prog=prog,
        return_unknown_args=True,
    )
    return experiment.model_copy(update={"settings": parsed.settings})


def _lengths_cleared(experiment: ExperimentSettings, given: Sequence[str]) -> ExperimentSettings:
    """Leave out a phase's length in steps where flags give it in epochs, and the other way round:
    tyro checks each phase by itself.
    """
    phases = list(experiment.train.phases)
    for path in given:
        parts = path.split(".")
        if parts[:2] == ["train", "phases"] and len(parts) == 4 and parts[3] in ("steps", "epochs"):
            position = int(parts[2])
            if position < len(phases):
                phases[position] = phases[position].model_copy(
                    update={"steps": None, "epochs": None}
                )
    train = experiment.train.model_copy(update={"phases": tuple(phases)})
    return experiment.model_copy(update={"train": train})


def _experiment_path(arguments: Sequence[str]) -> str | None:
    named = [a for a in arguments if a.endswith((".yaml", ".yml")) and not a.startswith("-")]
    return named[0] if named else None


def _without(arguments: Sequence[str], path: str) -> list[str]:
    """Return the rest, so that a flag that takes several values does not take the experiment."""
    rest = list(arguments)
    rest.remove(path)
    return rest


def _in_words(arguments: Sequence[str]) -> list[str]:
    """Return arguments with the flags of a setting in the words that have taken their place: it was
    a plain yes or no.
    """
    words = {
        "--prepare.materialise": ["--prepare.materialise", "stored"],
        "--prepare.no-materialise": ["--prepare.materialise", "computed"],
    }
    found: list[str] = []
    for idx, argument in enumerate(arguments):
        following = arguments[idx + 1] if idx + 1 < len(arguments) else "--"
        is_plain = argument.endswith("no-materialise") or following.startswith("--")
        found += words[argument] if argument in words and is_plain else [argument]
    return found


def _without_mappings(experiment: ExperimentSettings) -> ExperimentSettings:
    """Return the experiment without its sweep's variants and spaces, and with one word for all
    stages: free mappings are said in the file only, since every entry would become a flag or a
    subcommand.
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
    plain = experiment.prepare
    if isinstance(plain.materialise, dict):
        plain = plain.model_copy(update={"materialise": "stored"})
    return experiment.model_copy(update={"sweep": emptied, "prepare": plain})


def _command_type(
    flags: type[Any], experiment: type[ExperimentSettings], task_flags: type[Settings]
) -> type[Any]:
    return dataclasses.make_dataclass(
        "Command",
        [
            ("experiment_file", tyro.conf.Positional[Path]),
            ("flags", Annotated[flags, tyro.conf.arg(name="")]),
            ("task_flags", Annotated[task_flags, tyro.conf.arg(name="")]),
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
