"""What a codec loses, measured on vectors that it was not fitted on."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from eagleray_vision.codecs.codec import Codec


@dataclass(frozen=True)
class CodecReport:
    """Errors of a codec.

    Attributes:
        codec: Its name.
        bytes_per_vector: Bytes stored.
        bytes_per_image: Bytes stored of each photograph beside its vectors.
        share_of_fp32: All of them as a share of 4 bytes per channel.
        mean_cosine: Mean cosine of a vector and its decoded self; vectors of length 0 left out.
        cosine_p5: Its 5th percentile.
        relative_mse: Squared error over the variance about the mean vector.
        agreement: Share of vectors whose best text is the same; None without texts.
        num_vectors: How many were measured.
    """

    codec: str
    bytes_per_vector: int
    bytes_per_image: int
    share_of_fp32: float
    mean_cosine: float
    cosine_p5: float
    relative_mse: float
    agreement: float | None
    num_vectors: int

    def values(self) -> dict[str, Any]:
        """Return the fields by name."""
        return asdict(self)


@torch.no_grad()
def measure_codec(
    codec: Codec, vectors: Tensor, texts: Tensor | None = None, images: Tensor | None = None
) -> CodecReport:
    """Measure a codec.

    Args:
        codec: The codec.
        vectors: (n, C) vectors of images that nothing was fitted on, n > 0.
        texts: (K, C) text vectors in the same space, for the agreement of the best text.
        images: (n,) integers from 0, the photograph of each vector; None: all are of one.
    """
    vectors = vectors.float()
    codes = codec.encode(vectors, images)
    decoded = codec.decode(codes)
    stored = codes.values.numel() + (0 if codes.moments is None else codes.moments.nbytes)
    cosine = F.cosine_similarity(vectors, decoded, dim=1)
    cosine = cosine[vectors.norm(dim=1) > 0]
    error = (decoded - vectors).double().square().sum()
    spread = (vectors - vectors.mean(dim=0)).double().square().sum()
    agreement = None
    if texts is not None:
        best = ((one @ texts.T).argmax(dim=1) for one in (vectors, decoded))
        agreement = float(next(best).eq(next(best)).float().mean())
    return CodecReport(
        codec=codec.spec.name,
        bytes_per_vector=codec.bytes_per_vector,
        bytes_per_image=codec.spec.bytes_per_image(codec.channels),
        share_of_fp32=stored / vectors.nbytes,
        mean_cosine=float(cosine.mean()) if len(cosine) else 1.0,
        cosine_p5=float(cosine.quantile(0.05)) if len(cosine) else 1.0,
        relative_mse=float(error / spread) if spread > 0 else 0.0,
        agreement=agreement,
        num_vectors=len(vectors),
    )
