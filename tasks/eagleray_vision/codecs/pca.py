"""Principal components in half precision or 8 bits."""

from __future__ import annotations

import torch
from torch import Tensor

from eagleray_vision.codecs.codec import VectorCodec, as_bytes, of_bytes

_LEVELS = 255.0
_RANGE_SHARE = 0.9995
"""Share of the sample that the 8-bit range of a component covers."""


class PcaCodec(VectorCodec):
    """Projection on the largest components. State: ``mean`` (C,), ``basis`` (n, C), and for 8 bits
    ``low``, ``step`` (n,).
    """

    def _encode(self, vectors: Tensor) -> Tensor:
        parts = (vectors - self.state["mean"]) @ self.state["basis"].T
        if not self.spec.is_8_bit:
            return as_bytes(parts.half())
        steps = ((parts - self.state["low"]) / self.state["step"]).round()
        return steps.clamp(0, _LEVELS).to(torch.uint8)

    def _decode(self, codes: Tensor) -> Tensor:
        if self.spec.is_8_bit:
            parts = codes.float() * self.state["step"] + self.state["low"]
        else:
            parts = of_bytes(codes, torch.float16).float()
        return torch.addmm(self.state["mean"], parts, self.state["basis"])


def principal_components(sample: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return mean (C,), the largest components (count, C) and all variances (C,), descending.

    Signs are those that make each component's largest entry positive, so that fits are the same on
    every machine up to rounding.
    """
    values = sample.double()
    mean = values.mean(dim=0)
    centered = values - mean
    variances, vectors = torch.linalg.eigh(centered.T @ centered / max(1, len(sample) - 1))
    basis = vectors.T.flip(0)
    largest = basis.abs().argmax(dim=1, keepdim=True)
    basis = basis * basis.gather(1, largest).sign()
    return mean, basis[:count], variances.flip(0).clamp(min=0)


def fit_pca(sample: Tensor, count: int, *, is_8_bit: bool) -> dict[str, Tensor]:
    """Return the state of a `PcaCodec` for a (n, C) sample."""
    mean, basis, _ = principal_components(sample, count)
    state = {"mean": mean.float(), "basis": basis.float()}
    if is_8_bit:
        parts = (sample.double() - mean) @ basis.T
        ordered = parts.sort(dim=0).values
        last = len(sample) - 1
        high = ordered[round(_RANGE_SHARE * last)]
        low = ordered[last - round(_RANGE_SHARE * last)]
        state |= {"low": low.float(), "step": ((high - low) / _LEVELS).clamp(min=1e-12).float()}
    return state
