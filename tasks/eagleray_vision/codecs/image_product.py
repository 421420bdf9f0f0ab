"""Product quantization around each photograph's own mean and spread.

A network adds something of the whole picture to every feature, and pictures of another kind have
another mean: most of what a codebook of other pictures does not know is alike for all vectors of
one. So centers say where a vector lies about its photograph's mean, in spreads of each channel. A
photograph thereby has a codebook of its own, and decoding and products with texts stay sums of
looked-up numbers.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from eagleray_kernels import pq_decode
from eagleray_vision.codecs.codec import Codec, CodecError, Codes
from eagleray_vision.codecs.product import (
    CHUNK,
    cut_parts,
    fit_product,
    nearest_centers,
)


class ImageProductCodec(Codec):
    """State: ``centers`` and ``places`` as a `ProductCodec` has them, and ``is_signed``: features
    that are never negative are decoded so.
    """

    def _encode_all(self, vectors: Tensor, images: Tensor | None) -> Codes:
        if not bool(self.state["is_signed"]) and bool((vectors < 0).any()):
            raise CodecError(
                f"this {self.spec.name} codec was fitted on features that are never negative, "
                f"found {float(vectors.min()):.4g}; fit it on a sample of these"
            )
        images = numbers_of_images(vectors, images)
        moments = image_moments(vectors, images)
        found = [vectors.new_zeros((0, self.spec.size), dtype=torch.uint8)]
        for number, own in _by_image(vectors, images):
            centers = self.image_centers(moments[number])
            for part in torch.split(own, CHUNK):
                nearest = nearest_centers(cut_parts(part, self.state["places"], centers), centers)
                found.append(nearest.T.to(torch.uint8))
        return Codes(torch.cat(found), self.fingerprint, images, moments)

    def _decode_all(self, codes: Codes) -> Tensor:
        images, moments = codes.images, codes.moments
        if images is None or moments is None or images.shape != codes.values.shape[:1]:
            raise CodecError(
                f"codes of {self.spec.name} mean nothing without the photograph of each vector and "
                "the mean and spread of each photograph, which are stored beside them"
            )
        count = int(images.max()) + 1 if len(images) else 0
        if moments.shape[1:] != (2, self.channels) or len(moments) < count:
            raise CodecError(
                f"codes of {self.spec.name} of {count} photographs need (photographs, 2, "
                f"{self.channels}) moments, found {tuple(moments.shape)}"
            )
        decoded = moments.new_empty((len(images), self.channels), dtype=torch.float32)
        first = 0
        for number, own in _by_image(codes.values, images):
            centers = self.image_centers(moments[number])
            place = decoded[first : first + len(own)]
            if centers.shape[0] * centers.shape[2] == self.channels:
                pq_decode(own, centers, out=place)
            else:
                place.copy_(pq_decode(own, centers).index_select(1, self.state["places"]))
            first += len(own)
        return decoded

    def image_centers(self, moments: Tensor) -> Tensor:
        """Return the codebook (M, 256, d) of a photograph.

        Args:
            moments: (2, C) its mean and spread.
        """
        centers = self.state["centers"]
        mean, spread = cut_parts(moments.float(), self.state["places"], centers).unbind(dim=1)
        own = torch.addcmul(mean[:, None], spread[:, None], centers)
        return own if bool(self.state["is_signed"]) else own.clamp(min=0)

    def score_tables(self, moments: Tensor, vector: Tensor) -> Tensor:
        """Return (photographs, M, 256): by the table of its photograph, ``pq_scores`` gives the
        products of decoded vectors with a text.

        Args:
            moments: (photographs, 2, C).
            vector: (C,) of the text.
        """
        centers = self.state["centers"]
        parts = cut_parts(vector.float()[None], self.state["places"], centers)[:, 0]
        found = [torch.einsum("mkd,md->mk", self.image_centers(one), parts) for one in moments]
        return torch.stack(found) if found else centers.new_zeros((0, *centers.shape[:2]))


def fit_image_product(
    sample: Tensor, normalized: Tensor, num_parts: int, *, seed: int
) -> dict[str, Tensor]:
    """Return the state of an `ImageProductCodec`.

    Args:
        sample: (n, C) float32 on the CPU.
        normalized: (m, C) some or all of it, about each photograph's mean and over its spread.
        num_parts: Bytes of a vector.
        seed: Of the first centers.
    """
    state = fit_product(normalized, num_parts, rotate=False, seed=seed)
    return state | {"is_signed": (sample < 0).any()}


def normalize_images(vectors: Tensor, images: Tensor | None) -> Tensor:
    """Return (n, C) vectors about the means of their photographs and over their spreads."""
    images = numbers_of_images(vectors, images)
    mean, spread = image_moments(vectors, images).float().unbind(dim=1)
    spread = spread[images]
    return torch.where(spread > 0, (vectors - mean[images]) / spread, 0.0)


def image_moments(vectors: Tensor, images: Tensor) -> Tensor:
    """Return (photographs, 2, C) float16 mean and root mean square distance from it.

    Raises:
        CodecError: They do not fit in half precision.
    """
    count = int(images.max()) + 1 if len(images) else 0
    found = vectors.new_zeros((count, 2, vectors.shape[1]), dtype=torch.float16)
    # One by one, since sums over an index come in another order each time on a GPU.
    for number in range(count):
        own = vectors[images == number].double()
        if len(own):
            found[number, 0] = own.mean(dim=0).half()
            found[number, 1] = (own - found[number, 0]).square().mean(dim=0).sqrt().half()
    if not bool(torch.isfinite(found).all()):
        raise CodecError("means beyond 65504 do not fit in half precision; use fp32")
    return found


def numbers_of_images(vectors: Tensor, images: Tensor | None) -> Tensor:
    """Return (n,) int64 the photograph of each vector; 0 where none is said.

    Raises:
        CodecError: Another shape, or a number below 0.
    """
    if images is None:
        return torch.zeros(len(vectors), dtype=torch.int64, device=vectors.device)
    if images.shape != (len(vectors),) or bool((images < 0).any()):
        raise CodecError(
            f"photographs of {len(vectors)} vectors are as many numbers from 0, found "
            f"{tuple(images.shape)} {images.dtype}"
        )
    return images.to(vectors.device, torch.int64)


def _by_image(values: Tensor, images: Tensor) -> Iterator[tuple[int, Tensor]]:
    """Yield the number of a photograph and its rows, for each run of rows of one."""
    numbers, counts = torch.unique_consecutive(images, return_counts=True)
    yield from zip(numbers.tolist(), torch.split(values, counts.tolist()), strict=True)
