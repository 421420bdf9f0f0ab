"""The published networks and the backbones they start from, for ``eagleray download``."""

from __future__ import annotations

from eagleray.task import Download

_LICENSE = (
    "GPL-3.0 for academic use; for commercial use the authors ask for an agreement (README of the "
    "released code)"
)


def _published(name: str, summary: str, url: str, file: str) -> Download:
    return Download(
        name=name,
        summary=summary,
        url=url,
        license=_LICENSE,
        file=file,
        by_hand=f"open {url} with a browser (Dropbox) and save the zip file",
        is_archive=True,
    )


def _timm(size: str, file: str) -> Download:
    """Return the ImageNet weights of the released configuration; digits of its name's checksum."""
    return Download(
        name=f"timm_tf_efficientnet_{size}",
        summary=f"EfficientNet-{size.upper()}, trained on ImageNet with RandAugment (timm)",
        url=f"https://github.com/rwightman/pytorch-image-models/releases/download/v0.1-weights/{file}",
        license="Apache-2.0 (timm); ImageNet's terms of access bind its use",
        file=file,
        checksum=f"sha256:{file.removesuffix('.pth').rpartition('-')[2]}",
    )


DOWNLOADS = (
    _published(
        "efficientps_cityscapes",
        "EfficientPS, Cityscapes, 64.4 PQ",
        "https://www.dropbox.com/s/zihqct9zum8eq66/efficientPS_cityscapes.zip?dl=0",
        "efficientPS_cityscapes.zip",
    ),
    _published(
        "efficientps_kitti",
        "EfficientPS, KITTI panoptic, 42.5 PQ (users report near-random results: issue 44)",
        "https://www.dropbox.com/s/4z3qiaew8qq7y8n/efficientPS_kitti.zip?dl=0",
        "efficientPS_kitti.zip",
    ),
    _timm("b5", "tf_efficientnet_b5_ra-9a3e5369.pth"),
)
"""Networks as the README of the released code links them (weights of Vistas and IDD were never
published), and the file that its code names for the backbone."""


def download_hint(backbone: str) -> str:
    """Return which command fetches the weights of a backbone, empty where there is none."""
    name = f"timm_tf_{backbone}"
    there = name in [download.name for download in DOWNLOADS]
    return f"; eagleray download {name} fetches some" if there else ""
