"""The published Seamless network and the backbones it starts from, for ``eagleray download``."""

from __future__ import annotations

from eagleray.task import Download
from eagleray_seamseg.model.config import RESNET_DEPTHS
from eagleray_vision.downloads import torchvision_download

_PUBLISHED = "https://drive.google.com/file/d/1ULhd_CZ24L8FnI9lZ2H6Xuf03n6NA_-Y/view"

PUBLISHED_NETWORK = Download(
    name="seamseg_vistas_r50",
    summary="Seamless, ResNet-50, Mapillary Vistas, 37.99 PQ: weights, configuration, class list",
    url=_PUBLISHED,
    license="CC BY-NC-SA 4.0",
    file="seamseg_r50_vistas.zip",
    checksum="md5:7046e54e54e9dcc38060b150e97f4a5a",
    by_hand=f"open {_PUBLISHED} with a browser (Google Drive) and save the zip file",
    is_archive=True,
)
"""As the authors' README names it (md5 and PQ from there)."""

DOWNLOADS = (
    PUBLISHED_NETWORK,
    *(torchvision_download(name) for name in (*RESNET_DEPTHS, "mobilenet_v2")),
)


def download_hint(backbone: str) -> str:
    """Return which command fetches the weights of a backbone, empty where there is none."""
    names = [download.name for download in DOWNLOADS]
    name = f"torchvision_{backbone}"
    return f"; eagleray download {name} fetches some" if name in names else ""
