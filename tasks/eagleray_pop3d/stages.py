"""Preprocessing: key frames as rows, so that nobody opens the tables again; features at the points
that cameras see, encoded.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from eagleray.task import Item, Record, Resources, Rows, Settings, SettingsError, Stage
from eagleray_pop3d.data_settings import DataSettings, FeatureSettings, SourceSettings
from eagleray_pop3d.images import read_photograph
from eagleray_pop3d.stored_features import (
    FEATURE_SCHEMA,
    INDEX_BYTES,
    MOMENT_SCHEMA,
    StoredFeatures,
)
from eagleray_vision.clip.reading import TOY, clip_path, read_clip
from eagleray_vision.codecs import Codec, codec_of_json, fit_codec, parse_codec
from eagleray_vision.dense_features.extractor import DenseExtractor
from eagleray_vision.dense_features.maskclip import MaskClip
from eagleray_vision.dense_features.maskclip_plus import read_maskclip_plus
from eagleray_vision.driving.errors import DrivingDataError
from eagleray_vision.driving.frame_json import read_frame_json
from eagleray_vision.driving.info_pickle import read_info_pickle
from eagleray_vision.driving.key_frame import (
    KEY_FRAME_SCHEMA,
    KeyFrame,
    key_frame_of_row,
)
from eagleray_vision.driving.lidar import read_sweep
from eagleray_vision.driving.nuscenes import CAMERAS
from eagleray_vision.driving.nuscenes_tables import count_table_frames, read_table_frames
from eagleray_vision.driving.original_files import read_features, read_projection
from eagleray_vision.driving.projection import project_frame
from eagleray_vision.driving.visibility import ZBuffer

_MATCHES_PER_FRAME = 22_400
"""docs/originals/pop3d.md 4."""
_CHANNELS = 512
_TABLES = ("scene", "sample", "sample_data", "sensor", "calibrated_sensor", "ego_pose", "lidarseg")
_SHARE_FITTED = 512
"""Vectors of a key frame that a fit sees."""
_NUM_NAMED = 5


class KeyFrameStageSettings(Settings):
    """What key frames depend on, beside the files."""

    format: str
    root: str
    version: str
    source: SourceSettings
    sweeps: int


class KeyFrameStage(Stage[list[KeyFrame], list[Record]]):
    """Reads key frames of one source, one row each.

    Tables and pickles are one item each; a JSON file is an item of its own.

    Args:
        settings: The data.
        source: ``train``, ``val`` or ``test``.
    """

    name = "key_frames"
    schema: Mapping[str, str] = KEY_FRAME_SCHEMA

    def __init__(self, settings: DataSettings, source: str) -> None:
        self._settings, self.source = settings, source
        self._source = settings.source(source)
        per_item = 0.01 if settings.format == "frames" else 60.0
        self.resources = Resources(seconds_per_item=per_item, memory_gb=2.0)

    def settings(self) -> Settings:
        """Return where key frames come from."""
        data = self._settings
        return KeyFrameStageSettings(
            format=data.format,
            root=str(data.folder),
            version=data.version if data.format == "nuscenes" else "",
            source=self._source,
            sweeps=data.sweeps,
        )

    def items(self, upstream: Mapping[str, Rows]) -> Iterator[Item]:
        """List the tables, the pickle, or the JSON files."""
        data, root = self._settings, self._settings.folder
        if data.format == "frames":
            folder = root / self._source.folder
            paths = sorted(folder.glob("*.json"))
            if not paths:
                raise SettingsError(
                    f"{folder} has no JSON files of key frames (data.{self.source})"
                )
            for path in paths:
                yield Item(path.stem, _identity([path]), {"path": str(path)})
        elif data.format == "infos":
            path = root / self._source.file
            yield Item(path.stem, _identity([path]), {"path": str(path)})
        else:
            tables = [root / data.version / f"{table}.json" for table in _TABLES]
            yield Item(data.version, _identity(tables), {"path": str(root)})

    def load(self, item: Item) -> list[KeyFrame]:
        """Read the key frames of an item."""
        path, data, split = Path(item.payload["path"]), self._settings, self._source.split
        if data.format == "frames":
            return [read_frame_json(path, split=split)]
        if data.format == "infos":
            return list(read_info_pickle(path, split=split, num_sweeps=data.sweeps))
        frames = list(
            read_table_frames(
                path,
                data.version,
                scenes=self._source.scenes or None,
                split=split,
                num_sweeps=data.sweeps,
            )
        )
        require_unpacked(path, frames)
        return frames

    def process(self, samples: Sequence[list[KeyFrame]]) -> list[list[Record]]:
        """Make a row of each key frame."""
        return [[Record(one.token, one.to_row()) for one in frames] for frames in samples]

    def finish(self, rows: Rows) -> Mapping[str, Any]:
        """Count key frames and scenes."""
        scenes = {rows[key]["scene"] for key in rows.keys()}  # noqa: SIM118 (Rows is no mapping)
        return {"key_frames": len(rows), "scenes": len(scenes)}


def count_key_frames(data: DataSettings, source: str) -> tuple[int, int]:
    """Return how many key frames a source has, and cameras each, before they are read: by the table
    of scenes, or the number of JSON files. Pickles do not say how many: 0.

    Raises:
        DrivingDataError: The table or the first file is damaged, or a scene is not in the table.
    """
    own = data.source(source)
    if data.format == "frames":
        paths = sorted((data.folder / own.folder).glob("*.json"))
        return len(paths), len(read_frame_json(paths[0]).cameras) if paths else 0
    if data.format == "infos":
        return 0, len(CAMERAS)
    scenes = own.scenes or None
    frames = count_table_frames(data.folder, data.version, scenes=scenes, split=own.split)
    return frames, len(CAMERAS)


def require_unpacked(root: Path, frames: Iterable[KeyFrame]) -> None:
    """Refuse scenes whose files were not unpacked, by their first key frames.

    Raises:
        DrivingDataError: Names the folders and scenes that lack files.
    """
    first = {frame.scene: frame for frame in reversed(list(frames))}
    lacking: dict[str, list[str]] = {}
    for scene, frame in sorted(first.items()):
        paths = [frame.lidar.path, *(one.path for one in frame.cameras)]
        for path in [*paths, *filter(None, [frame.lidarseg_path])]:
            if not (root / path).is_file():
                lacking.setdefault(str(Path(path).parent), []).append(scene)
    if lacking:
        listed = "; ".join(
            f"{folder}: {len(scenes)} scenes ({', '.join(scenes[:_NUM_NAMED])})"
            for folder, scenes in lacking.items()
        )
        raise DrivingDataError(
            f"{root} is unpacked in part: of {len(first)} scenes files are missing in {listed}. "
            "Unpack the archives that hold them (v1.0-*_blobs, nuScenes-lidarseg), or list the "
            "scenes that are there"
        )


@dataclass(frozen=True)
class _SeenBy:
    """What one camera sees: matches, and its photograph for the network, or stored features."""

    points: NDArray[np.int64]
    pixels: NDArray[np.int64]
    size_hw: tuple[int, int]
    prepared: Tensor | None
    features: NDArray[np.float32] | None


@dataclass(frozen=True)
class _LoadedFrame:
    token: str
    cameras: tuple[_SeenBy, ...]

    @property
    def images(self) -> NDArray[np.int64]:
        """Place of each match's camera in the rig, camera by camera."""
        return np.repeat(np.arange(len(self.cameras)), [len(one.points) for one in self.cameras])


