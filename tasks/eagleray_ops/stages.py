"""Stages of OPS: labels of all data sets, and the images that RERP distorts.

The label stages read and check; a photograph without its label is a reject there, so RERP, which
reads their rows, never pairs a photograph with another one's label.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
from pydantic import Field

from eagleray.task import (
    FolderWriter,
    Item,
    Record,
    Requirement,
    Resources,
    Rows,
    Settings,
    SettingsError,
    Stage,
)
from eagleray_ops.rerp import rerp
from eagleray_ops.settings import DataSettings, OpsSettings
from eagleray_vision.datasets.coco_stuff import TRAIN_IDS, CocoStuffSource
from eagleray_vision.datasets.indoor_panoramas import (
    AREAS,
    MATTERPORT3D,
    STANFORD2D3D,
    IndoorPanoramaSource,
)
from eagleray_vision.datasets.label_stage import STAGE_NAME, PanopticLabelStage
from eagleray_vision.datasets.semantic import SemanticSource
from eagleray_vision.datasets.settings import DatasetSettings
from eagleray_vision.datasets.wildpass import WildPassSource
from eagleray_vision.images.reading import read_rgb
from eagleray_vision.panoptic.label_image import read_deep_ids
from eagleray_vision.panoptic.label_space import VOID_CLASS

TRAIN, VAL, WILDPASS_VAL, MATTERPORT3D_VAL = "train", "val", "wildpass", "matterport3d"
"""Names of sources; `area_source` gives those of Stanford2D3D."""
RERP_VAL = "val_rerp"
"""The validation split as RERP projects it, not shuffled."""

RERP_IMAGE = "images/{key}.jpg"
"""A distorted image in its record."""
RERP_LABEL = "annotations/{key}" + TRAIN_IDS + ".png"
"""Its labels."""

JPEG_QUALITY = 95
"""OpenCV's default, with which the original writes."""
_PNG_SPEED = 1
"""Label maps compress well at any level; this one takes a fifth of the time of Pillow's."""
_VAL = "val"
_DIGEST_BYTES = 8


class DataFolder(NamedTuple):
    """Where a source's images are.

    Attributes:
        setting: Name of the setting that says so.
        root: The folder.
        split: Split or area.
        labels: Its reader.
    """

    setting: str
    root: Path
    split: str
    labels: SemanticSource

    @property
    def photos(self) -> Path:
        """Folder of the split's photographs."""
        return self.root / self.labels.photo_folder(self.split)

    @property
    def is_there(self) -> bool:
        """Whether there is a folder of photographs."""
        return self.photos.is_dir()


def area_source(area: str) -> str:
    """Return the name of the source of an area of Stanford2D3D."""
    return f"stanford2d3d_{area}"


def data_folders(data: DataSettings) -> dict[str, DataFolder]:
    """Return where the images of every source are, by source."""
    coco, wildpass = Path(data.root), Path(data.wildpass_root)
    matterport, stanford = Path(data.matterport3d_root), Path(data.stanford2d3d_root)
    train = CocoStuffSource(coco)
    folders = {
        TRAIN: DataFolder("data.root", coco, data.train_split, train),
        VAL: DataFolder("data.root", coco, data.val_split, train),
        WILDPASS_VAL: DataFolder("data.wildpass_root", wildpass, _VAL, WildPassSource(wildpass)),
        MATTERPORT3D_VAL: DataFolder(
            "data.matterport3d_root",
            matterport,
            _VAL,
            IndoorPanoramaSource(matterport, MATTERPORT3D),
        ),
    }
    areas = IndoorPanoramaSource(stanford, STANFORD2D3D)
    for area in AREAS:
        folders[area_source(area)] = DataFolder("data.stanford2d3d_root", stanford, area, areas)
    return folders


