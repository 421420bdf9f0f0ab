"""Preprocessing: images -> masks (run lengths), masks -> patches with their correlation.

The files lie as the original writes them: ``sam/<name>.npz``, and pictures under the images' own
file names in ``masks/`` and ``patches/``; ``run_lengths/<name>.json`` keeps the masks, so that
patches with other thresholds need no new masks.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from eagleray.task import (
    EaglerayError,
    FolderWriter,
    InputError,
    Item,
    Record,
    Resources,
    Rows,
    Settings,
    Stage,
)
from eagleray_omniseg3d.errors import MissingImageError
from eagleray_omniseg3d.masks.hierarchy import build_hierarchy, write_npz
from eagleray_omniseg3d.masks.hierarchy_picture import paint_masks, paint_patches
from eagleray_omniseg3d.masks.run_lengths import decode_masks, encode_masks
from eagleray_omniseg3d.masks.source import mask_place, open_source, reduce_image
from eagleray_omniseg3d.scenes.reading import read_scene
from eagleray_omniseg3d.settings import DataSettings, MaskSettings, OmniSeg3DSettings

RgbImage = npt.NDArray[np.uint8]

TRAIN = "train"
ROOMS_LABEL = "rooms:train"
MASKS_LABEL = "masks:train"
PATCHES_LABEL = "patches:train"
_SECONDS = {"sam": 20.0, "files": 0.3, "over_segmentation": 2.0}
"""Expected seconds per image; Segment Anything's on a GPU, a few minutes without."""
_CLAIM = "sam/.eagleray"
"""Name of the file by which a folder is known again."""


class MaskStageSettings(Settings):
    """What the masks of an image depend on."""

    masks: MaskSettings
    """The source; patch settings are left at their defaults."""
    data: DataSettings
    """The scene; only what names its images counts."""


class PatchStageSettings(Settings):
    """What the patches of an image depend on, beside its masks."""

    absorb_overlap: float
    """Share of a mask above which a larger one absorbs it."""
    pictures: bool
    """Whether overlays are painted."""
    faithful: bool
    """Whether the original's defects are kept."""


@dataclass(frozen=True, slots=True)
class _Photo:
    name: str
    file_name: str
    image: RgbImage


@dataclass(frozen=True, slots=True)
class _Coded:
    name: str
    file_name: str
    image: RgbImage | None
    codes: list[dict[str, Any]]
    size_hw: tuple[int, int]


