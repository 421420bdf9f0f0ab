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

from eagleray.log_lines import is_json, json_line

_PLAIN_EVERY_S = 5.0
_RATE_AFTER_S = 1.0
_NO_TIME_S = 0.5
"""What is counted this soon was done by an earlier call."""


class Rate:
    """Units per second of this call: what is counted at once was there before and is left out.

    Args:
        now: The time at which it begins, in seconds.
    """

    def __init__(self, now: float) -> None:
        self._begin = self._first = now
        self._units = 0

    def add(self, units: int, now: float) -> None:
        """Count finished units."""
        if now - self._begin < _NO_TIME_S:
            self._first = now
        else:
            self._units += units

    def per_second(self, now: float) -> float | None:
        """Return the rate; None while too little is done to say."""
        seconds = now - self._first
        return self._units / seconds if self._units and seconds >= _RATE_AFTER_S else None


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
    """One line every few seconds, for logs and pipes; where JSON is asked for, with its numbers as
    fields.
    """

    def __init__(self) -> None:
        self._title, self._total, self._done, self._last = "", 0, 0, 0.0
        self._rate = Rate(0.0)
        self._info: dict[str, object] = {}

    def start(self, title: str, total: int) -> None:
        """Write the title and begin to count."""
        self._title, self._total, self._done, self._info = title, total, 0, {}
        self._last = time.monotonic()
        self._rate = Rate(self._last)
        self.note(f"{title}: 0/{total}")

    def advance(self, units: int = 1, **info: object) -> None:
        """Count, and write a line if the last one is some seconds old."""
        self._done += units
        self._info.update(info)
        now = time.monotonic()
        self._rate.add(units, now)
        if now - self._last >= _PLAIN_EVERY_S and self._done < self._total:
            self._last = now
            self.note(self._line(now))

    def note(self, text: str) -> None:
        """Write one line."""
        if is_json():
            job = {"job": self._title, "done": self._done, "total": self._total, **self._info}
            text = json_line(text, "INFO", __name__, **(job if self._title else {}))
        sys.stderr.write(text + "\n")
        sys.stderr.flush()

    def finish(self) -> None:
        """Write the last line."""
        self.note(self._line(time.monotonic()))

    def _line(self, now: float) -> str:
        rate = self._rate.per_second(now)
        words = [f"{self._title}: {self._done}/{self._total}"]
        if rate is not None:
            left = (self._total - self._done) / rate
            words.append(f"{rate:.2f}/s left {_duration(left)}")
        words += [f"{k}={_short(v)}" for k, v in self._info.items()]
        return " ".join(words)


class LiveBar:
    """A rich progress bar with rate, time left and the latest information."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar: RichBar | None = None
        self._rate = Rate(0.0)
        self._info: dict[str, object] = {}

    def start(self, title: str, total: int) -> None:
        """Show the bar."""
        columns = (  # no markup: rich would make an emoji of a label such as panoptic:train
            TextColumn("{task.description}", style="bold", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}", markup=False),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[info]}", markup=False),
        )
        self._bar = RichBar(*columns, console=self._console)
        self._bar.add_task(title, total=total, rate="", info="")
        self._bar.start()
        self._rate, self._info = Rate(time.monotonic()), {}

    def advance(self, units: int = 1, **info: object) -> None:
        """Move the bar."""
        if self._bar is None:
            return
        now = time.monotonic()
        self._rate.add(units, now)
        self._info.update(info)
        rate = self._rate.per_second(now)
        shown = " ".join(f"{k}={_short(v)}" for k, v in self._info.items())
        task = self._bar.tasks[0].id
        told = "" if rate is None else f"{rate:.2f}/s"
        self._bar.update(task, advance=units, rate=told, info=shown)

    def note(self, text: str) -> None:
        """Print one line above the bar."""
        self._console.print(text, markup=False, highlight=False, emoji=False)

    def finish(self) -> None:
        """Leave the bar as it stands."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def terminal_progress() -> Progress:
    """Return a live bar where standard error is a terminal that somebody reads, else lines."""
    console = Console(stderr=True)
    return LiveBar(console) if console.is_terminal and not is_json() else PlainLines()


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _duration(seconds: float) -> str:
    if seconds == float("inf"):
        return "?"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"
