"""Progress of a long job: a live bar with rate and time left on a terminal, plain lines
elsewhere.
"""

from __future__ import annotations

import sys
import time
from typing import Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as RichBar

_PLAIN_EVERY_S = 5.0


class Progress(Protocol):
    """What the engine tells while it works."""

    def start(self, title: str, total: int) -> None:
        """Begin a job of ``total`` units."""
        ...

    def advance(self, units: int = 1, **info: object) -> None:
        """Count finished units; ``info`` (losses, rejects, waiting) is shown beside the bar."""
        ...

    def note(self, text: str) -> None:
        """Say one line."""
        ...

    def finish(self) -> None:
        """End the job begun last."""
        ...


class Silent:
    """No output; for the Python API and tests."""

    def start(self, title: str, total: int) -> None:
        """Say nothing."""

    def advance(self, units: int = 1, **info: object) -> None:
        """Say nothing."""

    def note(self, text: str) -> None:
        """Say nothing."""

    def finish(self) -> None:
        """Say nothing."""


class PlainLines:
    """One line every few seconds, for logs and pipes."""

    def __init__(self) -> None:
        self._title, self._total, self._done, self._begin, self._last = "", 0, 0, 0.0, 0.0
        self._info: dict[str, object] = {}

    def start(self, title: str, total: int) -> None:
        """Write the title and begin to count."""
        self._title, self._total, self._done, self._info = title, total, 0, {}
        self._begin = self._last = time.monotonic()
        self.note(f"{title}: 0/{total}")

    def advance(self, units: int = 1, **info: object) -> None:
        """Count, and write a line if the last one is some seconds old."""
        self._done += units
        self._info.update(info)
        now = time.monotonic()
        if now - self._last >= _PLAIN_EVERY_S and self._done < self._total:
            self._last = now
            self.note(self._line(now))

    def note(self, text: str) -> None:
        """Write one line."""
        sys.stderr.write(text + "\n")
        sys.stderr.flush()

    def finish(self) -> None:
        """Write the last line."""
        self.note(self._line(time.monotonic()))

    def _line(self, now: float) -> str:
        seconds = max(now - self._begin, 1e-9)
        rate = self._done / seconds
        left = (self._total - self._done) / rate if rate > 0 else float("inf")
        shown = " ".join(f"{k}={_short(v)}" for k, v in self._info.items())
        return (
            f"{self._title}: {self._done}/{self._total} {rate:.2f}/s "
            f"left {_duration(left)} {shown}".rstrip()
        )


class LiveBar:
    """A rich progress bar with rate, time left and the latest information."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar: RichBar | None = None
        self._begin, self._done = 0.0, 0
        self._info: dict[str, object] = {}

    def start(self, title: str, total: int) -> None:
        """Show the bar."""
        columns = (
            TextColumn("[bold]{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[info]}"),
        )
        self._bar = RichBar(*columns, console=self._console)
        self._bar.add_task(title, total=total, rate="", info="")
        self._bar.start()
        self._begin, self._done, self._info = time.monotonic(), 0, {}

    def advance(self, units: int = 1, **info: object) -> None:
        """Move the bar."""
        if self._bar is None:
            return
        self._done += units
        self._info.update(info)
        rate = self._done / max(time.monotonic() - self._begin, 1e-9)
        shown = " ".join(f"{k}={_short(v)}" for k, v in self._info.items())
        task = self._bar.tasks[0].id
        self._bar.update(task, advance=units, rate=f"{rate:.2f}/s", info=shown)

    def note(self, text: str) -> None:
        """Print one line above the bar."""
        self._console.print(text, markup=False, highlight=False)

    def finish(self) -> None:
        """Leave the bar as it stands."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def terminal_progress() -> Progress:
    """Return a live bar where standard error is a terminal, else plain lines."""
    console = Console(stderr=True)
    return LiveBar(console) if console.is_terminal else PlainLines()


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _duration(seconds: float) -> str:
    if seconds == float("inf"):
        return "?"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"
