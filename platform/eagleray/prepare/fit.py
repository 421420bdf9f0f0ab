"""``Stage.fit``: what all workers need is found once, on the first items, and shared by name.

The name is a digest of those items, and enters the shards' ids: while they stay the same, added
items recompute nothing; when they change, everything follows.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import torch

from eagleray.prepare.canonical import canonical_json
from eagleray.prepare.listing import Listing, item_digest
from eagleray.storage import Store
from eagleray.task import Item, Rows, Stage

FOLDER = "fit"


def fit_digest(stage: Stage, listing: Listing) -> str:
    """Return the name of what the stage's ``fit`` finds on this listing; empty for a stage without
    one.
    """
    if not stage.fit_items:
        return ""
    hasher = hashlib.blake2b(str(stage.fit_items).encode(), digest_size=8)
    for item in listing.items(0, stage.fit_items):
        hasher.update(item_digest(item.key, item.identity))
    return hasher.hexdigest()


def read_fitted(folder: Store, digest: str) -> Mapping[str, Any] | None:
    """Return what ``fit`` found, or None where it has not run yet."""
    if not digest:
        return {}
    try:
        found: Mapping[str, Any] = json.loads(folder.read(f"{FOLDER}/{digest}.json"))
    except FileNotFoundError:
        return None
    return found


def run_fit(
    stage: Stage, listing: Listing, upstream: Mapping[str, Rows], digest: str, device: str
) -> None:
    """Fit on the first items and store what was found. Items that cannot be loaded are left out.

    ``setup`` runs before, with nothing fitted, so that ``fit`` may use the stage's networks.
    """
    stage = copy.copy(stage)
    with torch_threads(stage.resources.cpus):
        stage.setup(device, upstream, {})
        found = stage.fit(_samples(stage, listing.items(0, stage.fit_items)))
    content = canonical_json(found, f"what fit of stage {stage.label} returns")
    listing.folder.create(f"{FOLDER}/{digest}.json", content)


def _samples(stage: Stage, items: list[Item]) -> Iterator[Any]:
    ahead = 2 * stage.resources.loader_threads
    with ThreadPoolExecutor(stage.resources.loader_threads, "load") as pool:
        waiting = [pool.submit(stage.load, item) for item in items[:ahead]]
        for next_idx in range(ahead, len(items) + ahead):
            if not waiting:
                return
            future = waiting.pop(0)
            if next_idx < len(items):
                waiting.append(pool.submit(stage.load, items[next_idx]))
            try:
                sample = future.result()
            except Exception:
                continue
            yield sample


@contextmanager
def torch_threads(cpus: float) -> Iterator[None]:
    """Use as many torch threads as a worker has CPUs, so that results do not depend on where it
    runs.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(max(1, int(cpus)))
    try:
        yield
    finally:
        torch.set_num_threads(before)