class MaskStage(Stage):
    """Makes the masks of the training images.

    Args:
        settings: The scene and the source.
        upstream: Stages that must be complete before the scene can be read.
    """

    name = "masks"
    version = 2
    source = TRAIN
    schema: Mapping[str, str] = {
        "file_name": "string",
        "height": "int32",
        "width": "int32",
        "num_masks": "int32",
    }

    def __init__(self, settings: OmniSeg3DSettings, upstream: tuple[str, ...] = ()) -> None:
        self._settings, self.upstream = settings, upstream
        is_sam = settings.masks.source == "sam"
        self.resources = Resources(
            gpus=1.0 if is_sam else 0.0,
            memory_gb=8.0 if is_sam else 1.0,
            loader_threads=2,
            seconds_per_item=_SECONDS.get(settings.masks.source, 1.0),
        )

    def settings(self) -> Settings:
        """Return the source and the images, without what only patches or training depend on."""
        masks = self._settings.masks.model_copy(
            update={
                "absorb_overlap": MaskSettings().absorb_overlap,
                "points_per_batch": 1,
                "folder": "",
            }
        )
        data = self._settings.data
        images = {"format": data.format, "root": str(data.folder), "downsample": data.downsample}
        return MaskStageSettings(masks=masks, data=DataSettings(**images))

    def weights(self) -> Sequence[Path]:
        """Return Segment Anything's weights, if they are used."""
        masks = self._settings.masks
        return (Path(masks.checkpoint).expanduser(),) if masks.source == "sam" else ()

    def items(self, upstream: Mapping[str, Rows]) -> Iterator[Item]:
        """List the training images; a view whose mask file is missing becomes a reject.

        Raises:
            InputError: No view at all has a mask file.
        """
        s = self._settings
        scene = read_scene(s.data, scale=s.field.scale, faithful=s.faithful)
        views = [scene.views[index] for index in scene.split(TRAIN)]
        masks = {}
        if s.masks.source == "files":
            pattern = str(s.data.folder / s.masks.files)
            masks = {view.name: mask_place(pattern, view.name)[0] for view in views}
            if not any(path.is_file() for path in masks.values()):
                raise InputError(
                    f"no view has a mask file {s.masks.files!r} (tried {masks[views[0].name]}); "
                    "check masks.files"
                )
        for view in views:
            files = [view.image_path, *([masks[view.name]] if masks else [])]
            identity = "/".join(_file_state(path) for path in files)
            yield Item(view.name, identity, {"path": str(view.image_path)})

    def setup(self, device: str, upstream: Mapping[str, Rows], fitted: Mapping[str, Any]) -> None:
        """Open the mask source."""
        self._source = open_source(self._settings.masks, self._settings.data.folder, device)

    def load(self, item: Item) -> _Photo:
        """Read one image."""
        path = str(item.payload["path"])
        pixels = cv2.imread(path, cv2.IMREAD_COLOR)
        if pixels is None:
            raise MissingImageError(f"{path} is missing or no image that can be read")
        image = np.ascontiguousarray(pixels[:, :, ::-1])
        masks = self._settings.masks
        if masks.source != "files":
            image = reduce_image(image, masks.max_side_px)
        return _Photo(item.key, item.key + Path(path).suffix, image)

    def process(self, samples: Sequence[_Photo]) -> Sequence[Sequence[Record]]:
        """Make the masks of images."""
        return [[self._record(photo)] for photo in samples]

    def _record(self, photo: _Photo) -> Record:
        masks = self._source.masks(photo.image, photo.name)
        height, width = photo.image.shape[:2]
        row = {
            "file_name": photo.file_name,
            "height": height,
            "width": width,
            "num_masks": len(masks),
        }
        codes = encode_masks(masks) if len(masks) else []
        files = {_codes_file(photo.name): json.dumps(codes).encode()}
        if self._settings.masks.pictures:
            files[f"images/{photo.name}.jpg"] = _encode(".jpg", photo.image)
            painted = paint_masks(photo.image, masks, photo.name)
            files[f"masks/{photo.file_name}"] = _encode(Path(photo.file_name).suffix, painted)
        return Record(photo.name, row, files)


class PatchStage(Stage):
    """Turns the masks of an image into patches and their correlation.

    Args:
        settings: Thresholds.
    """

    name = "patches"
    version = 2
    source = TRAIN
    schema: Mapping[str, str] = {"num_masks": "int32", "num_patches": "int32", "covered": "float64"}
    upstream = (MASKS_LABEL,)
    resources = Resources(seconds_per_item=0.5, loader_threads=1)

    def __init__(self, settings: OmniSeg3DSettings) -> None:
        self._settings = settings

    def settings(self) -> Settings:
        """Return what patches depend on."""
        masks = self._settings.masks
        return PatchStageSettings(
            absorb_overlap=masks.absorb_overlap,
            pictures=masks.pictures,
            faithful=self._settings.faithful,
        )

    def items(self, upstream: Mapping[str, Rows]) -> Iterator[Item]:
        """List the images that have masks (possibly none)."""
        rows = upstream[MASKS_LABEL]
        for key in rows.keys():  # noqa: SIM118 (Rows is no mapping)
            row = rows[key]
            yield Item(key, f"{row['height']}/{row['width']}/{row['num_masks']}", {})

    def setup(self, device: str, upstream: Mapping[str, Rows], fitted: Mapping[str, Any]) -> None:
        """Keep the rows of the masks."""
        self._rows = upstream[MASKS_LABEL]

    def load(self, item: Item) -> _Coded:
        """Read the run lengths of one image."""
        row = self._rows[item.key]
        codes = json.loads(self._rows.read_file(item.key, _codes_file(item.key)))
        image = None
        if self._settings.masks.pictures:
            content = self._rows.read_file(item.key, f"images/{item.key}.jpg")
            image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)[:, :, ::-1]
        size_hw = int(row["height"]), int(row["width"])
        return _Coded(item.key, str(row["file_name"]), image, codes, size_hw)

    def process(self, samples: Sequence[_Coded]) -> Sequence[Sequence[Record]]:
        """Build hierarchies."""
        return [[self._record(coded)] for coded in samples]

    def finish(self, rows: Rows) -> Mapping[str, Any]:
        """Say how many images have no masks at all."""
        empty = [k for k in rows.keys() if rows[k]["num_masks"] == 0]  # noqa: SIM118
        return {"images": len(rows), "images_without_masks": empty}

    def _record(self, coded: _Coded) -> Record:
        masks = np.zeros((0, *coded.size_hw), np.bool_)
        if coded.codes:
            masks = decode_masks(coded.codes, coded.name)
        hierarchy = build_hierarchy(
            masks,
            absorb_overlap=self._settings.masks.absorb_overlap,
            faithful=self._settings.faithful,
        )
        row = {
            "num_masks": len(masks),
            "num_patches": hierarchy.num_patches,
            "covered": float(masks.any(axis=0).mean()),
        }
        files = {hierarchy_file(coded.name): write_npz(hierarchy)}
        if coded.image is not None:
            painted = paint_patches(coded.image, hierarchy.indices, coded.name)
            files[f"patches/{coded.file_name}"] = _encode(Path(coded.file_name).suffix, painted)
        return Record(coded.name, row, files)