class QueriedFeatureSettings(FeatureSettings):
    """Which features, where only those of some key frames are wanted."""

    source: str = Field(description="Source of the key frames.")


class FeatureStage(Stage[_LoadedFrame, Record]):
    """Features of every match of a point and a camera, one row per key frame.

    Args:
        data: Where the files lie.
        features: Which features, stored how.
        source: ``train``, ``val`` or ``test``.
        tokens: Key frames whose features are wanted; None for all of the source.
    """

    name = "features"
    schema: Mapping[str, str] = FEATURE_SCHEMA

    def __init__(
        self,
        data: DataSettings,
        features: FeatureSettings,
        source: str,
        tokens: frozenset[str] | None = None,
    ) -> None:
        self._data, self._features, self.source = data, features, source
        self._tokens = tokens
        self.upstream = (f"{KeyFrameStage.name}:{source}",)
        self.fit_items = features.fit_frames
        uses_network = features.extractor != "files"
        codec = parse_codec(features.codec)
        if codec.is_per_image:
            self.schema = {**FEATURE_SCHEMA, **MOMENT_SCHEMA}
        per_match = codec.bytes_per_vector(_CHANNELS) + INDEX_BYTES
        per_frame = _MATCHES_PER_FRAME * per_match + len(CAMERAS) * codec.bytes_per_image(_CHANNELS)
        self.resources = Resources(
            gpus=1.0 if uses_network else 0.0,
            memory_gb=6.0 if uses_network else 1.0,
            loader_threads=4,
            seconds_per_item=3.0 if uses_network else 0.3,
            bytes_per_item=float(per_frame),
        )
        self._frames: Rows | None = None
        self._extractor: DenseExtractor | None = None
        self._codec: Codec | None = None
        self._fitted: frozenset[str] = frozenset()
        self._device = "cpu"

    def settings(self) -> Settings:
        """Return which features; their weights count by content."""
        stated = self._features.model_copy(update={"weights": ""})
        if self._tokens is None:
            return stated
        # Key frames of another source are another stage upstream, so these fit a codebook of their
        # own; what they are called keeps the engine from looking for that of training.
        return QueriedFeatureSettings(source=self.source, **dict(stated))

    def weights(self) -> Sequence[Path]:
        """Return the extractor's weights."""
        path = extractor_weights(self._features)
        return [path] if path else []

    def items(self, upstream: Mapping[str, Rows]) -> Iterator[Item]:
        """List the key frames."""
        for token in upstream[self.upstream[0]].keys():  # noqa: SIM118 (Rows is no mapping)
            if self._tokens is None or token in self._tokens:
                yield Item(token, token, {})

    def setup(self, device: str, upstream: Mapping[str, Rows], fitted: Mapping[str, Any]) -> None:
        """Load the extractor, and the codec where it is fitted."""
        self._frames, self._device = upstream[self.upstream[0]], device
        if self._features.extractor != "files":
            self._extractor = read_extractor(self._features).to(device)
        if fitted:
            self._codec = codec_of_json(fitted["codec"]).to(device)
            self._fitted = frozenset(fitted["tokens"])

    def load(self, item: Item) -> _LoadedFrame:
        """Read sweep and photographs, project, and shrink the photographs."""
        if self._frames is None:
            raise SettingsError("the stage was not set up")
        frame, root = key_frame_of_row(self._frames[item.key]), self._data.folder
        points = read_sweep(root / frame.lidar.path, frame.token)
        images = {one.name: read_photograph(root, one, frame.token) for one in frame.cameras}
        sizes = {name: (image.shape[0], image.shape[1]) for name, image in images.items()}
        matches = self._matches(frame, points, sizes)
        seen = []
        for one in frame.cameras:
            rows, pixels = matches[one.name]
            stored = None
            if self._extractor is None:
                folder = Path(self._features.folder)
                stored = read_features(folder, one, len(rows), frame.token)
            prepared = self._extractor.prepare(images[one.name]) if self._extractor else None
            seen.append(_SeenBy(rows, pixels, sizes[one.name], prepared, stored))
        return _LoadedFrame(frame.token, tuple(seen))

    def _matches(
        self, frame: KeyFrame, points: NDArray[np.float32], sizes: Mapping[str, tuple[int, int]]
    ) -> dict[str, tuple[NDArray[np.int64], NDArray[np.int64]]]:
        if self._features.projections:
            folder, found = Path(self._features.projections), {}
            for one in frame.cameras:
                stored = read_projection(
                    folder,
                    one,
                    num_points=len(points),
                    size_hw=sizes[one.name],
                    token=frame.token,
                )
                found[one.name] = (stored.points, stored.pixels)
            return found
        matches = project_frame(frame, points, sizes)
        if self._features.z_buffer:
            for one in frame.cameras:
                kept = ZBuffer().visible(matches[one.name], one.matrix, sizes[one.name])
                matches[one.name] = matches[one.name][kept]
        return {name: (one.points, one.pixels) for name, one in matches.items()}

    @torch.no_grad()
    def process(self, samples: Sequence[_LoadedFrame]) -> list[Record]:
        """Compute and encode the features of key frames."""
        return [self._record(one) for one in samples]

    def encode(self, processed: Record) -> Sequence[Record]:
        """Return the row as it is."""
        return [processed]

    @torch.no_grad()
    def fit(self, samples: Iterable[_LoadedFrame]) -> Mapping[str, Any]:
        """Fit the codec on vectors spread over the sampled key frames."""
        vectors, images, tokens, first = [], [], [], 0
        for one in samples:
            found = self._vectors(one)
            places = torch.linspace(0, max(0, len(found) - 1), min(_SHARE_FITTED, len(found)))
            chosen = places.round().long()
            vectors.append(found[chosen.to(found.device)].cpu())
            images.append(first + torch.from_numpy(one.images)[chosen])
            tokens.append(one.token)
            first += len(one.cameras)
        codec = fit_codec(self._features.codec, torch.cat(vectors), images=torch.cat(images))
        return {"codec": codec.to_json(), "tokens": tokens}

    def finish(self, rows: Rows) -> Mapping[str, Any]:
        """Report bytes, and how well features are kept where nothing was fitted."""
        found = [rows[key] for key in rows.keys()]  # noqa: SIM118 (Rows is no mapping)
        matches = sum(row["num_matches"] for row in found)
        others = [row for row in found if not row["was_fitted"] and row["num_matches"]]
        weights = [row["num_matches"] for row in others]
        cosines = [row["mean_cosine"] for row in others]
        return {
            "codec": self._features.codec,
            "matches": matches,
            "bytes_of_codes": sum(
                len(row["codes"]) + len(row.get("moments", b"")) for row in found
            ),
            "key_frames": len(found),
            "key_frames_not_fitted": len(others),
            "mean_cosine": float(np.average(cosines, weights=weights)) if others else None,
        }

    def _vectors(self, frame: _LoadedFrame) -> Tensor:
        """Return (n, C) features of all matches, camera by camera, on the device."""
        parts = []
        for one in frame.cameras:
            if one.features is not None:
                parts.append(torch.from_numpy(one.features).to(self._device))
            elif self._extractor is not None and one.prepared is not None:
                pixels = torch.from_numpy(one.pixels).to(self._device)
                prepared = one.prepared.to(self._device)
                parts.append(self._extractor.at_pixels(prepared, pixels, one.size_hw))
        return torch.cat(parts)

    def _record(self, frame: _LoadedFrame) -> Record:
        if self._codec is None:
            raise SettingsError("features are encoded by a fitted codec, and none was given")
        vectors = self._vectors(frame)
        codes = self._codec.encode(vectors, torch.from_numpy(frame.images).to(vectors.device))
        decoded = self._codec.decode(codes)
        cosine = torch.nn.functional.cosine_similarity(vectors, decoded, dim=1)
        stored = StoredFeatures(
            frame.token,
            np.concatenate([one.points for one in frame.cameras]).astype(np.int32),
            frame.images.astype(np.uint8),
            codes.to("cpu"),
        )
        row = stored.to_row() | {
            "mean_cosine": float(cosine.mean()) if len(cosine) else 1.0,
            "squared_error": float((decoded - vectors).double().square().sum()),
            "was_fitted": frame.token in self._fitted,
        }
        return Record(frame.token, row)


