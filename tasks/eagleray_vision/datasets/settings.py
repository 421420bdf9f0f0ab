"""Which data set an experiment reads, and opening it in its published layout."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from eagleray.task import Settings, SettingsError
from eagleray_vision.datasets.cityscapes import CityscapesSource
from eagleray_vision.datasets.coco_panoptic import CocoPanopticSource
from eagleray_vision.datasets.source import LabelSource
from eagleray_vision.datasets.vistas import VistasSource

PUBLISHED_FORMATS = ("vistas", "cityscapes", "coco_panoptic")
"""Layouts that `open_dataset` reads."""


class DatasetSettings(Settings):
    """Where the labeled images are and how they are laid out.

    A system derives from it, names the formats that it reads, and adds what it needs beyond.
    """

    format: str = Field(
        "cityscapes",
        description="Layout: vistas (Mapillary Vistas), cityscapes, coco_panoptic (PNGs and a "
        "JSON).",
    )
    root: str = Field("data/vistas", description="Folder of the data set.")
    vistas_version: Literal["1.2", "2.0"] = Field(
        "1.2",
        description="Labels of Mapillary Vistas: 1.2 (also 1.1, the same 66), or the 124 of 2.0.",
    )
    train_split: str = Field("training", description="Split that is trained on.")
    val_split: str = Field("validation", description="Split of the benchmark.")
    images: str = Field(
        "",
        description="Photographs relative to root, {split} replaced: a glob pattern (vistas, "
        "cityscapes) or a folder (coco_panoptic). Empty: the format's published layout.",
    )
    labels: str = Field(
        "",
        description="Label files relative to root: {split}, {id} and, for cityscapes, {city} "
        "replaced; for coco_panoptic a folder. Empty: the format's published layout.",
    )
    annotations: str = Field(
        "",
        description="Panoptic JSON (coco_panoptic, {split} replaced) or class list (vistas) "
        "relative to root. Empty: the format's published layout.",
    )
    reduced_labels: bool = Field(
        False,
        description="Accept labels that are smaller than their photograph by a whole factor, the "
        "same for both sides. Photograph and label are each resized to the network input, and "
        "results are scored at the size of the label.",
    )
    check_images: bool = Field(
        True,
        description="Decode every photograph while preparing, so that a damaged one is a reject "
        "instead of a failure in training.",
    )


def open_dataset(data: DatasetSettings, *, faithful: bool) -> LabelSource:
    """Open a data set in one of the `PUBLISHED_FORMATS`; nothing is read yet.

    Args:
        data: Where the data are.
        faithful: Read Vistas' instance numbers as Seamless' original converter does.

    Raises:
        SettingsError: The format is another one.
    """
    root = Path(data.root)
    given = {
        name: value
        for name in ("images", "labels", "annotations")
        if (value := getattr(data, name))
    }
    match data.format:
        case "vistas":
            return VistasSource(root, version=data.vistas_version, faithful=faithful, **given)
        case "cityscapes":
            return CityscapesSource(root, **given)
        case "coco_panoptic":
            return CocoPanopticSource(root, data.val_split, **given)
    raise SettingsError(
        f"data.format {data.format!r} is no published layout of labels; allowed are "
        f"{', '.join(PUBLISHED_FORMATS)}"
    )
