"""Fit a codec on a sample of vectors, or take up one that was stored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from eagleray_vision.codecs.codec import Codec, CodecError, tensor_of_json
from eagleray_vision.codecs.image_product import (
    ImageProductCodec,
    fit_image_product,
    normalize_images,
)
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
    "ipq": ImageProductCodec,
}
MAX_SAMPLE = 1 << 16
"""Vectors that a fit uses at most: 256 per center of a codebook. Of 256 channels in 50 parts a core
takes 45 s, with a rotation some minutes."""


def fit_codec(
    spec: CodecSpec | str, sample: Tensor, *, images: Tensor | None = None, seed: int = 0
) -> Codec:
    """Fit a codec on the CPU; the same sample and seed give the same state.

    Args:
        spec: Which codec, or its name.
        sample: (n, C) vectors; of more than `MAX_SAMPLE` a random part is used.
        images: (n,) integers from 0, the photograph of each vector, for a codec that keeps
            something of each; None: all are of one.
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
    if spec.is_per_image:
        normalized = normalize_images(values, None if images is None else images.cpu())
        some, spreads = (_some(one, seed) for one in normalized)
        is_signed = bool((values < 0).any())
        state = fit_image_product(some, spreads, spec.size, is_signed=is_signed, seed=seed)
    else:
        state = _state(spec, _some(values, seed), seed)
    return _CLASSES[spec.kind](spec, values.shape[1], state)


def _some(values: Tensor, seed: int) -> Tensor:
    if len(values) <= MAX_SAMPLE:
        return values
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randperm(len(values), generator=generator)[:MAX_SAMPLE]
    return values[chosen.sort().values]


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