def ops_stages(settings: OpsSettings) -> tuple[Stage, ...]:
    """Return the label stages of the data sets that are there, and those of RERP.

    Training and validation are always among them; data sets of benchmarks only where their folder
    exists, so that nobody needs all of them.
    """
    data = settings.data
    stages: list[Stage] = []
    for source, folder in data_folders(data).items():
        if source in (TRAIN, VAL) or folder.is_there:
            stages.append(_label_stage(source, folder, data))
    if settings.rerp.mode == "offline":
        stages.append(RerpStage(settings, TRAIN, shuffle=settings.rerp.shuffle))
        stages.append(RerpStage(settings, RERP_VAL, shuffle=False))
    return tuple(stages)


def data_requirements(data: DataSettings) -> Iterator[Requirement]:
    """Yield every data set; only that of training is needed, and by training alone."""
    named: set[str] = set()
    for source, folder in data_folders(data).items():
        if folder.setting in named:
            continue
        named.add(folder.setting)
        is_trained = source == TRAIN
        yield Requirement(
            "training data" if is_trained else f"panoramas of {source.partition('_')[0]}",
            folder.is_there,
            f"set {folder.setting} to the folder of the data set (now {str(folder.root)!r})"
            + ("" if is_trained else "; its benchmarks are offered where its images are"),
            training_only=is_trained,
            optional=not is_trained,
        )


def has_images(source: str, data: DataSettings) -> bool:
    """Return whether the images of a benchmark's source are there."""
    return data_folders(data)[VAL if source == RERP_VAL else source].is_there


def label_of(source: str) -> str:
    """Return the label of the stage that reads the labels of a source."""
    return f"{STAGE_NAME}:{source}"


def stage_labels(source: str, settings: OpsSettings) -> list[str]:
    """Return the labels of the stages that a source's data set reads.

    Args:
        source: The source.
        settings: Settings of the experiment.

    Raises:
        SettingsError: Its folder is not there.
    """
    if source == RERP_VAL:
        return [f"{RerpStage.name}:{RERP_VAL}"]
    if source == TRAIN and settings.rerp.mode == "offline":
        return [label_of(TRAIN), f"{RerpStage.name}:{TRAIN}"]
    folder = data_folders(settings.data)[source]
    if not folder.is_there:
        raise SettingsError(
            f"{str(folder.photos)!r} is no folder, so there are no images of {source}: set "
            f"{folder.setting} (now {str(folder.root)!r}), or name benchmarks whose data are there"
        )
    return [label_of(source)]


def _label_stage(source: str, folder: DataFolder, data: DataSettings) -> PanopticLabelStage:
    where = DatasetSettings(
        format=folder.labels.label_space().name,
        root=str(folder.root),
        check_images=data.check_images,
    )
    return PanopticLabelStage(folder.labels, where, source, folder.split, faithful=False)


class RerpStageSettings(Settings):
    """What distorted images depend on, apart from the photographs."""

    crop_px: int = Field(description="Side of the images.")
    shuffle: bool = Field(description="Whether quadrants are permuted.")
    faithful: bool = Field(description="Whether they are projected as the original does.")
    yaw_deg: float = Field(description="Largest angle to either side.")
    pitch_deg: float = Field(description="Largest angle up or down.")
    seed: int = Field(description="Seed.")
    folder: str = Field(description="Folder that also receives them.")


@dataclass(frozen=True, slots=True)
class _Pair:
    key: str
    photo: npt.NDArray[np.uint8]
    classes: npt.NDArray[np.uint8]


