"""The preprocessing of an experiment: labels of any supported data set become panoptic records."""

from __future__ import annotations

from pathlib import Path

from eagleray.task import SettingsError, Stage
from eagleray_efficientps.settings import DataSettings
from eagleray_toyworld.label_stage import ToyworldFrameStage, toyworld_label_space
from eagleray_vision.datasets.idd import IddSource
from eagleray_vision.datasets.kitti import KittiPanopticSource
from eagleray_vision.datasets.label_stage import PanopticLabelStage
from eagleray_vision.datasets.settings import open_dataset
from eagleray_vision.datasets.source import LabelSource
from eagleray_vision.panoptic.label_space import LabelSpace


def label_source(data: DataSettings) -> LabelSource:
    """Open a data set in the layout that the settings name; nothing is read yet.

    Args:
        data: Where the data are.

    Raises:
        SettingsError: The format has no folder.
    """
    given = {name: value for name in ("images", "labels") if (value := getattr(data, name))}
    match data.format:
        case "kitti":
            return KittiPanopticSource(Path(data.root), **given)
        case "idd":
            return IddSource(Path(data.root), **given)
        case "toyworld":
            raise SettingsError("data.format toyworld generates its frames; there is no folder")
    return open_dataset(data, faithful=False)


def label_stages(data: DataSettings) -> tuple[Stage, ...]:
    """Return the stages that read the training and the validation split, or generate them.

    The records do not depend on ``faithful``, so experiments of both kinds share them.
    """
    splits = {"train": data.train_split, "val": data.val_split}
    if data.format == "toyworld":
        return tuple(ToyworldFrameStage(data.toyworld, source) for source in splits)
    labels = label_source(data)
    return tuple(
        PanopticLabelStage(labels, data, source, split, faithful=False)
        for source, split in splits.items()
    )


def label_space(data: DataSettings) -> LabelSpace:
    """Return the class list of a data set."""
    if data.format == "toyworld":
        return toyworld_label_space(data.toyworld)
    return label_source(data).label_space()
