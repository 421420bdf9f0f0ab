"""The verb ``completion``: a script by tyro that completes verbs, flags and settings in a shell."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import sys
from pathlib import Path
from typing import Annotated, Any, Union

import tyro

from eagleray.cli import flags as flags_of_verbs
from eagleray.cli.flags import CompletionFlags
from eagleray.cli.verbs import VERBS
from eagleray.experiment.schema import EvaluateSettings, PrepareSettings, TrainSettings


def completion(arguments: list[str]) -> int:
    """Write what a shell needs to complete commands."""
    flags = tyro.cli(CompletionFlags, args=arguments, prog="eagleray completion")
    sys.stdout.write(script(flags.shell))
    return 0


def script(shell: str) -> str:
    """Return the completion script for ``bash``, ``zsh`` or ``tcsh``.

    Settings of tasks are not in it: which there are depends on the experiment.
    """
    commands: Any = Union[tuple(_command(name) for name in VERBS)]  # noqa: UP007 (made from data)
    written = io.StringIO()
    with contextlib.redirect_stdout(written), contextlib.suppress(SystemExit):
        tyro.cli(commands, args=["--tyro-print-completion", shell], prog="eagleray")
    return written.getvalue()


def _command(name: str) -> Any:
    verb = VERBS[name]
    flags: Any = getattr(flags_of_verbs, verb.flags)
    if verb.takes_experiment and name != "check":
        flags = dataclasses.make_dataclass(
            f"{flags.__name__}With{name.title()}",
            [
                ("experiment_file", tyro.conf.Positional[Path]),
                ("flags", Annotated[flags, tyro.conf.arg(name="")]),
                ("prepare", PrepareSettings, dataclasses.field(default=PrepareSettings())),
                ("train", TrainSettings, dataclasses.field(default=TrainSettings())),
                ("evaluate", EvaluateSettings, dataclasses.field(default=EvaluateSettings())),
            ],
        )
    return Annotated[flags, tyro.conf.subcommand(name, description=verb.summary)]