class OriginalFolderSettings(Settings):
    """What is written where."""

    folder: str
    """The folder."""
    pictures: bool
    """Whether overlays are there to be written."""


@dataclass(frozen=True, slots=True)
class _Files:
    key: str
    content: Mapping[str, bytes]


class OriginalFolderStage(Stage):
    """Writes ``sam/``, ``masks/`` and ``patches/`` into a folder, as the original's ``run_sam``.

    Its programs look for ``sam/<stem>.npz`` beside the images. The files are whole at any time, so
    a job that was killed goes on where it stopped; a folder that was deleted is written anew.

    Args:
        folder: Where; usually the scene's own folder.
        pictures: Write overlays too.
    """

    name = "original_folder"
    version = 1
    source = TRAIN
    schema: Mapping[str, str] = {"files": "list<string>"}
    upstream = (MASKS_LABEL, PATCHES_LABEL)
    resources = Resources(seconds_per_item=0.1, loader_threads=2)

    def __init__(self, folder: Path, *, pictures: bool) -> None:
        self._writer = FolderWriter(folder, owner=_CLAIM)
        self._pictures = pictures

    def settings(self) -> OriginalFolderSettings:
        """Return the folder and what goes there."""
        return OriginalFolderSettings(folder=str(self._writer.root), pictures=self._pictures)

    def items(self, upstream: Mapping[str, Rows]) -> Iterator[Item]:
        """List the images that have patches.

        Raises:
            InputError: The folder cannot be written.
        """
        claim = self._claim()
        masks, patches = upstream[MASKS_LABEL], upstream[PATCHES_LABEL]
        for key in patches.keys():  # noqa: SIM118 (Rows is no mapping)
            payload = {"file_name": str(masks[key]["file_name"])}
            yield Item(key, f"{claim}/{patches[key]['num_patches']}", payload)

    def setup(self, device: str, upstream: Mapping[str, Rows], fitted: Mapping[str, Any]) -> None:
        """Keep the rows."""
        self._rows = upstream

    def load(self, item: Item) -> _Files:
        """Read the prepared files of one image."""
        places = {hierarchy_file(item.key): PATCHES_LABEL}
        if self._pictures:
            name = item.payload["file_name"]
            places |= {f"masks/{name}": MASKS_LABEL, f"patches/{name}": PATCHES_LABEL}
        rows = self._rows
        content = {name: rows[label].read_file(item.key, name) for name, label in places.items()}
        return _Files(item.key, content)

    def process(self, samples: Sequence[_Files]) -> Sequence[Sequence[Record]]:
        """Write the files of images."""
        for sample in samples:
            for name, content in sample.content.items():
                self._writer.write(name, content)
        return [[Record(sample.key, {"files": sorted(sample.content)})] for sample in samples]

    def _claim(self) -> str:
        """Return a name for this very folder, which a new one in its place does not have."""
        try:
            return self._writer.claim()
        except (EaglerayError, OSError) as error:
            raise InputError(
                f"masks.folder {str(self._writer.root)!r} cannot be written ({error})"
            ) from error


def hierarchy_file(name: str) -> str:
    """Return the path of a view's hierarchy among the files of its record."""
    return f"sam/{name}.npz"


def _codes_file(name: str) -> str:
    return f"run_lengths/{name}.json"


def _file_state(path: Path) -> str:
    try:
        state = path.stat()
    except OSError:
        return f"{path.name}:missing"
    return f"{path.name}:{state.st_size}:{state.st_mtime_ns}"


def _encode(suffix: str, image: RgbImage) -> bytes:
    _, encoded = cv2.imencode(suffix, np.ascontiguousarray(image[:, :, ::-1]))
    return encoded.tobytes()
