"""Codecs that keep every channel: fp32, fp16, and 8 bits with a scale per vector."""

from __future__ import annotations

import torch
from torch import Tensor

from eagleray_vision.codecs.codec import CodecError, VectorCodec, as_bytes, of_bytes

_LARGEST_HALF = 65504.0
_LEVELS = 255.0


class PlainCodec(VectorCodec):
    """fp32 or fp16; nothing is fitted."""

    @property
    def _dtype(self) -> torch.dtype:
        return torch.float16 if self.spec.kind == "fp16" else torch.float32

    def _encode(self, vectors: Tensor) -> Tensor:
        if self._dtype == torch.float16 and bool((vectors.abs() > _LARGEST_HALF).any()):
            raise CodecError("values beyond 65504 do not fit in half precision; use fp32")
        return as_bytes(vectors.to(self._dtype))

    def _decode(self, codes: Tensor) -> Tensor:
        return of_bytes(codes, self._dtype).float()


class ByteCodec(VectorCodec):
    """8 bits per channel and a half-precision scale per vector; an offset too where values may be
    negative, which the fit decides (state ``is_signed``).
    """

    @property
    def _is_signed(self) -> bool:
        return bool(self.state["is_signed"])

    @property
    def bytes_per_vector(self) -> int:
        """Bytes of one vector."""
        return self.spec.bytes_per_vector(self.channels, is_signed=self._is_signed)

    def _encode(self, vectors: Tensor) -> Tensor:
        if not self._is_signed:
            if bool((vectors < 0).any()):
                raise CodecError(
                    "this uint8 codec was fitted on features that are never negative, found "
                    f"{float(vectors.min()):.4g}; fit it on a sample of these"
                )
            low = vectors.new_zeros((len(vectors), 1))
        else:
            low = vectors.amin(dim=1, keepdim=True).half().float()
        # The scale is rounded first, and codes refer to what was stored.
        scale = ((vectors.amax(dim=1, keepdim=True) - low) / _LEVELS).clamp(min=0).half()
        steps = ((vectors - low) / scale.float().clamp(min=1e-12)).round().clamp(0, _LEVELS)
        ends = [scale, low.half()] if self._is_signed else [scale]
        return torch.cat([steps.to(torch.uint8), *map(as_bytes, ends)], dim=1)

    def _decode(self, codes: Tensor) -> Tensor:
        steps, ends = codes[:, : self.channels], of_bytes(codes[:, self.channels :], torch.float16)
        vectors = steps.float() * ends[:, :1].float()
        return vectors + ends[:, 1:].float() if self._is_signed else vectors
