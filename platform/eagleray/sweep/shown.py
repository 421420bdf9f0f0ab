"""Live progress of a sweep: trials over, running and failed, the best value so far, time left."""

from __future__ import annotations

from eagleray.progress import Progress
from eagleray.sweep.plan import SweepPlan
from eagleray.sweep.records import usable_records
from eagleray.sweep.sweep_folder import TrialRecord


class SweepProgress:
    """Tells a progress about trials; those of an earlier call count for the best value only.

    Args:
        plan: The sweep.
        progress: Told about the trials of this call.
    """

    def __init__(self, plan: SweepPlan, progress: Progress) -> None:
        self._plan, self._progress = plan, progress
        self.over = [r for r in usable_records(plan.folder) if r.is_over and _counts(plan, r)]
        self._best: float | None = None
        self._failed = self._stopped = 0
        for record in self.over:
            self._take(record)

    @property
    def num_over(self) -> int:
        """Number of trials that were over before this call."""
        return len(self.over)

    def start(self) -> None:
        """Begin."""
        left = self._plan.num_trials - self.num_over
        before = f" ({self.num_over} of {self._plan.num_trials} done before)" if self.over else ""
        self._progress.start(f"sweep {self._plan.record.name}{before}", left)

    def update(self, running: int) -> None:
        """Show how many trials run."""
        self._progress.advance(0, **self._info(running))

    def ended(self, record: TrialRecord, running: int) -> None:
        """Count a trial that ended."""
        if record.is_over:
            self._take(record)
        self._failed += record.state == "failed"
        self._stopped += record.state == "stopped"
        if record.state == "failed":
            first_line = (record.error or "").splitlines()[:1]
            self.note(f"trial {record.id} failed: {' '.join(first_line)}")
        units = int(record.is_over or record.state == "failed")
        self._progress.advance(units, **self._info(running))

    def note(self, text: str) -> None:
        """Say one line."""
        self._progress.note(text)

    def finish(self) -> None:
        """End."""
        self._progress.finish()

    def _info(self, running: int) -> dict[str, object]:
        info: dict[str, object] = {"running": running}
        info |= {"failed": self._failed} if self._failed else {}
        info |= {"stopped": self._stopped} if self._stopped else {}
        info |= {f"best_{self._plan.record.metric}": self._best} if self._best is not None else {}
        return info

    def _take(self, record: TrialRecord) -> None:
        sign = 1.0 if self._plan.record.higher_is_better else -1.0
        value = record.value
        if value is not None and (self._best is None or sign * value > sign * self._best):
            self._best = value


def _counts(plan: SweepPlan, record: TrialRecord) -> bool:
    """Return whether a record is one of this sweep's trials (of a shortened search it may not)."""
    return not plan.jobs or record.id in plan.jobs
