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
    LLOYD_ROUNDS,
    NUM_CENTERS,
    cut_parts,
    first_centers,
    nearest_centers,
    part_places,
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
    normalized: Tensor, spreads: Tensor, num_parts: int, *, is_signed: bool, seed: int
) -> dict[str, Tensor]:
    """Return the state of an `ImageProductCodec`.

    Args:
        normalized: (n, C) float32 on the CPU, vectors as `normalize_images` gives them.
        spreads: (n, C) what they were divided by.
        num_parts: Bytes of a vector.
        is_signed: Whether features may be negative.
        seed: Of the first centers.
    """
    channels = normalized.shape[1]
    places = part_places(channels, num_parts)
    like = torch.empty((num_parts, NUM_CENTERS, -(-channels // num_parts)))
    parts, scales = (cut_parts(one, places, like) for one in (normalized, spreads))
    centers = first_centers(parts, torch.Generator().manual_seed(seed))
    centers = _scaled_k_means(parts, scales.square(), centers)
    return {"centers": centers, "places": places, "is_signed": torch.tensor(is_signed)}


def _scaled_k_means(parts: Tensor, weights: Tensor, centers: Tensor) -> Tensor:
    """Return centers (M, K, d) after Lloyd's algorithm on (M, n, d) parts, where the channels of
    each vector weigh as they do in its photograph: what is small is the error of features, not of
    features over their spreads.
    """
    num_parts, count, size = centers.shape
    sums, totals = parts * weights, weights.reshape(-1, size).double()
    for _ in range(LLOYD_ROUNDS):
        nearest = torch.stack(
            [
                torch.addmm(weight @ own.square().T, product, own.T, alpha=-2.0).argmin(dim=1)
                for weight, product, own in zip(weights, sums, centers, strict=True)
            ]
        )
        at = (nearest + count * torch.arange(num_parts)[:, None]).reshape(-1)
        zeros = torch.zeros((num_parts * count, size), dtype=torch.float64)
        total = zeros.index_add(0, at, totals)
        means = zeros.index_add(0, at, sums.reshape(-1, size).double()) / total.clamp(min=1e-30)
        before = centers.reshape(-1, size)
        centers = torch.where(total > 0, means.float(), before).reshape_as(centers)
    return centers


def normalize_images(vectors: Tensor, images: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return (n, C) vectors about the means of their photographs and over their spreads, and the
    (n, C) spreads.
    """
    images = numbers_of_images(vectors, images)
    mean, spread = image_moments(vectors, images).float().unbind(dim=1)
    spreads = spread[images]
    return torch.where(spreads > 0, (vectors - mean[images]) / spreads, 0.0), spreads


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
