"""Live progress of a sweep: trials over, running and failed, the best value so far, time left."""

from __future__ import annotations

from eagleray.progress import Progress
from eagleray.sweep.folder import TrialRecord
from eagleray.sweep.plan import SweepPlan


class TrialProgress:
    """Tells a progress about trials; those of an earlier call count for the best value only.

    Args:
        plan: The sweep.
        progress: Told about the trials of this call.
    """

    def __init__(self, plan: SweepPlan, progress: Progress) -> None:
        self._plan, self._progress = plan, progress
        records = plan.folder.readable_trials()[0]
        # Of a search that was made shorter, records of trials that are no longer asked for remain.
        self.known = [r for r in records if not plan.trials or r.id in plan.trials]
        self._best: float | None = None
        self._failed = self._stopped = 0
        for record in self.known:
            self._take(record)

    @property
    def num_left(self) -> int:
        """Number of trials that were not over before this call."""
        return self._plan.num_trials - sum(record.is_over for record in self.known)

    def start(self) -> None:
        """Begin."""
        total = self._plan.num_trials
        before = total - self.num_left
        text = f" ({before} of {total} done before)" if before else ""
        self._progress.start(f"sweep {self._plan.summary.name}{text}", self.num_left)

    def update(self, running: int) -> None:
        """Show how many trials run."""
        self._advance(0, running)

    def ended(self, record: TrialRecord, running: int) -> None:
        """Count a trial that ended."""
        self._take(record)
        self._failed += record.state == "failed"
        self._stopped += record.state == "stopped"
        if record.state == "failed":
            first_line = (record.error or "").splitlines()[:1]
            self.note(f"trial {record.id} failed: {' '.join(first_line)}")
        self._advance(int(record.is_over or record.state == "failed"), running)

    def note(self, text: str) -> None:
        """Say one line."""
        self._progress.note(text)

    def finish(self) -> None:
        """End."""
        self._progress.finish()

    def _advance(self, units: int, running: int) -> None:
        info: dict[str, object] = {"running": running}
        info |= {"failed": self._failed} if self._failed else {}
        info |= {"stopped": self._stopped} if self._stopped else {}
        info |= {f"best_{self._plan.summary.metric}": self._best} if self._best is not None else {}
        self._progress.advance(units, **info)

    def _take(self, record: TrialRecord) -> None:
        value, is_better = record.value, self._plan.summary.is_better
        if record.is_over and value is not None:
            self._best = value if self._best is None or is_better(value, self._best) else self._best
