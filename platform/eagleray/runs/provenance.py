"""Where a run's results come from: who gave which command where, for how long, by which code.

    log/commands/<time>-<pid>-<part>.json   a ``CommandRecord``: one per part of a command
    code/packages.txt                       every installed package with its version
    code/<digest>.patch                     how the code differed from its commit

A patch is kept where it is small and holds nothing that looks like a secret; else the record says
why not. What git does not track is not in it; the record counts such files.
"""

from __future__ import annotations

import getpass
import hashlib
import json
import logging
import os
import re
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import distributions
from importlib.util import find_spec
from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from eagleray.runs.alerts import alert
from eagleray.runs.records import encode_json
from eagleray.storage import Store
from eagleray.task import EaglerayError

T = TypeVar("T")
_logger = logging.getLogger(__name__)

COMMANDS = "log/commands"
PACKAGES = "code/packages.txt"
MOST_PATCH_BYTES = 1_000_000
_GIT_S = 30
_SECRETS = {
    "private key": re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----"),
    "AWS key": re.compile(rb"\b(AKIA|ASIA)[0-9A-Z]{16}\b"),
    "GitHub token": re.compile(rb"\b(gh[pousr]_[A-Za-z0-9]{30,}|github_pat_[A-Za-z0-9_]{30,})"),
    "Slack token": re.compile(rb"\bxox[abprs]-[A-Za-z0-9-]{10,}"),
    "key of a model host": re.compile(rb"\b(hf|sk)[_-][A-Za-z0-9_-]{30,}"),
    "password or token": re.compile(
        rb"(?i)(password|passwd|secret|token|api[_-]?key)\w*['\"]?\s*[:=]\s*['\"][^'\"\s]{8,}['\"]"
    ),
}


@dataclass(frozen=True, slots=True)
class CommandRecord:
    """One part of a command that worked on a run.

    Args:
        part: ``train`` or ``evaluate``.
        command: As it was given.
        folder: In which folder.
        host: On which machine.
        user: By whom.
        pid: As which process.
        begin_s: When it began, seconds since 1970.
        seconds: How long it took; None while it runs, and where it died without a word.
        outcome: ``done``, or the type of what ended it.
        patches: Files below the run that hold how the code differed from its commit.
        not_kept: Why a patch is not kept, one line each.
    """

    part: str
    command: str
    folder: str
    host: str
    user: str
    pid: int
    begin_s: float
    seconds: float | None = None
    outcome: str = ""
    patches: tuple[str, ...] = ()
    not_kept: tuple[str, ...] = ()


_RECORD = TypeAdapter(CommandRecord)


@contextmanager
def recorded(run: Store, part: str, plugin: str = "") -> Iterator[None]:
    """Record that this process works on a run, and how that ends.

    On a storage that cannot be written nothing is recorded, with a warning: what is done there may
    still be looked at.

    Args:
        run: The run's folder.
        part: What is done.
        plugin: Top-level package of the task, whose code counts beside the engine's.
    """
    patches, not_kept = _attempted(lambda: keep_code(run, _source_folders(plugin))) or ((), ())
    record = CommandRecord(
        part=part,
        command=shlex.join(sys.argv),
        folder=str(Path.cwd()),
        host=socket.gethostname(),
        user=_user(),
        pid=os.getpid(),
        begin_s=time.time(),
        patches=patches,
        not_kept=not_kept,
    )
    when = datetime.fromtimestamp(record.begin_s, UTC).strftime("%Y%m%dT%H%M%S")
    path = f"{COMMANDS}/{when}-{record.pid}-{part}.json"
    is_kept = _attempted(lambda: _write(run, path, record)) is not None
    begin, outcome = time.monotonic(), "done"
    try:
        yield
    except BaseException as error:
        outcome = type(error).__name__
        raise
    finally:
        ended = replace(record, seconds=time.monotonic() - begin, outcome=outcome)
        if is_kept:
            _attempted(lambda: _write(run, path, ended))
        name = "/".join(run.uri.rstrip("/").split("/")[-2:])
        alert(name, part, outcome, ended.seconds or 0.0, ended.host)


