"""Log lines for machines: with ``EAGLERAY_LOG_FORMAT=json`` every line that the engine says is a
JSON object, which names the run, stage, shard and rank that it is about.

    {"time": "2026-03-01T12:00:00.123Z", "level": "WARNING", "logger": "eagleray.train.loop",
     "host": "gpu-3", "pid": 812, "run": "toy/main-1a2b3c4d", "rank": 5, "message": "..."}

What a job needs of that (the variable itself) reaches its workers with its environment.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import IO, Any

FORMAT_VARIABLE = "EAGLERAY_LOG_FORMAT"
_JSON = "json"
_PLAIN = "%(asctime)s %(name)s %(levelname)s %(message)s"

_of_process: dict[str, Any] = {}
_of_work: ContextVar[dict[str, Any]] = ContextVar("_of_work", default={})  # noqa: B039 - unchanged


def is_json() -> bool:
    """Return whether log lines are asked for as JSON."""
    return os.environ.get(FORMAT_VARIABLE, "") == _JSON


def name_process(**about: Any) -> None:
    """Say what all later lines of this process are about.

    Args:
        **about: ``run``, ``stage``, ``rank``; None takes one back.
    """
    _of_process.update(about)


@contextmanager
def lines_about(**about: Any) -> Iterator[None]:
    """Say what lines of this thread are about inside of the ``with`` statement.

    Args:
        **about: ``shard`` and the like.
    """
    token = _of_work.set({**_of_work.get(), **about})
    try:
        yield
    finally:
        _of_work.reset(token)


def json_line(message: str, level: str, logger: str, **fields: Any) -> str:
    """Return one line.

    Args:
        message: What is said.
        level: As ``logging`` names them.
        logger: Who says it.
        **fields: What else is known.

    Example:
        >>> with lines_about(shard="0f3a"):
        ...     line = json_line("committed", "INFO", "eagleray.prepare", items=8)
        >>> {key: json.loads(line)[key] for key in ("shard", "items", "message")}
        {'shard': '0f3a', 'items': 8, 'message': 'committed'}
    """
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    values = {
        "time": now,
        "level": level,
        "logger": logger,
        "host": socket.gethostname(),
        "pid": os.getpid(),
        **_of_process,
        **_of_work.get(),
        **fields,
        "message": message,
    }
    return json.dumps({k: v for k, v in values.items() if v is not None}, default=str)


class JsonFormatter(logging.Formatter):
    """Formats records of ``logging`` as JSON; an exception's traceback is the field ``trace``."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one line."""
        trace = self.formatException(record.exc_info) if record.exc_info else None
        return json_line(record.getMessage(), record.levelname, record.name, trace=trace)


def line_formatter() -> logging.Formatter:
    """Return what formats the lines of log files: JSON where that is asked for, else plain text."""
    return JsonFormatter() if is_json() else logging.Formatter(_PLAIN)


def speak_json(stream: IO[str] | None = None) -> None:
    """Have this process write the engine's log lines as JSON, where that is asked for.

    Args:
        stream: Where to; by default standard error.
    """
    logger = logging.getLogger("eagleray")
    if not is_json() or any(isinstance(h, _JsonHandler) for h in logger.handlers):
        return
    handler = _JsonHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter())
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False


class _JsonHandler(logging.StreamHandler[Any]):
    """Marks the handler that is there already."""
