"""Command lines of verbs that take an experiment: ``eagleray VERB EXP.yaml --train.num_workers 2``.

Flags of the verb and overrides of the experiment come in any order; tyro derives help text, types
and checks from the same pydantic models that read the YAML.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Generic, TypeVar, get_args, get_type_hints

import tyro
from pydantic import BaseModel
from tyro.constructors import (
    MISSING_NONPROP,
    ConstructorRegistry,
    StructConstructorSpec,
    StructFieldSpec,
    StructTypeInfo,
)

from eagleray.cli.flags import Flags as Flags
from eagleray.cli.help import ALL, experiment_help, section_help
from eagleray.cli.verbs import HELP
from eagleray.contract.prediction import NoFlags
from eagleray.experiment.load import make_experiment, read_values, task_of
from eagleray.experiment.overrides import make_overridden, value_at
from eagleray.experiment.schema import ExperimentSettings
from eagleray.task import Prediction, Settings, SettingsError

F = TypeVar("F")
E = TypeVar("E", bound=BaseModel)

_UNCHECKED = ConstructorRegistry()
"""Makes settings of flags as they are: what they give is checked once, with what the file says and
in the same words (``make_overridden``).
"""


@_UNCHECKED.struct_rule
def _make_unchecked(info: StructTypeInfo) -> StructConstructorSpec | None:
    if not _is_model(info.type):
        return None
    hints = get_type_hints(info.type, include_extras=True)
    fields = []
    for name, field in info.type.model_fields.items():
        default = getattr(info.default, name, MISSING_NONPROP)
        if default is MISSING_NONPROP and not field.is_required():
            default = field.get_default(call_default_factory=True)
        fields.append(StructFieldSpec(name, hints[name], default, field.description))

    def construct(**values: Any) -> Any:
        return info.type.model_construct(**values)

    construct.__doc__ = info.type.__doc__
    return StructConstructorSpec(instantiate=construct, fields=tuple(fields))


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


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
        usage = f"usage: eagleray {verb} EXPERIMENT.yaml [FLAGS] [--SETTING VALUE ...]"
        raise SettingsError(f"eagleray {verb} needs the path of an experiment (.yaml); {usage}")
    arguments, topic = _without_topic(arguments)
    values, rest = read_values(path), _in_words(_without(arguments, path))
    prog = f"eagleray {verb}"
    experiment = make_experiment(values, path)
    task_flags = _flags_of_task(verb, flags, experiment, rest)
    given = _given_paths(rest, experiment)
    # The task's phases follow its settings, so these are read first: the flags of phases, and the
    # help, are those of the experiment as it will run.
    drafted = {p for p in given if p == "settings" or p.startswith("settings.")}
    if drafted:
        draft = _parsed_settings(_with_sections(experiment, given), rest, prog)
        changes = {p: value_at(draft, p) for p in drafted}
        experiment = make_overridden(
            values, changes, f"{path} with the flags", drop_missing_phases=True
        )
    if topic is not None and topic != ALL:
        page = section_help(experiment, topic) if topic else ""
        own = experiment_help(verb, Path(path), flags, task_flags, experiment)
        sys.stdout.write(page or own)
        raise SystemExit(0)
    default = _without_mappings(_with_sections(experiment, given))
    command = _command_type(flags, type(experiment), task_flags)
    parsed: Any = tyro.cli(
        command,
        args=[path, *rest],
        default=command(Path(path), flags(), task_flags(), default),
        prog=prog,
        description=summary,
        registry=_UNCHECKED,
        config=_plain_sections(rest),
    )
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
        is_choice = _is_choice(argument)
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
        registry=_UNCHECKED,
        config=_plain_sections(wanted),
    )
    return experiment.model_copy(update={"settings": parsed.settings})


def _with_sections(experiment: E, given: Sequence[str]) -> E:
    """Return the experiment with the sections that flags lead into and that it leaves out, so that
    their settings are flags too; what they leave out is checked with all the rest.
    """
    for path in given:
        *sections, _ = path.split(".")
        experiment = _with_section(experiment, sections)
    return experiment


def _with_section(model: E, names: Sequence[str]) -> E:
    if not names or names[0] not in type(model).model_fields:
        return model
    value, annotation = getattr(model, names[0]), type(model).model_fields[names[0]].annotation
    if value is None:
        kinds = [a for a in get_args(annotation) if _is_model(a)]
        if len(kinds) != 1:
            return model
        value = kinds[0].model_construct()
    if not isinstance(value, BaseModel):
        return model
    return model.model_copy(update={names[0]: _with_section(value, names[1:])})


def _plain_sections(arguments: Sequence[str]) -> tuple[Any, ...]:
    """Return tyro's mark that makes flags of an optional section's settings; without it the section
    is a subcommand of its own, which is also how another kind of section is chosen.
    """
    has_choice = any(_is_choice(argument) for argument in arguments)
    return () if has_choice else (tyro.conf.AvoidSubcommands,)


def _is_choice(argument: str) -> bool:
    """Return whether an argument chooses the kind of a section (``settings.data:kitti``)."""
    name, colon, _ = argument.partition(":")
    root = name.partition(".")[0].replace("-", "_")
    return bool(colon) and "." in name and root in ExperimentSettings.model_fields


def _experiment_path(arguments: Sequence[str]) -> str | None:
    named = [a for a in arguments if a.endswith((".yaml", ".yml")) and not a.startswith("-")]
    return named[0] if named else None


def _without_topic(arguments: Sequence[str]) -> tuple[list[str], str | None]:
    """Return the arguments, and what help is asked for: a section, everything (then ``--help``
    stays for tyro), an empty text for the short page, None for no help.
    """
    rest = list(arguments)
    asked = [idx for idx, argument in enumerate(rest) if argument in HELP]
    if not asked:
        return rest, None
    following = rest[asked[0] + 1] if asked[0] + 1 < len(rest) else ""
    root = following.partition(".")[0]
    topic = following if root in (*ExperimentSettings.model_fields, ALL) else ""
    del rest[asked[0] : asked[0] + 1 + bool(topic)]
    return ([*rest, "--help"] if topic == ALL else rest), topic


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