def _write(run: Store, path: str, record: CommandRecord) -> str:
    run.write(path, encode_json(asdict(record)))
    return path


def _attempted(write: Callable[[], T]) -> T | None:
    """Return what ``write`` gives, None with a warning where the storage refuses it."""
    try:
        return write()
    except (OSError, EaglerayError) as error:
        _logger.warning("this command is not recorded in the run: %s", error)
        return None


def read_commands(run: Store) -> list[CommandRecord]:
    """Return what was recorded, the oldest first; what cannot be read is left out."""
    records = []
    for path, content in run.read_many(run.files(COMMANDS)).items():
        if path.endswith(".json"):
            try:
                records.append(_RECORD.validate_python(json.loads(content)))
            except (ValueError, ValidationError):
                continue
    return sorted(records, key=lambda record: record.begin_s)


def keep_code(run: Store, folders: Sequence[Path]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Keep which packages are installed and how the code differs from its commits.

    Args:
        run: The run's folder.
        folders: Folders with code.

    Returns:
        The patches' paths below the run, and why others are not kept.
    """
    if not run.exists(PACKAGES):
        run.write(PACKAGES, installed_packages().encode())
    roots = dict.fromkeys(root for folder in folders if (root := _root_of(folder)) is not None)
    kept, reasons = [], []
    for root in roots:
        content, reason = patch_of(root)
        if content:
            path = f"code/{hashlib.sha256(content).hexdigest()[:12]}.patch"
            run.create(path, content)
            kept.append(path)
        if reason:
            reasons.append(f"{root.name}: {reason}")
    return tuple(kept), tuple(reasons)


def installed_packages() -> str:
    """Return all installed packages as ``name==version``, one line each."""
    found = {(d.metadata["Name"] or "?"): d.version for d in distributions()}
    return "".join(f"{name}=={found[name]}\n" for name in sorted(found, key=str.lower))


def patch_of(root: Path, most_bytes: int = MOST_PATCH_BYTES) -> tuple[bytes, str]:
    """Return how tracked files differ from the commit, empty where that is not kept, and why not.

    Args:
        root: A folder under git.
        most_bytes: A longer patch is not kept, and not read to its end.
    """
    command = ["git", "-C", str(root), "diff", "HEAD", "--no-color", "--no-ext-diff"]
    try:
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        ) as process:
            assert process.stdout is not None
            content = process.stdout.read(most_bytes + 1)
            if len(content) > most_bytes:
                process.kill()
                return b"", f"the patch is longer than {most_bytes} bytes and is not kept"
            if process.wait(_GIT_S):
                return b"", "git cannot say how the code differs from its commit"
    except (OSError, subprocess.SubprocessError) as error:
        return b"", f"git does not run: {error}"
    secret = find_secret(content)
    if secret is not None:
        return b"", f"the patch is not kept: {secret}"
    return content, ""


def find_secret(patch: bytes) -> str | None:
    """Return where a patch adds what looks like a secret, without saying it; None for nowhere."""
    file = "?"
    for line in patch.splitlines():
        if line.startswith(b"+++ "):
            file = line[4:].decode("utf-8", "replace").removeprefix("b/")
        elif line.startswith(b"+"):
            kind = next((kind for kind, what in _SECRETS.items() if what.search(line)), None)
            if kind is not None:
                return f"{file} seems to hold a {kind}"
    return None


def _source_folders(plugin: str) -> list[Path]:
    names = ["eagleray", *([plugin] if plugin else [])]
    specs = [find_spec(name) for name in names]
    return [Path(s.origin).resolve().parent for s in specs if s is not None and s.origin]


def _root_of(folder: Path) -> Path | None:
    return next((p for p in (folder, *folder.parents) if (p / ".git").exists()), None)


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # no entry in the user database, as in some containers
        return str(os.getuid())
