"""Published results of POP-3D, in percent (docs/originals/pop3d.md, section 16)."""

from __future__ import annotations

from collections.abc import Mapping

from eagleray.task import PublishedResult

_README = "README of the released code"
_LANGOCC = "LangOcc (3DV 2025), on the same files; it scores by cosine and drops points outside"
_OCCANY = "OccAny, supplement, table 8"

OCCUPANCY = (PublishedResult("miou_17", 16.658, _README, model="POP-3D"),)
"""nuScenes val, 17 classes with free space."""


def _retrieval(all_points: float, visible: float, targets: float) -> tuple[PublishedResult, ...]:
    return (
        PublishedResult("map", all_points, _README, model="POP-3D"),
        PublishedResult("map_visible", visible, _README, model="POP-3D"),
        PublishedResult("map_visible", targets, _README, model="MaskCLIP+ (targets)"),
    )


RETRIEVAL: Mapping[str, tuple[PublishedResult, ...]] = {
    "train": _retrieval(15.3, 15.6, 13.5),
    "val": _retrieval(24.1, 24.7, 18.7),
    "test": _retrieval(12.6, 13.6, 12.0),
    "valtest": (
        *_retrieval(17.5, 18.4, 14.9),
        PublishedResult("map", 21.7, _LANGOCC, model="LangOcc"),
        PublishedResult("map_visible", 22.7, _LANGOCC, model="LangOcc"),
    ),
}
"""Mean average precision over the queries of a split."""

RETRIEVAL_TARGETS: Mapping[str, tuple[PublishedResult, ...]] = {
    name: tuple(one for one in rows if one.model.startswith("MaskCLIP+"))
    for name, rows in RETRIEVAL.items()
}
"""The rows of the target features, which stand beside the network's, too."""

OCC3D = (
    PublishedResult("miou", 9.31, _OCCANY, model="POP-3D"),
    PublishedResult("geometric_iou", 28.17, _OCCANY, model="POP-3D"),
)
"""Occ3D-nuScenes val, in the cameras' mask."""
