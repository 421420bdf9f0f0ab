"""Which codec: a short name with the number that matters, and the bytes that follow from it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from eagleray.task import SettingsError

KINDS = {
    "fp32": "as they are",
    "fp16": "half precision",
    "uint8": "8 bits with a scale per vector",
    "pcaN": "N principal components, half precision",
    "pcaNu8": "N principal components, 8 bits",
    "pqN": "product quantization, N parts of 8 bits",
    "opqN": "the same after a learned rotation",
    "ipqN": "the same around each photograph's own mean and spread, which are stored beside",
}
"""Names and what they mean."""
_NAME = re.compile(r"(?P<kind>fp32|fp16|uint8|pca|pq|opq|ipq)(?P<size>[1-9][0-9]*)?(?P<bits>u8)?")


@dataclass(frozen=True)
class CodecSpec:
    """A codec before it is fitted.

    Attributes:
        kind: ``fp32``, ``fp16``, ``uint8``, ``pca``, ``pq``, ``opq`` or ``ipq``.
        size: Components or parts; 0 where the codec has none.
        is_8_bit: Principal components in 8 bits.
    """

    kind: str
    size: int = 0
    is_8_bit: bool = False

    @property
    def name(self) -> str:
        """The name that `parse_codec` reads."""
        return f"{self.kind}{self.size or ''}{'u8' if self.is_8_bit else ''}"

    @property
    def is_per_image(self) -> bool:
        """Whether something of each photograph is stored beside the codes of its vectors."""
        return self.kind == "ipq"

    def bytes_per_image(self, channels: int) -> int:
        """Return the bytes of a photograph beside its vectors: mean and spread of each channel."""
        return 2 * 2 * channels if self.is_per_image else 0

    def bytes_per_vector(self, channels: int, *, is_signed: bool = False) -> int:
        """Return the bytes of one vector.

        Args:
            channels: Length of the vectors.
            is_signed: Whether values may be below 0; ``uint8`` then stores an offset too.
        """
        return {
            "fp32": 4 * channels,
            "fp16": 2 * channels,
            "uint8": channels + (4 if is_signed else 2),
            "pca": self.size * (1 if self.is_8_bit else 2),
        }.get(self.kind, self.size)

    def check(self, channels: int) -> None:
        """Refuse more components or parts than there are channels.

        Raises:
            SettingsError: There are more.
        """
        if self.size > channels:
            raise SettingsError(
                f"codec {self.name} asks for {self.size} of {channels} channels; give at most "
                f"{channels}"
            )


def parse_codec(name: str) -> CodecSpec:
    """Return the codec of a name such as ``fp16``, ``pca128``, ``pca128u8``, ``pq64``, ``opq50``.

    Raises:
        SettingsError: No such codec.

    Example:
        >>> parse_codec("pq64").bytes_per_vector(512)
        64
    """
    match = _NAME.fullmatch(name)
    needs_size = match is not None and match["kind"] in ("pca", "pq", "opq", "ipq")
    if (
        match is None
        or needs_size != (match["size"] is not None)
        or (match["bits"] is not None and match["kind"] != "pca")
    ):
        allowed = "; ".join(f"{key}: {meaning}" for key, meaning in KINDS.items())
        raise SettingsError(f"codec {name!r} does not exist; allowed are {allowed}")
    return CodecSpec(match["kind"], int(match["size"] or 0), match["bits"] is not None)
