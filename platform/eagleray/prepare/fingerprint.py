"""What results depend on, as short names: a stage by its fingerprint, items and rows by identity.

The fingerprint hashes name, version, settings, the checksums of weights and the fingerprints
upstream. The stage's ``source`` is no part of it, so that splits and experiments share what they
have in common. Nor are the inputs: an item's identity enters the shard that holds it, so that a new
image recomputes its shard and not the stage; and a row passes the identity of its item on, so that
a stage downstream recomputes what reads that row.
"""

from __future__ import annotations

import hashlib
import json
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from eagleray.storage import Store
from eagleray.task import EaglerayError, Item, Rows, SettingsError, Stage

_CHUNK_BYTES = 1 << 22
DIGEST_BYTES = 16
"""Length of an item's digest."""


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} is not a JSON value")


_encode = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=_plain
).encode


def canonical_json(value: Any, what: str = "value") -> bytes:
    """Return the JSON text of ``value`` with sorted keys and no spaces, UTF-8; NumPy values become
    plain ones.

    Args:
        value: Anything JSON can say.
        what: What it is, for the message.

    Raises:
        EaglerayError: ``value`` holds something that is no JSON value.

    Example:
        >>> canonical_json({"b": 1, "a": [1.5, None]})
        b'{"a":[1.5,null],"b":1}'
    """
    try:
        return _encode(value).encode()
    except (TypeError, ValueError) as error:
        raise EaglerayError(
            f"{what} must consist of JSON values ({error}): "
            "use str, int, float, bool, list and dict"
        ) from error


def short_hash(content: bytes, size: int = 8) -> str:
    """Return ``size`` bytes of BLAKE2b as hexadecimal digits (for names, not for secrets)."""
    return hashlib.blake2b(content, digest_size=size).hexdigest()


@dataclass(frozen=True, slots=True)
class StageDescription:
    """What the fingerprint hashes, readable; stored beside the results.

    Args:
        name: The stage's name.
        version: Its version.
        schema: Column name to type name.
        settings: Its settings as JSON values.
        weights: Checksums of its weight files.
        upstream: Name and fingerprint of each stage that it reads.
    """

    name: str
    version: int
    schema: Mapping[str, str]
    settings: Mapping[str, Any]
    weights: Sequence[str]
    upstream: Sequence[tuple[str, str]]

    def encode(self) -> bytes:
        """Return the description's file content."""
        return canonical_json(asdict(self), "a stage's description")

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits, the name of the stage's folder."""
        return short_hash(self.encode())


def describe_stage(stage: Stage, fingerprints: Mapping[str, str]) -> StageDescription:
    """Return what the results of a stage depend on, apart from its inputs.

    Args:
        stage: The stage.
        fingerprints: Fingerprint by label of the stages before it.

    Raises:
        SettingsError: A weight file is missing, or it reads a stage that is not before it.
    """
    missing = [label for label in stage.upstream if label not in fingerprints]
    if missing:
        raise SettingsError(
            f"stage {stage.label!r} reads {missing}, but before it there are "
            f"{sorted(fingerprints)}: list stages in an order in which upstream comes first"
        )
    return StageDescription(
        name=stage.name,
        version=stage.version,
        schema=dict(stage.schema),
        settings=stage.settings().model_dump(mode="json"),
        weights=[file_checksum(path) for path in stage.weights()],
        upstream=[(_name_of(label), fingerprints[label]) for label in stage.upstream],
    )


def stage_fingerprint(stage: Stage, fingerprints: Mapping[str, str]) -> str:
    """Return the fingerprint of a stage, given those of the stages before it by label."""
    return describe_stage(stage, fingerprints).fingerprint


def _name_of(label: str) -> str:
    """Return the name in a label ``name:source``."""
    return label.split(":", 1)[0]


def file_checksum(path: Path) -> str:
    """Return the SHA-256 of a file, remembered by its path, size and time of change.

    Raises:
        SettingsError: There is no such file.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise SettingsError(
            f"weight file {path} cannot be read ({error.strerror}): "
            "`eagleray doctor` says where to get it"
        ) from error
    cache = Store(str(cache_folder()))
    identity = f"{path.absolute()}\0{status.st_size}\0{status.st_mtime_ns}"
    name = f"{short_hash(identity.encode(), 16)}.json"
    try:
        known: str = json.loads(cache.read(name))["sha256"]
        return known
    except (FileNotFoundError, ValueError, KeyError):
        checksum = _sha256(path)
        cache.write(name, canonical_json({"path": str(path.absolute()), "sha256": checksum}))
        return checksum


def cache_folder() -> Path:
    """Return the user's folder of remembered checksums."""
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "eagleray" / "checksums"


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as handle:
        while chunk := handle.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def item_digest(key: str, identity: str) -> bytes:
    """Return 16 bytes that change when the item's key or identity does."""
    return hashlib.blake2b(f"{key}\0{identity}".encode(), digest_size=DIGEST_BYTES).digest()


def record_identity(item: Item, fit_digest: str) -> str:
    """Return what a stage downstream takes for the identity of a record of this item."""
    return short_hash(f"{item.key}\0{item.identity}\0{fit_digest}".encode())


class IdentifiedRows(ABC):
    """Rows that also say what each of them came from, so that stages downstream recompute exactly
    what changed.
    """

    @property
    @abstractmethod
    def digest(self) -> str:
        """Return a name that changes when any row may have changed."""

    @abstractmethod
    def find_identity(self, key: str) -> str | None:
        """Return a text that changes when the row ``key`` may have changed, None if there is no
        such row.
        """

    @abstractmethod
    def summary(self) -> Mapping[str, Any]:
        """Return what ``Stage.finish`` gave."""


def traced_items(stage: Stage, upstream: Mapping[str, Rows]) -> Iterator[Item]:
    """Yield the stage's items, their identity completed by what they may read upstream.

    An item whose key is a row upstream depends on that row, any other item on all rows; and where
    ``finish`` gave a summary upstream, on that summary.
    """
    sources = [rows for rows in upstream.values() if isinstance(rows, IdentifiedRows)]
    if not sources:
        yield from stage.items(upstream)
        return
    summaries = json.dumps([short_hash(canonical_json(rows.summary())) for rows in sources])
    for item in stage.items(upstream):
        seen = [rows.find_identity(item.key) or rows.digest for rows in sources]
        identity = short_hash(json.dumps([item.identity, summaries, *seen]).encode(), 16)
        yield replace(item, identity=identity)
