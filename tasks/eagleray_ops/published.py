"""Published results of OPS and of what it was compared with: mean IoU in percent.

The paper's full tables could not be read; what stands here was quoted by others or is in its
abstract. Differences that the abstract states are no results, and are told in protocols alone.
"""

from __future__ import annotations

from collections.abc import Mapping

from eagleray.task import PublishedResult

_QUOTED = "arXiv 2601.07447, table {}, quoting the paper"
_SUPERVISED = "README of 360BEV (supervised on the same data)"
_TITLE = "OOOPS"


def _rows(table: int, values: dict[str, float]) -> tuple[PublishedResult, ...]:
    source = _QUOTED.format(table)
    return tuple(
        PublishedResult("miou", value, source, model=model) for model, value in values.items()
    )


STANFORD2D3D: tuple[PublishedResult, ...] = (
    *_rows(1, {"CAT-Seg": 39.6, "OpenSeeD": 40.0, _TITLE: 42.6}),
    PublishedResult("miou", 54.3, _SUPERVISED, model="360BEV, supervised", recalled=True),
)
"""Stanford2D3D, mean of the three folds."""

MATTERPORT3D: tuple[PublishedResult, ...] = (
    *_rows(2, {"CAT-Seg": 31.1, "OpenSeeD": 31.6, _TITLE: 32.5}),
    PublishedResult("miou", 46.35, _SUPERVISED, model="360BEV, supervised", recalled=True),
)
"""Matterport3D (360FV)."""

WILDPASS: tuple[PublishedResult, ...] = ()
"""WildPASS: no number of its own could be read."""

WILDPASS_NOTE = (
    "Published: with RERP 2.2 points of mean IoU above the best open-vocabulary method before "
    "(abstract); the numbers themselves could not be read."
)
STANFORD2D3D_NOTE = (
    "Published: with RERP 2.4 points of mean IoU above the best open-vocabulary method before "
    "(abstract)."
)

PUBLISHED: Mapping[str, tuple[PublishedResult, ...]] = {
    "stanford2d3d": STANFORD2D3D,
    "matterport3d": MATTERPORT3D,
    "wildpass": WILDPASS,
}
"""Results by the benchmark's name."""
