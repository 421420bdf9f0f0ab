"""What a phase ends with, shared by all runs that begin with the same phases.

    <storage>/phases/<task>/<fingerprint>/model.safetensors  weights and buffers by name
    <storage>/phases/<task>/<fingerprint>/marker.json        checksum and position, created last

The fingerprint covers what the weights depend on: the task's settings, seed, data, weights to begin
with, and the phases up to this one; not where or with how many processes they were trained. So the
runs of a sweep over the second phase train the first one once.
"""

from __future__ import annotations

import hashlib
import json
import logging
from pathlib import Path

from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from eagleray.storage import Store
from eagleray.train.checkpoint import MODEL, Checkpoint, TrainState
from eagleray.train.job import TrainJob

_log = logging.getLogger(__name__)

_MARKER = "marker.json"


def fingerprint(job: TrainJob, index: int) -> str:
    """Return the hash of everything that the weights at the end of phase ``index`` depend on."""
    settings = job.experiment.train
    depends_on = {
        "task": job.task.name,
        "settings": job.task.settings.model_dump(mode="json"),
        "seed": job.experiment.seed,
        "phases": [p.model_dump(mode="json") for p in job.phases[: index + 1]],
        "micro_batch_size": settings.micro_batch_size,
        "init_from": _content_of(settings.init_from),
        "data": {label: str(getattr(r, "listing", "")) for label, r in sorted(job.rows.items())},
    }
    text = json.dumps(depends_on, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def find_artifact(job: TrainJob) -> Checkpoint | None:
    """Return the end of the latest phase (but the last one) that some run has trained already."""
    for index in reversed(range(len(job.phases) - 1)):
        store = _store(job, index)
        try:
            marker = json.loads(store.read(_MARKER))
            content = store.read(MODEL)
        except (FileNotFoundError, ValueError):
            continue
        if hashlib.sha256(content).hexdigest() != marker["sha256"]:
            _log.warning("%s is damaged and passed over", store.uri)
            continue
        state = TrainState(
            phase_idx=index,
            phase=job.phases[index].name,
            step=marker["step"],
            total_step=marker["total_step"],
            seed=job.experiment.seed,
            phase_done=True,
        )
        return Checkpoint(state, load_tensors(content), {}, {})
    return None


def share_artifact(job: TrainJob, checkpoint: Checkpoint) -> None:
    """Store the end of a phase that another one follows, unless it is there."""
    state = checkpoint.state
    if not state.phase_done or state.phase_idx == len(job.phases) - 1:
        return
    store = _store(job, state.phase_idx)
    if store.exists(_MARKER):
        return
    content = save_tensors(checkpoint.model)
    store.write(MODEL, content)
    marker = {
        "sha256": hashlib.sha256(content).hexdigest(),
        "step": state.step,
        "total_step": state.total_step,
    }
    store.create(_MARKER, (json.dumps(marker, sort_keys=True) + "\n").encode())


def _store(job: TrainJob, index: int) -> Store:
    root = Store(job.experiment.storage)
    return root.child(f"phases/{job.task.name}/{fingerprint(job, index)}")


def _content_of(init_from: str | None) -> str | None:
    if init_from is None:
        return None
    path = Path(init_from).expanduser()
    path = path / MODEL if path.is_dir() else path
    if not path.is_file():
        return init_from
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
