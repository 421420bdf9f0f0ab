"""Fit a codec on a sample of vectors, or take up one that was stored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from eagleray_vision.codecs.codec import Codec, CodecError, tensor_of_json
from eagleray_vision.codecs.pca import PcaCodec, fit_pca
from eagleray_vision.codecs.product import ProductCodec, fit_product
from eagleray_vision.codecs.scalar import ByteCodec, PlainCodec
from eagleray_vision.codecs.spec import CodecSpec, parse_codec

_CLASSES: Mapping[str, type[Codec]] = {
    "fp32": PlainCodec,
    "fp16": PlainCodec,
    "uint8": ByteCodec,
    "pca": PcaCodec,
    "pq": ProductCodec,
    "opq": ProductCodec,
}
MAX_SAMPLE = 1 << 16
"""Vectors that a fit uses at most: 256 per center of a codebook. Of 256 channels in 50 parts a core
takes 45 s, with a rotation some minutes."""


def fit_codec(spec: CodecSpec | str, sample: Tensor, *, seed: int = 0) -> Codec:
    """Fit a codec on the CPU; the same sample and seed give the same state.

    Args:
        spec: Which codec, or its name.
        sample: (n, C) vectors; of more than `MAX_SAMPLE` a random part is used.
        seed: Of that part and of the first centers.

    Raises:
        SettingsError: The codec does not exist or does not fit the channels.
        CodecError: The sample is empty or not finite.
    """
    spec = parse_codec(spec) if isinstance(spec, str) else spec
    if sample.ndim != 2 or not len(sample) or not bool(torch.isfinite(sample).all()):
        raise CodecError(
            f"codec {spec.name} is fitted on (n, C) finite vectors, found {tuple(sample.shape)}"
        )
    spec.check(sample.shape[1])
    values = sample.detach().float().cpu()
    if len(values) > MAX_SAMPLE:
        generator = torch.Generator().manual_seed(seed)
        chosen = torch.randperm(len(values), generator=generator)[:MAX_SAMPLE]
        values = values[chosen.sort().values]
    return _CLASSES[spec.kind](spec, values.shape[1], _state(spec, values, seed))


def _state(spec: CodecSpec, sample: Tensor, seed: int) -> dict[str, Tensor]:
    if spec.kind == "uint8":
        return {"is_signed": (sample < 0).any()}
    if spec.kind == "pca":
        return fit_pca(sample, spec.size, is_8_bit=spec.is_8_bit)
    if spec.kind in ("pq", "opq"):
        return fit_product(sample, spec.size, rotate=spec.kind == "opq", seed=seed)
    return {}


def codec_of_json(stored: Mapping[str, Any]) -> Codec:
    """Return the codec of `Codec.to_json`.

    Raises:
        CodecError: Its fingerprint is another one than was stored: the state is damaged.
    """
    spec = parse_codec(str(stored["codec"]))
    state = {name: tensor_of_json(value) for name, value in stored["state"].items()}
    codec = _CLASSES[spec.kind](spec, int(stored["channels"]), state)
    if codec.fingerprint != stored["fingerprint"]:
        raise CodecError(
            f"the stored state of codec {spec.name} has fingerprint {codec.fingerprint}, not "
            f"{stored['fingerprint']}: it is damaged; fit again"
        )
    return codec
