"""One byte string per JSON value, so that fingerprints, markers and manifests are the same
everywhere.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np

from eagleray.task import EaglerayError


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
            f"{what} must consist of JSON values, found: {error}; "
            "use str, int, float, bool, list and dict"
        ) from error


def short_hash(content: bytes, size: int = 8) -> str:
    """Return ``size`` bytes of BLAKE2b as hexadecimal digits (for names, not for secrets)."""
    return hashlib.blake2b(content, digest_size=size).hexdigest()
