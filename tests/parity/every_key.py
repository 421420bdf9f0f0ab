"""Golden files whose every key must be read by some test of a module.

A key that nobody reads is a number of the original that nothing is compared with. Modules that
import ``every_key_is_read`` fail at their end if one is left.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest

_read: dict[tuple[str, Path], set[str]] = defaultdict(set)
"""Keys that were read, by test module and file."""


class EveryKey(Mapping):
    """The arrays of a golden file; notes which ones are read.

    Args:
        path: The file.
        module: ``__name__`` of the test module.
    """

    def __init__(self, path: Path, module: str) -> None:
        with np.load(path) as arrays:
            self._arrays = {key: arrays[key] for key in arrays.files}
        self._keys_read = _read[module, path]

    def __getitem__(self, key: str) -> np.ndarray:
        value = self._arrays[key]
        self._keys_read.add(key)
        return value

    def __contains__(self, key: object) -> bool:
        return key in self._arrays

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)


def unread_keys(module: str) -> dict[str, set[str]]:
    """Return the keys that no test of a module has read, by file; files in full are left out."""
    left = {}
    for (name, path), keys in _read.items():
        if name == module:
            with np.load(path) as arrays:
                left[path.name] = set(arrays.files) - keys
    return {name: keys for name, keys in left.items() if keys}


@pytest.fixture(scope="module", autouse=True)
def every_key_is_read(request):
    """Fail where a key of an opened file was not read, once all tests of the module have run."""
    yield
    module = request.module
    tests = {name for name in vars(module) if name.startswith("test_")}
    ran = {item.originalname for item in request.session.items if item.module is module}
    if tests <= ran and not request.session.testsfailed:
        assert unread_keys(module.__name__) == {}
