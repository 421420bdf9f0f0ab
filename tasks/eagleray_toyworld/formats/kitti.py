"""Frames in the on-disk format of KITTI panoptic.

training/images/<stem>.png          pictures (validation/... likewise)
training/annotations/<stem>.png     Cityscapes' instance values, R + 256 G + 65536 B
"""

from __future__ import annotations

from eagleray_toyworld.formats.panoptic import LONG_SPLIT, instance_values
from eagleray_toyworld.rendering.render import Frame
from eagleray_vision.panoptic.label_image import encode_png, rgb_ids_png


def kitti_files(frame: Frame, split: str, stem: str, *, min_thing_px: int = 0) -> dict[str, bytes]:
    """Return a frame's two files by relative path.

    Args:
        frame: A rendered street frame.
        split: ``train`` or ``val``.
        stem: File name without suffix.
        min_thing_px: Things of fewer visible pixels become unlabeled.
    """
    folder, values = LONG_SPLIT[split], instance_values(frame, min_thing_px=min_thing_px)
    return {
        f"{folder}/images/{stem}.png": encode_png(frame.rgb),
        f"{folder}/annotations/{stem}.png": rgb_ids_png(values),
    }
