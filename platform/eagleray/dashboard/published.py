"""Published numbers of all installed tasks, read in the background (importing takes seconds)."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from eagleray.experiment.discovery import installed_tasks, task_type
from eagleray.task import Benchmark, EaglerayError, Evaluation


class PublishedBenchmarks:
    """The benchmarks of the installed tasks at their default settings.

    Tasks that cannot be built without settings have none until a run of theirs was evaluated.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._found: dict[str, Sequence[Benchmark]] = {}
        self._thread: threading.Thread | None = None

    def found(self) -> dict[str, Sequence[Benchmark]]:
        """Return what has been read so far, by task; the first call begins reading."""
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._read, daemon=True)
                self._thread.start()
            return dict(self._found)

    def _read(self) -> None:
        for name in installed_tasks():
            benchmarks = _benchmarks(name)
            with self._lock:
                self._found[name] = benchmarks


def _benchmarks(name: str) -> Sequence[Benchmark]:
    try:
        task = task_type(name)
        if any(field.is_required() for field in task.settings_type.model_fields.values()):
            return ()
        built = task(task.settings_type())
        return tuple(built.benchmarks()) if isinstance(built, Evaluation) else ()
    except (EaglerayError, OSError):
        return ()
