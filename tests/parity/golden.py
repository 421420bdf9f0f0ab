"""Read golden files as tensors and compare with them."""

from pathlib import Path

import numpy as np
import torch
from tests.parity.every_key import EveryKey
from torch import Tensor, nn

TOLERANCE = {"rtol": 1e-4, "atol": 1e-5}


class Case:
    """One golden file, or the part of it below a prefix, as tensors.

    A module that wants every key of its files read subclasses it with its own ``module`` name.
    """

    module = ""

    def __init__(self, path: Path, prefix: str = "") -> None:
        self._file = EveryKey(path, self.module)
        self._prefix = prefix
        self._names = {k.removeprefix(prefix) for k in self._file if k.startswith(prefix)}

    def __contains__(self, key: str) -> bool:
        return key in self._names

    def __getitem__(self, key: str) -> Tensor:
        return torch.from_numpy(np.array(self._array(key)))

    def get(self, key: str) -> Tensor | None:
        return self[key] if key in self._names else None

    def text(self, key: str) -> str:
        return str(self._array(key))

    def numbers(self, prefix: str) -> int:
        """Count prefix0, prefix1, ..."""
        return next(k for k in range(1000) if f"{prefix}{k}" not in self)

    def sizes(self, key: str) -> list[tuple[int, int]]:
        return [(int(h), int(w)) for h, w in self._array(key)]

    def state(self) -> dict[str, Tensor]:
        return {k.removeprefix("param/"): self[k] for k in self._names if k.startswith("param/")}

    def _array(self, key: str) -> np.ndarray:
        return self._file[f"{self._prefix}{key}"]

    def load(self, module: nn.Module) -> nn.Module:
        module.load_state_dict(self.state())
        return module


def groups(path: Path) -> list[str]:
    """Return the prefixes c0/, c1/, ... of a file."""
    with np.load(path) as file:
        return sorted({k.split("/")[0] + "/" for k in file.files if k[0] == "c" and k[1].isdigit()})


def close(actual: Tensor, expected: Tensor, **tolerance: float) -> None:
    torch.testing.assert_close(
        actual, expected.to(actual.dtype), **(tolerance or TOLERANCE), check_dtype=False
    )
