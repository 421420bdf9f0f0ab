"""Published results, in percent or dB.

``recalled`` marks what was not read in the paper itself.
"""

from __future__ import annotations

from eagleray.task import PublishedResult

_WILDSEG = "comparison table of WildSeg3D, arXiv 2503.08407"
_MV_SAM = "table 2 of MV-SAM, arXiv 2601.17866"
_SAGONLINE = "table I of SAGOnline"
_PAPER = "OmniSeg3D, arXiv 2311.11666, quoted from memory"
_NGP_PL = "README of ngp_pl (kwea123), one RTX 2080 Ti"

REPLICA_INSTANCES: tuple[PublishedResult, ...] = (
    PublishedResult("miou", 84.4, _PAPER, model="OmniSeg3D", recalled=True),
    PublishedResult("miou", 83.0, _PAPER, model="SA3D", recalled=True),
    PublishedResult("miou", 32.4, _PAPER, model="MVSeg", recalled=True),
)
"""Replica instances, mean over 8 scenes."""

SYNTHETIC_NERF: tuple[PublishedResult, ...] = (
    PublishedResult("psnr", 32.96, _NGP_PL, model="Instant-NGP, mean over 8 scenes"),
    PublishedResult("ssim", 0.960, _NGP_PL, model="Instant-NGP, mean over 8 scenes"),
)
"""Synthetic-NeRF test views: the color phase's target."""

NVOS: tuple[PublishedResult, ...] = (
    PublishedResult("miou", 91.7, _WILDSEG, model="OmniSeg3D", recalled=True),
    PublishedResult("accuracy", 98.4, _WILDSEG, model="OmniSeg3D", recalled=True),
    PublishedResult("miou", 90.3, _WILDSEG, model="SA3D", recalled=True),
    PublishedResult("miou", 90.9, _WILDSEG, model="SAGA", recalled=True),
    PublishedResult("miou", 92.8, _MV_SAM, model="OmniSeg3D, without orchids", recalled=True),
)
"""NVOS on LLFF scenes (scribble prompts). Protocols with and without orchids must not be mixed."""

SPIN_NERF: tuple[PublishedResult, ...] = (
    PublishedResult("miou", 94.5, _MV_SAM, model="OmniSeg3D, without pinecone", recalled=True),
    PublishedResult("accuracy", 99.3, _MV_SAM, model="OmniSeg3D, without pinecone", recalled=True),
    PublishedResult("miou", 95.2, _SAGONLINE, model="OmniSeg3D, perhaps Gaussian", recalled=True),
    PublishedResult("miou", 94.3, _PAPER, model="OmniSeg3D", recalled=True),
)
"""SPIn-NeRF's multi-view set. Three papers give three values: a point is protocol noise."""
