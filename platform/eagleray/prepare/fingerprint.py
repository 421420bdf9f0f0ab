"""What a stage's results depend on, apart from its inputs, as one short name (design 4).

Name, version, settings, the checksums of weights and the fingerprints upstream enter; the stage's
``source`` does not, so that splits and experiments share what they have in common. The inputs'
identities are kept per shard.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from eagleray.prepare.canonical import canonical_json, short_hash
from eagleray.storage import Store
from eagleray.task import SettingsError, Stage

_CHUNK_BYTES = 1 << 22


def describe_stage(stage: Stage, fingerprints: Mapping[str, str]) -> dict[str, Any]:
    """Return what the fingerprint hashes, readable (it is stored as ``stage.json``).

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
    return {
        "name": stage.name,
        "version": stage.version,
        "schema": dict(stage.schema),
        "settings": stage.settings().model_dump(mode="json"),
        "weights": [file_checksum(path) for path in stage.weights()],
        "upstream": [[stage_name(label), fingerprints[label]] for label in stage.upstream],
    }


def fingerprint(description: Mapping[str, Any]) -> str:
    """Return 16 hexadecimal digits for what ``describe_stage`` gave."""
    return short_hash(canonical_json(description, "a stage's description"))


def stage_fingerprint(stage: Stage, fingerprints: Mapping[str, str]) -> str:
    """Return the fingerprint of a stage, given those of the stages before it by label."""
    return fingerprint(describe_stage(stage, fingerprints))


def stage_name(label: str) -> str:
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
    cache = Store(str(_cache_folder()))
    identity = f"{path.absolute()}\0{status.st_size}\0{status.st_mtime_ns}"
    name = f"{short_hash(identity.encode(), 16)}.json"
    try:
        known: str = json.loads(cache.read(name))["sha256"]
        return known
    except (FileNotFoundError, ValueError, KeyError):
        checksum = _sha256(path)
        cache.write(name, canonical_json({"path": str(path.absolute()), "sha256": checksum}))
        return checksum


def _cache_folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "eagleray" / "checksums"


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as handle:
        while chunk := handle.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
