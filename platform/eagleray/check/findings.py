"""What a check found: one named finding per broken promise, and what could not be checked."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from eagleray.task import EaglerayError

_ENGINE = Path(__file__).resolve().parents[1]
_CHARACTERS = 600


@dataclass(frozen=True, slots=True)
class Finding:
    """A promise of the contract that a task breaks.

    Args:
        check: Which promise (``load is deterministic``).
        where: Stage, phase, benchmark or format in question.
        problem: What was found and what is expected.
    """

    check: str
    where: str
    problem: str

    def __str__(self) -> str:
        return f"{self.check} ({self.where}): {self.problem}"


@dataclass(frozen=True)
class CheckReport:
    """Everything that a check has to say.

    Args:
        findings: Broken promises.
        passed: Checks that were made, with where; those with findings too.
        skipped: What could not be checked, and why.
    """

    findings: list[Finding] = field(default_factory=list)
    passed: list[tuple[str, str]] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)

    def add(self, check: str, where: str, problem: str) -> None:
        """Note a broken promise, once."""
        finding = Finding(check, where, problem[:_CHARACTERS])
        if finding not in self.findings:
            self.findings.append(finding)

    def skip(self, what: str, reason: str) -> None:
        """Note what was not checked."""
        if (what, reason) not in self.skipped:
            self.skipped.append((what, reason))

    @contextmanager
    def checking(self, check: str, where: str) -> Iterator[None]:
        """Make a check: what it raises is a finding, and ends this check alone."""
        self.passed.append((check, where))
        try:
            yield
        except Exception as error:
            self.add(check, where, explain(error))

    def is_clean(self, where: str) -> bool:
        """Whether nothing was found there, so that what builds on it can be checked."""
        return not any(finding.where == where for finding in self.findings)


def explain(error: Exception) -> str:
    """Return an error with the task's own line that it comes from."""
    if isinstance(error, EaglerayError):
        return str(error)
    frames = [f for f in traceback.extract_tb(error.__traceback__) if _is_of_the_task(f.filename)]
    message = f"raises {type(error).__name__}: {error}"
    if not frames:
        return message
    last = frames[-1]
    return f"{message}, at {Path(last.filename).name}:{last.lineno} in {last.name}"


def _is_of_the_task(filename: str) -> bool:
    path = Path(filename)
    return "site-packages" not in path.parts and not path.is_relative_to(_ENGINE)
