"""Golden files of POP-3D: sizes of a small network from a case, and recipe weights."""

from __future__ import annotations

import zlib

import numpy as np
import torch
from tests.parity.golden import Case
from torch import Tensor

from eagleray_pop3d.model.config import EncoderSettings, GridSettings


class Pop3dCase(Case):
    """A golden file whose sizes are read off its arrays."""

    def ints(self, key: str) -> tuple[int, ...]:
        return tuple(int(v) for v in self[key].ravel())

    @property
    def grid(self) -> GridSettings:
        ranges = {}
        if "pc_range" in self:
            low_high = [float(v) for v in self["pc_range"]]
            ranges = {"range_min_m": low_high[:3], "range_max_m": low_high[3:]}
        return GridSettings(size_hwz=self.ints("tpv_hwz"), **ranges)

    def encoder(self, channels: int, **sizes: object) -> EncoderSettings:
        if "num_heads" in self:
            sizes["num_heads"] = int(self["num_heads"])
        return EncoderSettings(
            channels=channels,
            pillars=self.ints("pillars"),
            image_points=self.ints("num_points"),
            dropout=0.0,
            **sizes,
        )


def recipe_tensor(name: str, shape: tuple[int, ...]) -> Tensor:
    """Return the weights that the parity README's recipe gives a name and a shape."""
    with np.errstate(over="ignore"):
        x = np.arange(1, int(np.prod(shape)) + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        x += np.uint64(zlib.crc32(name.encode())) * np.uint64(0xD1B54A32D192ED03)
        x ^= x >> np.uint64(30)
        x *= np.uint64(0xBF58476D1CE4E5B9)
        x ^= x >> np.uint64(27)
        x *= np.uint64(0x94D049BB133111EB)
        x ^= x >> np.uint64(31)
    u = (x >> np.uint64(11)).astype(np.float64) * 2.0**-53
    t = 2 * u - 1
    parts = name.split(".")
    if name.endswith("running_var"):
        value = 0.5 + u
    elif name.endswith("running_mean"):
        value = 0.1 * t
    elif len(shape) == 1 and parts[-1] == "weight":
        value = (0.75 + 0.5 * u) * (0.25 if parts[-2] == "bn3" else 1.0)
    elif len(shape) <= 1:
        value = (2.0 if "sampling_offsets" in name else 0.1) * t
    else:
        value = t * np.sqrt(3 / np.prod(shape[1:])) * (0.01 if "conv_offset" in name else 1.0)
    return torch.from_numpy(value.astype(np.float32).reshape(shape))
