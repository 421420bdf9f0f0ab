"""Read golden files as tensors and compare with them."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

TOLERANCE = {"rtol": 1e-4, "atol": 1e-5}


class Case:
    """One golden file, or the part of it below a prefix, as tensors."""

    def __init__(self, path: Path, prefix: str = "") -> None:
        with np.load(path) as file:
            self._arrays = {
                k.removeprefix(prefix): file[k] for k in file.files if k.startswith(prefix)
            }

    def __contains__(self, key: str) -> bool:
        return key in self._arrays

    def __getitem__(self, key: str) -> Tensor:
        return torch.from_numpy(np.array(self._arrays[key]))

    def get(self, key: str) -> Tensor | None:
        return self[key] if key in self._arrays else None

    def text(self, key: str) -> str:
        return str(self._arrays[key])

    def numbers(self, prefix: str) -> int:
        """Count prefix0, prefix1, ..."""
        return next(k for k in range(1000) if f"{prefix}{k}" not in self._arrays)

    def sizes(self, key: str) -> list[tuple[int, int]]:
        return [(int(h), int(w)) for h, w in self._arrays[key]]

    def state(self) -> dict[str, Tensor]:
        return {k.removeprefix("param/"): self[k] for k in self._arrays if k.startswith("param/")}

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
