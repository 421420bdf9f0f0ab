"""Golden files of EfficientPS: inputs, parameters by the original's names, outputs, settings."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from eagleray_efficientps.model.original_names import our_name


class EfficientPsCase:
    """One golden file, halves widened to float32."""

    def __init__(self, path: Path) -> None:
        with np.load(path) as file:
            self.arrays = {name: file[name] for name in file.files}
        self.meta: dict[str, Any] = (
            json.loads(str(self.arrays["meta"])) if "meta" in self.arrays else {}
        )

    def __getitem__(self, name: str) -> Tensor:
        value = torch.from_numpy(np.array(self.arrays[name]))
        return value.float() if value.dtype == torch.float16 else value

    def names(self, prefix: str) -> list[str]:
        return [k.removeprefix(prefix) for k in self.arrays if k.startswith(prefix)]

    def load(self, module: nn.Module, original: str = "", ours: str = "") -> nn.Module:
        """Load the parameters of a part of the network, every one of them.

        ``original`` and ``ours`` are the part's names in the two whole networks.
        """
        state = {}
        for name in self.names("param."):
            found = our_name(original + name)
            if found is not None:
                state[found.removeprefix(ours)] = self[f"param.{name}"]
        module.load_state_dict(state)
        return module


def near(actual: Tensor, expected: Tensor, *, relative: float = 1e-3) -> None:
    """Compare outputs of several layers: relative to the deviation of what is expected."""
    assert actual.shape == expected.shape
    limit = relative * float(expected.double().std())
    worst = float((actual.double() - expected.double()).abs().max())
    assert worst <= limit, f"{worst} differs by more than {limit}"
