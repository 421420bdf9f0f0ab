"""The preprocessing of an experiment: labels of any supported data set become panoptic records, and
where it is asked for they are written in the original's format.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from eagleray.task import SettingsError, Stage
from eagleray_seamseg.intermediate.source import SeamlessSource
from eagleray_seamseg.intermediate.stages import ConvertedSplit, conversion_stages
from eagleray_seamseg.settings import DataSettings
from eagleray_toyworld.label_stage import ToyworldFrameStage
from eagleray_vision.datasets.label_stage import PanopticLabelStage
from eagleray_vision.datasets.settings import open_dataset
from eagleray_vision.datasets.source import LabelSource
from eagleray_vision.panoptic.label_space import LabelSpace


def label_source(data: DataSettings, *, faithful: bool) -> LabelSource:
    """Open a data set in the layout that the settings name; nothing is read yet.

    Args:
        data: Where the data are.
        faithful: Keep the defects of the original converters.

    Returns:
        The data set.
    """
    match data.format:
        case "seamless":
            return SeamlessSource(Path(data.root))
        case "toyworld":
            raise SettingsError("data.format toyworld generates its frames; there is no folder")
    return open_dataset(data, faithful=faithful)


def label_stage(data: DataSettings, source: str, split: str, *, faithful: bool) -> Stage:
    """Return the stage that reads one split, or generates it.

    Args:
        data: Where the data are.
        source: ``train`` or ``val``.
        split: Name of the split as the data set calls it.
        faithful: Keep the defects of the original converters.
    """
    if data.format == "toyworld":
        return ToyworldFrameStage(data.toyworld, source)
    labels = label_source(data, faithful=faithful)
    return PanopticLabelStage(labels, data, source, split, faithful=faithful)


def label_stages(data: DataSettings, *, faithful: bool) -> tuple[Stage, ...]:
    """Return the stages of the training and the validation split; arguments of `label_stage`."""
    splits = {"train": data.train_split, "val": data.val_split}
    return tuple(
        label_stage(data, source, split, faithful=faithful) for source, split in splits.items()
    )


def writing_stages(
    data: DataSettings, labels: Sequence[Stage], space: LabelSpace, *, faithful: bool
) -> tuple[Stage, ...]:
    """Return the stages that write what was read in the original's format, to ``convert.folder``.

    Args:
        data: Where the data are, and where they are written to.
        labels: What `label_stages` returned.
        space: Class list.
        faithful: Keep the defects of the original converters.
    """
    source = None if data.format == "toyworld" else label_source(data, faithful=faithful)
    names = ("train", "val") if source is None else (data.train_split, data.val_split)
    splits = [
        ConvertedSplit(name, stage.label, source.photo_folder(name) if source else "")
        for name, stage in zip(names, labels, strict=True)
    ]
    return conversion_stages(
        Path(data.root),
        data.convert,
        splits,
        space,
        version=source.version() if source else "1.0",
        faithful=faithful,
    )
