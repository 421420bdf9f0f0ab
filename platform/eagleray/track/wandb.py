"""Runs in Weights & Biases: one W&B run per run, in one project.

Offline, each command writes a folder ``offline-run-*`` with the run's one id; ``wandb sync`` sends
them later, and they become one run there.
"""

from __future__ import annotations

import os
import tempfile
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from eagleray.experiment.schema import WandbSettings
from eagleray.runs.records import EvaluationResult
from eagleray.storage import Store
from eagleray.task import EaglerayError
from eagleray.track.protocol import DONE, Logged, RunFacts

_STEP = "step"
"""Horizontal axis. W&B's own step may only grow, also over its resumptions; this one is a value."""
_INIT_S = 30.0
_FILES = "eagleray"
"""Folder of our files beside W&B's own."""


class WandbTracker:
    """Tells Weights & Biases, see ``Tracker``.

    Args:
        settings: Which project, and whether through the network.
    """

    def __init__(self, settings: WandbSettings) -> None:
        self._settings = settings
        self._run: Any = None

    def open(self, facts: RunFacts, known: str) -> str:
        """Begin a W&B run with the settings as its configuration, or go on with the known one."""
        import wandb

        if self._settings.mode == "online" and not _has_key():
            raise EaglerayError(
                "no key: give `wandb login`, or set WANDB_API_KEY, or track.wandb.mode to offline"
            )
        folder = _folder(facts.folder)
        folder.mkdir(parents=True, exist_ok=True)
        self._run = wandb.init(
            project=self._settings.project or facts.experiment,
            entity=self._settings.entity,
            mode=self._settings.mode,
            id=known or uuid.uuid4().hex[:12],
            resume="allow" if self._settings.mode == "online" else None,  # offline the id suffices
            reinit="create_new",  # trials of a sweep share a process
            name=facts.name,
            group=facts.experiment,
            tags=[facts.task],
            config={**facts.settings, "run_folder": facts.folder},
            dir=str(folder),
            # Told is what the run says of itself, and nothing that W&B would look for.
            settings=wandb.Settings(
                console="off", silent=True, disable_git=True, save_code=False, init_timeout=_INIT_S
            ),
        )
        self._run.define_metric(_STEP)
        self._run.define_metric("*", step_metric=_STEP)
        return str(self._run.id)

    def log(self, entries: Sequence[Logged]) -> None:
        """Log the values over our own step."""
        for entry in entries:
            self._run.log({**entry.values, _STEP: entry.step})

    def results(self, results: Sequence[EvaluationResult]) -> None:
        """Put results into the summary as ``benchmark/checkpoint/metric``."""
        for result in results:
            for name, value in result.values.items():
                self._run.summary[f"{result.benchmark}/{result.checkpoint}/{name}"] = value

    def files(self, files: Mapping[str, bytes]) -> None:
        """Lay the files beside the run's own, which W&B takes along."""
        base = Path(self._run.dir)
        for path, content in files.items():
            target = base / _FILES / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
            self._run.save(str(target), base_path=str(base), policy="now")

    def close(self, outcome: str) -> None:
        """End the W&B run; one that did not fail may be gone on with."""
        self._run.finish(exit_code=0 if outcome == DONE else 1)


def _folder(run: str) -> Path:
    """Return where W&B keeps what it writes: in the run, or where that is no folder of this
    machine in the one for temporary files.
    """
    store = Store(run)
    if store.is_local:
        return Path(store.local_path("track"))
    return Path(os.environ.get("WANDB_DIR") or Path(tempfile.gettempdir(), "eagleray-wandb"))


def _has_key() -> bool:
    """Return whether W&B would find a key without asking for one on the terminal."""
    import requests

    address = os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")
    return bool(os.environ.get("WANDB_API_KEY") or requests.utils.get_netrc_auth(address))