class RerpStage(Stage[_Pair, Sequence[Record]]):
    """Makes one distorted image of every photograph, as the original's converter does.

    Each image has a generator of its own, keyed by seed and name, so that neither the number of
    workers nor a killed job changes any.

    Args:
        settings: Settings of the experiment.
        source: ``train``, or ``val_rerp`` for the validation split.
        shuffle: Permute the quadrants.
    """

    name = "rerp"
    version = 1
    schema: Mapping[str, str] = {"height": "int64", "width": "int64"}
    resources = Resources(seconds_per_item=0.05, loader_threads=2)

    def __init__(self, settings: OpsSettings, source: str, *, shuffle: bool) -> None:
        self.source, self._crop_px = source, settings.input.crop_px
        self._rerp, self._faithful, self._shuffle = settings.rerp, settings.faithful, shuffle
        folder = data_folders(settings.data)[TRAIN if source == TRAIN else VAL]
        self._root, self._split = folder.root, folder.split
        self.upstream = (label_of(TRAIN if source == TRAIN else VAL),)

    def settings(self) -> RerpStageSettings:
        """Return geometry, seed and folder."""
        rerp_settings = self._rerp
        return RerpStageSettings(
            crop_px=self._crop_px,
            shuffle=self._shuffle,
            faithful=self._faithful,
            yaw_deg=rerp_settings.yaw_deg,
            pitch_deg=rerp_settings.pitch_deg,
            seed=rerp_settings.seed,
            folder=rerp_settings.folder,
        )

    def items(self, upstream: Mapping[str, Rows]) -> Iterator[Item]:
        """List the labeled photographs."""
        rows = upstream[self.upstream[0]]
        writer = self._writer()
        owner = writer.claim() if writer else ""
        for key in rows.keys():  # noqa: SIM118 (Rows is no mapping)
            yield Item(key, f"{self._rerp.seed}/{owner}", {})

    def setup(self, device: str, upstream: Mapping[str, Rows], fitted: Mapping[str, Any]) -> None:
        """Keep the labels' rows."""
        self._rows = upstream[self.upstream[0]]

    def load(self, item: Item) -> _Pair:
        """Read one photograph and its classes; raises InputError for what cannot be read."""
        row = self._rows[item.key]
        table = np.asarray(row["categories"], dtype=np.uint8).copy()
        table[0] = VOID_CLASS
        photo = read_rgb(self._root / row["image_path"])
        return _Pair(item.key, photo, np.take(table, read_deep_ids(row["id_map"])))

    def process(self, samples: Sequence[_Pair]) -> Sequence[Sequence[Record]]:
        """Distort and encode."""
        return [[self._record(pair)] for pair in samples]

    def _record(self, pair: _Pair) -> Record:
        image, classes = rerp(
            pair.photo,
            pair.classes,
            self._crop_px,
            image_generator(self._rerp.seed, pair.key),
            shuffle=self._shuffle,
            faithful=self._faithful,
            yaw_deg=self._rerp.yaw_deg,
            pitch_deg=self._rerp.pitch_deg,
        )
        files = {
            RERP_IMAGE.format(key=pair.key): jpeg(image),
            RERP_LABEL.format(key=pair.key): label_png(classes),
        }
        writer = self._writer()
        if writer is not None:
            # the label last: readers look for photographs that have one
            for name, content in files.items():
                writer.write(self._original_name(name), content)
        return Record(pair.key, {"height": image.shape[0], "width": image.shape[1]}, files)

    def _writer(self) -> FolderWriter | None:
        if not self._rerp.folder:
            return None
        return FolderWriter(Path(self._rerp.folder), owner=f".eagleray_{self.source}")

    def _original_name(self, name: str) -> str:
        """Return ``images/<split>_erp_shuffle/erp_shuffle_<name>``, and likewise for labels."""
        kind = "erp_shuffle" if self._shuffle else "erp_no_shuffle"
        folder, file = name.split("/", 1)
        return f"{folder}/{self._split}_{kind}/{kind}_{file}"


def image_generator(seed: int, key: str) -> np.random.Generator:
    """Return the source of chance of one image, whoever makes it."""
    digest = hashlib.sha256(f"{seed}/{key}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:_DIGEST_BYTES], "little"))


def jpeg(image: npt.NDArray[np.uint8]) -> bytes:
    """Encode ``(H, W, 3)`` RGB as the original does."""
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    _, encoded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return encoded.tobytes()


def label_png(classes: npt.NDArray[np.uint8]) -> bytes:
    """Encode ``(H, W)`` classes as a PNG of one channel."""
    _, encoded = cv2.imencode(".png", classes, [cv2.IMWRITE_PNG_COMPRESSION, _PNG_SPEED])
    return encoded.tobytes()
