"""Hash grid and bias-free network with the same parameters for both backends.

Backend ``eagleray`` runs our kernels and torch; ``tinycudann`` hands the very same parameters to
tiny-cuda-nn (fp16, CUDA only) in its flat layout. So a state can be trained with one and used
with the other.
"""

from __future__ import annotations

import importlib
import importlib.util
import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eagleray.task import SettingsError
from eagleray_kernels import HashGridLayout, HashGridLevels, hash_grid_encode
from eagleray_omniseg3d.settings import Backend

WIDTH_MULTIPLE = 16
"""tiny-cuda-nn pads a network's inputs and outputs to a multiple of this."""
_TABLE_BOUND = 1e-4
"""Grid entries begin in U(-1e-4, 1e-4) (Instant-NGP, arXiv 2201.05989, section 4)."""


def padded(width: int) -> int:
    """Round a number of inputs or outputs up as tiny-cuda-nn does."""
    return math.ceil(width / WIDTH_MULTIPLE) * WIDTH_MULTIPLE


class HashGrid(nn.Module):
    """Trainable multiresolution hash encoding of positions.

    Args:
        layout: Sizes of the levels.
        backend: What computes it.
    """

    offsets: Tensor
    resolutions: Tensor
    scales: Tensor

    def __init__(self, layout: HashGridLayout, backend: Backend = "eagleray") -> None:
        super().__init__()
        self.layout = layout
        rows = layout.num_entries, layout.features_per_level
        self.table = nn.Parameter(torch.empty(rows).uniform_(-_TABLE_BOUND, _TABLE_BOUND))
        for name in ("offsets", "resolutions", "scales"):
            self.register_buffer(name, getattr(layout.levels(), name), persistent=False)
        self._native = _native_encoding(layout) if backend == "tinycudann" else None

    def forward(self, positions: Tensor) -> Tensor:
        """Encode (n, 3) positions in [0, 1]^3 as (n, L F)."""
        if self._native is not None:
            encoded = _call_native(self._native, self.table.flatten(), positions)
            return encoded[:, : self.layout.num_outputs]
        levels = HashGridLevels(
            self.offsets, self.resolutions, self.scales, self.layout.num_entries
        )
        return hash_grid_encode(positions.float(), self.table.float(), levels)


class Mlp(nn.Module):
    """Network without biases, ReLU between layers.

    Args:
        widths: Inputs, hidden widths, outputs.
        backend: What computes it.
    """

    def __init__(self, widths: tuple[int, ...], backend: Backend = "eagleray") -> None:
        super().__init__()
        self.widths = widths
        self.weights = nn.ParameterList(
            _xavier(rows, columns, is_last=i == len(widths) - 2)
            for i, (columns, rows) in enumerate(pairwise(widths))
        )
        self._native = _native_network(widths) if backend == "tinycudann" else None

    def forward(self, inputs: Tensor) -> Tensor:
        """Map (n, inputs) to (n, outputs)."""
        if self._native is not None:
            return _call_native(self._native, self.flat(), inputs)
        hidden = inputs
        for weight in self.weights[:-1]:
            hidden = F.relu(F.linear(hidden, weight))
        return F.linear(hidden, self.weights[-1])

    def flat(self) -> Tensor:
        """Return the weights as tiny-cuda-nn wants them: row-major, inputs and outputs padded.

        It feeds padding inputs with ones, so their weights must be 0: they would act as a bias.
        """
        first, *others = self.weights
        first = F.pad(first, (0, padded(first.shape[1]) - first.shape[1]))
        *hidden, last = first, *others
        last = F.pad(last, (0, 0, 0, padded(last.shape[0]) - last.shape[0]))
        return torch.cat([weight.flatten() for weight in (*hidden, last)])


def flat_size(widths: tuple[int, ...]) -> int:
    """Return the number of weights of a network in tiny-cuda-nn's layout."""
    inputs, *hidden, outputs = widths
    return sum(a * b for a, b in pairwise((padded(inputs), *hidden, padded(outputs))))


