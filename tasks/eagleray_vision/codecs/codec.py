"""One interface for all codecs: vectors to bytes and back, with a state that names itself.

Bytes mean nothing without the fit that made them, so codes carry the fit's fingerprint and another
fit refuses them.
"""

from __future__ import annotations

import base64
import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from eagleray.task import InputError
from eagleray_vision.codecs.spec import CodecSpec


class CodecError(InputError):
    """Vectors or codes that a codec cannot take."""


@dataclass(frozen=True)
class Codes:
    """Encoded vectors.

    Attributes:
        values: (n, bytes per vector) uint8.
        fingerprint: Of the fit that encoded them.
        images: (n,) integer number of each vector's photograph; only where the codec keeps
            something of each.
        moments: (photographs, 2, C) float16 mean and spread of each channel.
    """

    values: Tensor
    fingerprint: str
    images: Tensor | None = None
    moments: Tensor | None = None

    def __len__(self) -> int:
        return len(self.values)

    def to(self, device: torch.device | str) -> Codes:
        """Return the codes on a device."""
        beside = (one if one is None else one.to(device) for one in (self.images, self.moments))
        return Codes(self.values.to(device), self.fingerprint, *beside)


class Codec(ABC):
    """A fitted codec; works on the device of its state.

    Args:
        spec: Which codec.
        channels: Length of the vectors.
        state: What the fit found, by name; floating or integer tensors.
    """

    def __init__(self, spec: CodecSpec, channels: int, state: Mapping[str, Tensor]) -> None:
        self.spec, self.channels = spec, channels
        self.state = dict(state)
        digest = hashlib.sha256(f"{spec.name}/{channels}".encode())
        for name, value in sorted(self.state.items()):
            digest.update(f"{name}{tuple(value.shape)}{value.dtype}".encode())
            digest.update(value.detach().cpu().contiguous().numpy().tobytes())
        self.fingerprint = digest.hexdigest()[:16]

    @property
    def bytes_per_vector(self) -> int:
        """Bytes of one vector."""
        return self.spec.bytes_per_vector(self.channels)

    def to(self, device: torch.device | str) -> Self:
        """Return the codec with its state on a device."""
        return type(self)(
            self.spec, self.channels, {n: value.to(device) for n, value in self.state.items()}
        )

    @torch.no_grad()
    def encode(self, vectors: Tensor, images: Tensor | None = None) -> Codes:
        """Encode vectors.

        Args:
            vectors: (n, C) float, on the codec's device.
            images: (n,) integers from 0, the photograph of each vector, for a codec that keeps
                something of each; None: all are of one. Fast where those of one follow each other.

        Raises:
            CodecError: Another number of channels, or values that are not finite.
        """
        if vectors.ndim != 2 or vectors.shape[1] != self.channels:
            raise CodecError(
                f"codec {self.spec.name} was fitted for {self.channels} channels, found vectors of "
                f"shape {tuple(vectors.shape)}"
            )
        if not bool(torch.isfinite(vectors).all()):
            raise CodecError("vectors hold NaN or infinite values, which no codec can keep")
        return self._encode_all(vectors.float(), images)

    @torch.no_grad()
    def decode(self, codes: Codes) -> Tensor:
        """Decode vectors.

        Args:
            codes: Codes of this fit, on the codec's device.

        Returns:
            (n, C) float32.

        Raises:
            CodecError: Codes of another fit, or of another number of bytes.
        """
        if codes.fingerprint != self.fingerprint:
            raise CodecError(
                f"these codes are of the fit {codes.fingerprint}, this codec is {self.spec.name} "
                f"fit {self.fingerprint}: take the codebook that was stored with them, or encode "
                "again"
            )
        values = codes.values
        if values.dtype != torch.uint8 or values.shape[1:] != (self.bytes_per_vector,):
            raise CodecError(
                f"codes of {self.spec.name} are (n, {self.bytes_per_vector}) bytes, found "
                f"{tuple(values.shape)} {values.dtype}"
            )
        return self._decode_all(codes)

    @abstractmethod
    def _encode_all(self, vectors: Tensor, images: Tensor | None) -> Codes: ...

    @abstractmethod
    def _decode_all(self, codes: Codes) -> Tensor: ...

    def to_json(self) -> dict[str, Any]:
        """Return the codec as JSON values, for what a stage's ``fit`` gives."""
        return {
            "codec": self.spec.name,
            "channels": self.channels,
            "fingerprint": self.fingerprint,
            "state": {name: _tensor_json(value) for name, value in self.state.items()},
        }


class VectorCodec(Codec):
    """A codec that sees each vector alone."""

    def _encode_all(self, vectors: Tensor, images: Tensor | None) -> Codes:
        return Codes(self._encode(vectors), self.fingerprint)

    def _decode_all(self, codes: Codes) -> Tensor:
        return self._decode(codes.values)

    @abstractmethod
    def _encode(self, vectors: Tensor) -> Tensor: ...

    @abstractmethod
    def _decode(self, codes: Tensor) -> Tensor: ...


def transcode(codes: Codes, source: Codec, target: Codec, images: Tensor | None = None) -> Codes:
    """Return stored codes in another codec, without the network that made the features.

    Args:
        codes: The codes.
        source: The codec that they are of.
        target: The codec wanted.
        images: (n,) photograph of each vector, where they do not say it and the target asks.
    """
    return target.encode(source.decode(codes), codes.images if images is None else images)


def as_bytes(values: Tensor) -> Tensor:
    """Return (n, k) values of any type as (n, bytes) uint8."""
    return values.contiguous().view(torch.uint8)


def of_bytes(codes: Tensor, dtype: torch.dtype) -> Tensor:
    """Return (n, bytes) uint8 as (n, k) values of a type."""
    return codes.contiguous().view(dtype)


def _tensor_json(value: Tensor) -> dict[str, Any]:
    array = value.detach().cpu().contiguous().numpy()
    content = base64.b64encode(array.tobytes()).decode()
    return {"dtype": str(array.dtype), "shape": list(array.shape), "base64": content}


def tensor_of_json(stored: Mapping[str, Any]) -> Tensor:
    """Return a tensor of `Codec.to_json`."""
    content = np.frombuffer(base64.b64decode(stored["base64"]), dtype=np.dtype(stored["dtype"]))
    return torch.from_numpy(content.reshape(stored["shape"]).copy())
