"""One frame to be rendered: what the items of the stage say, whatever the format."""

from __future__ import annotations

from dataclasses import dataclass

CITY = "toy"
"""City in the names of generated street frames."""


@dataclass(frozen=True, kw_only=True)
class FrameJob:
    """One frame to be rendered.

    Attributes:
        key: Record key, ``<city>_<scene>_<frame>``.
        scene_idx: Scene number.
        frame_idx: Frame number within the scene.
    """

    key: str
    scene_idx: int
    frame_idx: int
