"""Published files that several tasks use, for ``eagleray download``."""

from __future__ import annotations

import re
from typing import Any

from torchvision import models

from eagleray.task import Download

_DIGITS = re.compile(r"-([0-9a-f]{8})\.pth$")
"""torchvision puts the first digits of the SHA-256 into a file's name."""
_BYTES_PER_MIB = 1 << 20


def torchvision_download(name: str) -> Download:
    """Return torchvision's first ImageNet weights of a network (the ones that the papers used).

    Args:
        name: torchvision's name of the network (``resnet50``).

    Raises:
        ValueError: torchvision has no such network.

    Example:
        >>> torchvision_download("resnet50").checksum
        'sha256:0676ba61'
    """
    weights: Any = models.get_model_weights(name)["IMAGENET1K_V1"]
    file = weights.url.rpartition("/")[2]
    digits = _DIGITS.search(file)
    return Download(
        name=f"torchvision_{name}",
        summary=f"{name}, trained on ImageNet (torchvision, IMAGENET1K_V1)",
        url=weights.url,
        license="BSD-3-Clause (torchvision); ImageNet's terms of access bind its use",
        file=file,
        checksum=f"sha256:{digits[1]}" if digits else "",
        num_bytes=round(weights.meta["_file_size"] * _BYTES_PER_MIB),
    )
