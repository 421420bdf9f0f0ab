"""Published results of EfficientPS, in percent; single scale unless the model says otherwise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from eagleray.task import PublishedResult

_README = "README of the released code"
_TOOLKIT = "documentation of the OpenDR toolkit"
_PAPER = "paper (IJCV 2021), from memory"
_AGGREGATOR = "benchmark aggregator's page of the paper"
_USER = "README of an independent re-implementation (vincrichard/EfficientPS)"

_METRICS = ("pq", "pq_things", "pq_stuff", "cityscapes_ap", "miou")


def _row(
    model: str, values: Sequence[float], source: str, *, recalled: bool
) -> tuple[PublishedResult, ...]:
    """Return PQ, PQ of things and stuff, AP and mean IoU of one line of a table."""
    return tuple(
        PublishedResult(metric, value, source, model=model, recalled=recalled)
        for metric, value in zip(_METRICS, values, strict=True)
    )


_RELEASED, _MULTI = "released weights", "multi-scale and flip"

CITYSCAPES_VAL: tuple[PublishedResult, ...] = (
    PublishedResult("pq", 64.4, _README, model=_RELEASED),
    PublishedResult("sq", 81.8, _TOOLKIT, model=_RELEASED),
    PublishedResult("rq", 77.7, _TOOLKIT, model=_RELEASED),
    *_row("fine labels only", (63.9, 60.7, 66.2, 38.3, 79.3), _PAPER, recalled=True),
    *_row("Vistas before", (66.1, 62.7, 68.5, 41.9, 81.0), _PAPER, recalled=True),
    PublishedResult("pq", 45.4, _USER, model="one GPU, 512 x 1024, 21 epochs"),
    PublishedResult("sq", 75.4, _USER, model="one GPU, 512 x 1024, 21 epochs"),
    PublishedResult("rq", 57.9, _USER, model="one GPU, 512 x 1024, 21 epochs"),
    PublishedResult("pq_things", 34.4, _USER, model="one GPU, 512 x 1024, 21 epochs"),
    PublishedResult("pq_stuff", 53.4, _USER, model="one GPU, 512 x 1024, 21 epochs"),
)
"""Cityscapes, validation. (The paper's test results, PQ 62.9 and 67.1, are not comparable.)"""

CITYSCAPES_VAL_MULTI: tuple[PublishedResult, ...] = (
    PublishedResult("pq", 64.9, _AGGREGATOR, model=f"fine labels only, {_MULTI}"),
    PublishedResult("pq_things", 61.0, _AGGREGATOR, model=f"fine labels only, {_MULTI}"),
    PublishedResult("pq_stuff", 67.7, _AGGREGATOR, model=f"fine labels only, {_MULTI}"),
    PublishedResult("cityscapes_ap", 39.1, _AGGREGATOR, model=f"fine labels only, {_MULTI}"),
    PublishedResult("miou", 80.3, _PAPER, model=f"fine labels only, {_MULTI}", recalled=True),
    *_row(f"Vistas before, {_MULTI}", (67.5, 63.2, 70.3, 43.5, 82.1), _AGGREGATOR, recalled=False),
)
"""Cityscapes, validation, multi-scale and flip. (The aggregator prints 90.3 as mean IoU.)"""

KITTI_VAL: tuple[PublishedResult, ...] = (
    PublishedResult("pq", 42.5, _README, model=_RELEASED),
    PublishedResult("sq", 77.2, _TOOLKIT, model=_RELEASED),
    PublishedResult("rq", 53.1, _TOOLKIT, model=_RELEASED),
    *_row("KITTI alone", (42.9, 30.4, 52.0, 27.1, 55.3), _PAPER, recalled=True),
)
"""KITTI panoptic, validation. (The toolkit's SQ contradicts the paper's 72 to 73.)"""

KITTI_VAL_MULTI = _row(_MULTI, (43.7, 30.9, 53.1, 27.9, 56.4), _PAPER, recalled=True)
VISTAS_VAL = _row("", (38.3, 33.9, 44.2, 18.7, 52.6), _PAPER, recalled=True)
VISTAS_VAL_MULTI = _row(_MULTI, (40.5, 35.0, 47.7, 20.8, 54.1), _PAPER, recalled=True)
IDD_VAL = _row("", (50.1, 50.7, 49.8, 31.6, 68.2), _PAPER, recalled=True)
IDD_VAL_MULTI = _row(_MULTI, (51.1, 51.8, 50.7, 32.4, 69.0), _PAPER, recalled=True)

SINGLE_SCALE: Mapping[str, tuple[PublishedResult, ...]] = {
    "cityscapes": CITYSCAPES_VAL,
    "kitti": KITTI_VAL,
    "vistas": VISTAS_VAL,
    "idd": IDD_VAL,
}
"""Validation results by data format."""

MULTI_SCALE: Mapping[str, tuple[PublishedResult, ...]] = {
    "cityscapes": CITYSCAPES_VAL_MULTI,
    "kitti": KITTI_VAL_MULTI,
    "vistas": VISTAS_VAL_MULTI,
    "idd": IDD_VAL_MULTI,
}
"""Validation results with several scales and mirror images by data format."""
