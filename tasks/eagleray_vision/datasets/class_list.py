"""The class list of a checkpoint, by name or out of a file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from eagleray.task import SettingsError
from eagleray_vision.json_file import read_json
from eagleray_vision.panoptic.coco_panoptic import read_coco_panoptic
from eagleray_vision.panoptic.errors import PanopticError, SegmentListError
from eagleray_vision.panoptic.label_space import (
    CITYSCAPES,
    LabelSpace,
    label_space_from_coco,
    label_space_from_vistas,
)


def read_class_list(
    source: str, more: Mapping[str, Callable[[Path], LabelSpace]] | None = None
) -> LabelSpace:
    """Read a class list.

    Args:
        source: ``cityscapes``, or a file: the configuration of Mapillary Vistas, or a COCO panoptic
            JSON.
        more: Readers of further files, by the name of the file.

    Raises:
        SettingsError: The file is missing or no class list.
    """
    path = Path(source)
    readers = more or {}
    if source == "cityscapes":
        return CITYSCAPES
    try:
        for suffix, read in readers.items():
            if path.suffix == Path(suffix).suffix:
                return read(path)
        content = read_json(path, SegmentListError)
        if isinstance(content, Mapping) and "labels" in content:
            return label_space_from_vistas(path)
        return label_space_from_coco(path.stem, read_coco_panoptic(path).categories)
    except (PanopticError, OSError, ValueError) as error:
        kinds = ("'cityscapes'", *(f"a {name}" for name in readers), "the config.json of Vistas")
        raise SettingsError(
            f"init_class_list {source!r} is no class list ({error}); give {', '.join(kinds)} or a "
            "COCO panoptic JSON"
        ) from error
