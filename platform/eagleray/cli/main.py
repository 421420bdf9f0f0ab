"""Entry point of the command ``eagleray``: picks the verb and turns errors into exit statuses.

Exit status: 0 done; 2 the command or an experiment is wrong; 3 finished, but items were rejected;
4 finished, but a metric fell (``evaluate --against``); 1 anything else; 130 interrupted.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

from eagleray import __version__
from eagleray.cli.verbs import GROUPS, HELP, VERBS
from eagleray.contract.errors import EaglerayError, SettingsError
from eagleray.log_lines import speak_json

FAILED_STATUS = 1
"""Exit status of a job that ended without a result (a sweep: without that of every trial)."""
REJECTS_STATUS = 3
"""Exit status of a job that finished, but rejected more items than allowed."""
FALLEN_STATUS = 4
"""Exit status of an evaluation that finished, but found a metric worse than in another run."""


_STORAGE_PACKAGES = ("botocore", "aiobotocore", "s3fs", "gcsfs", "google", "azure", "adlfs")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit."""
    raise SystemExit(run(list(sys.argv[1:] if arguments is None else arguments)))


def run(arguments: list[str]) -> int:
    """Run the command line and return the exit status."""
    if not arguments or arguments[0] in (*HELP, "help"):
        sys.stdout.write(overview())
        return 0
    if arguments[0] in ("-V", "--version"):
        sys.stdout.write(f"eagleray {__version__}\n")
        return 0
    try:
        if _asks_for_short_help(arguments):
            from eagleray.cli.help import verb_help

            sys.stdout.write(verb_help(VERBS[arguments[0]]))
            return 0
        speak_json()
        _say_what_is_waited_for(arguments[0])
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
    lines = ["usage: eagleray VERB [EXPERIMENT.yaml] [FLAGS] [--SETTING VALUE ...]"]
    for title, verbs in GROUPS.items():
        lines += ["", f"{title}:", *(f"  {v.name:10} {v.summary}" for v in verbs)]
    told = "eagleray VERB --help tells more; eagleray completion bash completes commands.\n"
    return "\n".join([*lines, "", told])


def _asks_for_short_help(arguments: list[str]) -> bool:
    """Return whether a known verb's help is asked for, and that of no experiment."""
    has_help = any(a in HELP for a in arguments)
    names_experiment = any(a.endswith((".yaml", ".yml")) for a in arguments)
    return arguments[0] in VERBS and has_help and not names_experiment


def _say_what_is_waited_for(name: str) -> None:
    """Write at once what the next seconds go into, unless it is in memory already."""
    verb = VERBS.get(name)
    if verb is not None and verb.waits_for and "torch" not in sys.modules:
        sys.stderr.write(f"eagleray {name}: loading {verb.waits_for} ...\n")
        sys.stderr.flush()


def _verb(name: str) -> Callable[[list[str]], int]:
    if name not in VERBS:
        from eagleray.experiment.discovery import nearest

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