def extractor_weights(settings: FeatureSettings) -> Path | None:
    """Return the file of the extractor's network, whether it exists or not; None where none is
    named.
    """
    if not settings.weights:
        return None
    if settings.extractor == "maskclip" and settings.weights == TOY:
        return clip_path(TOY)
    return Path(settings.weights).expanduser()


def read_extractor(settings: FeatureSettings) -> DenseExtractor:
    """Read the network that makes features.

    Raises:
        SettingsError: No weights are named.
        WeightFileError: The weights do not fit.
    """
    path = extractor_weights(settings)
    if path is None:
        raise SettingsError(
            f"features.extractor {settings.extractor} needs features.weights, the file of its "
            "network; features that were stored before are read by extractor: files"
        )
    sizes = {"long_px": settings.long_px, "short_px": settings.short_px}
    if settings.extractor == "maskclip_plus":
        return read_maskclip_plus(path, **sizes)
    return MaskClip(read_clip(path).visual, **sizes)


def _identity(paths: Sequence[Path]) -> str:
    """Return what changes when a file does: sizes and times."""
    digest = hashlib.sha256()
    for path in paths:
        if path.exists():
            status = path.stat()
            digest.update(f"{path.name}/{status.st_size}/{status.st_mtime_ns};".encode())
    return digest.hexdigest()[:16]
