"""The preprocessing of an experiment: labels of any supported data set become panoptic records."""

from __future__ import annotations

from pathlib import Path

from eagleray.task import SettingsError, Stage
from eagleray_efficientps.conversion.source import ConvertedSource
from eagleray_efficientps.conversion.stages import conversion_stages
from eagleray_efficientps.settings import DataSettings
from eagleray_toyworld.label_stage import ToyworldFrameStage, toyworld_label_space
from eagleray_vision.datasets.idd import IddSource
from eagleray_vision.datasets.kitti import KittiPanopticSource
from eagleray_vision.datasets.label_stage import PanopticLabelStage
from eagleray_vision.datasets.settings import open_dataset
from eagleray_vision.datasets.source import LabelSource, ValueSource
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
        case "efficientps":
            return ConvertedSource(Path(data.root), data.val_split)
        case "toyworld":
            raise SettingsError("data.format toyworld generates its frames; there is no folder")
    return open_dataset(data, faithful=False)


def label_stages(data: DataSettings) -> tuple[Stage, ...]:
    """Return the stages that read the training and the validation split, or generate them; and
    where it is asked for those that write both in the original's layout.

    The records do not depend on ``faithful``, so experiments of both kinds share them.
    """
    splits = {"train": data.train_split, "val": data.val_split}
    if data.format == "toyworld":
        frames = tuple(ToyworldFrameStage(data.toyworld, source) for source in splits)
        return (*frames, *_writing_stages(data, None))
    labels = label_source(data)
    found: list[Stage] = [
        PanopticLabelStage(labels, data, source, split, faithful=False)
        for source, split in splits.items()
    ]
    return (*found, *_writing_stages(data, labels))


def _writing_stages(data: DataSettings, labels: LabelSource | None) -> tuple[Stage, ...]:
    """Return the stages that write the data set in the original's layout, if that is asked for.

    Raises:
        SettingsError: The labels of the format are no values that the layout could hold.
    """
    if not data.convert.folder:
        return ()
    if not isinstance(labels, ValueSource):
        raise SettingsError(
            f"data.convert.folder is set, but data.format {data.format!r} has no instance values "
            "to convert; the original's converters read cityscapes and kitti, and idd is alike"
        )
    return conversion_stages(data, labels)


def label_space(data: DataSettings) -> LabelSpace:
    """Return the class list of a data set."""
    if data.format == "toyworld":
        return toyworld_label_space(data.toyworld)
    return label_source(data).label_space()
