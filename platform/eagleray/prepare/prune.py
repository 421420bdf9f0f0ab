"""Prepared data that nothing refers to: whole fingerprints that no run uses, and leftovers inside
used ones.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from eagleray.prepare.listing import FOLDER as LISTINGS
from eagleray.prepare.listing import open_listing
from eagleray.prepare.manifest import FOLDER as MANIFESTS
from eagleray.prepare.manifest import read_manifest
from eagleray.prepare.marker import marker_path, read_marker
from eagleray.prepare.worker import FITS
from eagleray.storage import Store

ROOT = "prepared"


@dataclass(frozen=True, slots=True)
class Prunable:
    """A folder or file below the storage that can be deleted.

    Args:
        path: Where, below the storage.
        bytes: Its size.
        reason: Why.
        is_folder: It is a folder, to be deleted with all it holds.
    """

    path: str
    bytes: int
    reason: str
    is_folder: bool


def prunable(storage: Store, used: set[tuple[str, str, str]]) -> list[Prunable]:
    """Return the prepared data that can be deleted.

    Inside a fingerprint that is used, that is what no finished listing refers to. Where a listing
    is not finished, nothing is: the same command would go on with it.

    Args:
        storage: The storage.
        used: (task, stage, fingerprint) of all data that runs refer to.
    """
    found: list[Prunable] = []
    for task in storage.folders(ROOT):
        for stage in storage.folders(f"{ROOT}/{task}"):
            for name in storage.folders(f"{ROOT}/{task}/{stage}"):
                path = f"{ROOT}/{task}/{stage}/{name}"
                if (task, stage, name) in used:
                    found += _leftovers(storage, path)
                    continue
                size = sum(storage.size(file) for file in storage.files(path, recursive=True))
                found.append(Prunable(path, size, "no run uses it", is_folder=True))
    return found


def delete_prunable(storage: Store, entries: Iterable[Prunable]) -> None:
    """Delete what ``prunable`` found; markers go before the data that they name."""
    for entry in sorted(entries, key=lambda entry: "/markers/" not in entry.path):
        storage.delete(entry.path, recursive=entry.is_folder)


def _leftovers(storage: Store, path: str) -> list[Prunable]:
    folder = storage.child(path)
    listings = {name.removesuffix(".json") for name in _names(folder, LISTINGS, ".json")}
    finished = {name.removesuffix(".json") for name in _names(folder, MANIFESTS, ".json")}
    if listings - finished:
        return []
    kept = _referred(folder, finished)
    return [
        Prunable(f"{path}/{file}", folder.size(file), "no finished listing refers to it", False)
        for file in folder.files(recursive=True)
        if "/" in file and not file.startswith("log/") and file not in kept
    ]


def _referred(folder: Store, finished: set[str]) -> set[str]:
    kept: set[str] = set()
    for digest in finished:
        manifest = read_manifest(folder, digest)
        kept |= {f"{MANIFESTS}/{digest}.json", f"{MANIFESTS}/{digest}.keys.parquet"}
        kept |= {f"{LISTINGS}/{digest}.json", f"{FITS}/{manifest.fit}.json"}
        kept |= {f"{LISTINGS}/{name}" for name, _ in open_listing(folder, digest).parts}
        for shard in manifest.shards:
            kept |= {shard.data, marker_path(shard.shard)}
            if shard.total_bytes > shard.num_bytes:
                kept |= {file.path for file in read_marker(folder, shard.shard).files}
    return kept


def _names(folder: Store, inside: str, suffix: str) -> list[str]:
    return [f[len(inside) + 1 :] for f in folder.files(inside) if f.endswith(suffix)]
