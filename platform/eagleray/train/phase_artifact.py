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

from eagleray.prepare.fingerprint import IdentifiedRows
from eagleray.storage import (
    DamagedError,
    SharedFile,
    Store,
    commit,
    is_uri,
    read_checked,
    sha256,
)
from eagleray.task import without_use
from eagleray.train.checkpoint import MODEL, Checkpoint, TrainState
from eagleray.train.frozen import checksums
from eagleray.train.job import TrainJob
from eagleray.train.model_file import ModelHeader, encode_model
from eagleray.train.weights import weights_file

_log = logging.getLogger(__name__)

_MARKER = "marker.json"


def find_artifact(job: TrainJob) -> Checkpoint | None:
    """Return the end of the latest phase (but the last one) that some run has trained already."""
    for index in reversed(range(len(job.phases) - 1)):
        store = _artifact_store(job, index)
        if store is None:
            return None
        try:
            marker = json.loads(store.read(_MARKER))
            content = read_checked(store, MODEL, marker["sha256"])
        except (FileNotFoundError, ValueError):
            continue
        except DamagedError as error:
            _log.warning("passed over: %s", error)
            continue
        state = TrainState(
            phase_idx=index,
            phase=job.phases[index].name,
            step=marker["step"],
            total_step=marker["total_step"],
            seed=job.experiment.seed,
            phase_done=True,
        )
        return Checkpoint(state, load_tensors(content), {}, {}, ModelHeader.of(content).frozen)
    return None


def share_artifact(job: TrainJob, checkpoint: Checkpoint) -> None:
    """Store the end of a phase that another one follows, unless it is there."""
    state = checkpoint.state
    if not state.phase_done or state.phase_idx == len(job.phases) - 1:
        return
    store = _artifact_store(job, state.phase_idx)
    if store is None or store.exists(_MARKER):
        return
    content = encode_model(checkpoint.model, checkpoint.frozen)
    marker = {"sha256": sha256(content), "step": state.step, "total_step": state.total_step}
    commit(store, {MODEL: content}, _MARKER, (json.dumps(marker, sort_keys=True) + "\n").encode())


def _artifact_store(job: TrainJob, index: int) -> Store | None:
    name = fingerprint(job, index)
    root = Store(job.experiment.storage)
    return None if name is None else root.child(f"phases/{job.task.name}/{name}")


def fingerprint(job: TrainJob, index: int) -> str | None:
    """Return the hash of everything that the weights at the end of phase ``index`` depend on.

    The data enter by the digest of each stage's rows, which covers the stage's own fingerprint
    (version, settings, weights, stages upstream) and its inputs: the listing alone would stay the
    same when a stage computes something else from the same files. Rows that cannot say what they
    came from have no digest; then nothing is shared, and None is returned.
    """
    data = {}
    for label, rows in sorted(job.rows.items()):
        if not isinstance(rows, IdentifiedRows):
            return None
        data[label] = rows.digest
    settings = job.experiment.train
    depends_on = {
        "task": job.task.name,
        "settings": without_use(job.task.settings),
        "seed": job.experiment.seed,
        "phases": [p.model_dump(mode="json") for p in job.phases[: index + 1]],
        "micro_batch_size": settings.micro_batch_size,
        "init_from": _content_of(settings.init_from),
        "data": data,
    }
    frozen = checksums(job.task)
    if frozen:  # left out where there are none, so that earlier names stay
        depends_on["frozen"] = frozen
    text = json.dumps(depends_on, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _content_of(init_from: str | None) -> str | None:
    if init_from is None:
        return None
    file = weights_file(init_from)
    if is_uri(file):
        return SharedFile.fetched(file).sha256
    path = Path(file)
    if not path.is_file():
        return init_from
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