@dataclass(frozen=True, slots=True)
class FlatWeights:
    """tiny-cuda-nn's flat weights of a network, cut into matrices.

    Args:
        matrices: (rows, columns) each, without the padding.
        padded_columns: (rows, p) weights of the padding inputs, p = 0 if there are none.
        padded_rows: (p, columns) weights of the padding outputs, p = 0 if there are none.
    """

    matrices: tuple[Tensor, ...]
    padded_columns: Tensor
    padded_rows: Tensor


def unflatten(flat: Tensor, widths: tuple[int, ...], *, pad_inputs: bool = True) -> FlatWeights:
    """Cut tiny-cuda-nn's flat weights into matrices.

    Args:
        flat: (flat_size(widths),) weights.
        widths: Inputs, hidden widths, outputs.
        pad_inputs: False for weights that were written without padding inputs.
    """
    inputs, *hidden, outputs = widths
    columns = padded(inputs) if pad_inputs else inputs
    matrices, start = [], 0
    for wide, high in pairwise((columns, *hidden, padded(outputs))):
        matrices.append(flat[start : start + high * wide].reshape(high, wide).clone())
        start += high * wide
    padded_columns, padded_rows = matrices[0][:, inputs:], matrices[-1][outputs:]
    matrices[0], matrices[-1] = matrices[0][:, :inputs], matrices[-1][:outputs]
    whole = tuple(matrix.contiguous() for matrix in matrices)
    return FlatWeights(whole, padded_columns, padded_rows)


def first_weight_bound(columns: int, rows: int, *, is_last: bool) -> float:
    """Return the bound of a matrix's first weights: Xavier's, with padded outputs."""
    return math.sqrt(6.0 / (columns + (padded(rows) if is_last else rows)))


def check_backend(backend: Backend) -> None:
    """Check that a backend can be imported.

    Raises:
        SettingsError: tinycudann is asked for and not installed.
    """
    if backend == "tinycudann" and importlib.util.find_spec("tinycudann") is None:
        raise SettingsError(
            "field.backend 'tinycudann' needs the package tinycudann (built by hand from "
            "NVlabs/tiny-cuda-nn, bindings/torch); set field.backend to 'eagleray'"
        )


def _xavier(rows: int, columns: int, *, is_last: bool) -> nn.Parameter:
    bound = first_weight_bound(columns, rows, is_last=is_last)
    return nn.Parameter(torch.empty(rows, columns).uniform_(-bound, bound))


def _native_encoding(layout: HashGridLayout) -> tuple[nn.Module]:
    check_backend("tinycudann")
    native = importlib.import_module("tinycudann")
    config = {
        "otype": "Grid",
        "type": "Hash",
        "n_levels": layout.num_levels,
        "n_features_per_level": layout.features_per_level,
        "log2_hashmap_size": layout.log2_table_size,
        "base_resolution": layout.base_resolution,
        "per_level_scale": layout.growth,
        "interpolation": "Linear",
    }
    return (native.Encoding(3, config),)


def _native_network(widths: tuple[int, ...]) -> tuple[nn.Module]:
    check_backend("tinycudann")
    native = importlib.import_module("tinycudann")
    config = {
        "otype": "FullyFusedMLP",
        "activation": "ReLU",
        "output_activation": "None",
        "n_neurons": widths[1],
        "n_hidden_layers": len(widths) - 2,
    }
    return (native.Network(widths[0], widths[-1], config),)


def _call_native(native: tuple[nn.Module], parameters: Tensor, inputs: Tensor) -> Tensor:
    """Run a tiny-cuda-nn module with our parameters in the place of its own.

    The module sits in a tuple so that its parameters are not registered beside ours.
    """
    result: Any = torch.func.functional_call(native[0], {"params": parameters.float()}, (inputs,))
    return torch.as_tensor(result)
