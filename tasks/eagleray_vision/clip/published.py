"""OpenAI's CLIPs, for ``eagleray download``."""

from __future__ import annotations

from pathlib import PurePosixPath
from urllib.parse import urlparse

import open_clip

from eagleray.task import Download, SettingsError

OPENAI_VITS = ("ViT-B-32", "ViT-B-16", "ViT-L-14", "ViT-L-14-336")
"""OpenAI's CLIPs with vision transformers, by open_clip's names."""


def openai_clip_download(name: str) -> Download:
    """Return OpenAI's archive of a CLIP, which `read_clip` takes as it is.

    Args:
        name: open_clip's name of the network (``ViT-B-16``).

    Raises:
        SettingsError: OpenAI published no such vision transformer.

    Example:
        >>> openai_clip_download("ViT-B-16").file
        'ViT-B-16.pt'
    """
    if name not in OPENAI_VITS:
        raise SettingsError(f"OpenAI published no {name!r}; known are {', '.join(OPENAI_VITS)}")
    url = str(open_clip.get_pretrained_cfg(name, "openai")["url"])
    path = PurePosixPath(urlparse(url).path)
    return Download(
        name=f"openai_clip_{name.lower().replace('-', '_')}",
        summary=f"CLIP {name} (Radford et al. 2021), image and text tower",
        url=url,
        license="MIT (OpenAI)",
        file=path.name,
        checksum=f"sha256:{path.parent.name}",
    )
