"""Data of training and of benchmarks: key frames, some with targets, queries or denser truth."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from eagleray.task import Dataset, InputError, Rows
from eagleray_pop3d.occ3d import Occ3dTruth, read_occ3d
from eagleray_pop3d.samples import (
    FrameBatch,
    FrameSample,
    ImageSettings,
    check_rig,
    join_frames,
    read_frame,
    training_occupancy,
)
from eagleray_pop3d.settings import Pop3dSettings
from eagleray_pop3d.stored_features import features_of_row
from eagleray_vision.codecs import codec_of_json
from eagleray_vision.driving.key_frame import KeyFrame, key_frame_of_row
from eagleray_vision.driving.lidar import read_lidarseg
from eagleray_vision.driving.lidarseg import evaluated_classes
from eagleray_vision.driving.occ3d_grid import voxel_centers_m
from eagleray_vision.driving.projection import project_frame
from eagleray_vision.samples.keyed import KeyedDataset

Points = npt.NDArray[np.float32]

_CSV_FIELDS = 5
"""Key frame, split, annotation, matching points, query."""


@dataclass(frozen=True)
class Query:
    """One query of the retrieval benchmark.

    Attributes:
        token: Key frame.
        split: ``train``, ``val`` or ``test``.
        annotation: File with 1 where a point belongs to the query.
        matching_points: File with the points that cameras see; None: computed.
        text: What is looked for.
    """

    token: str
    split: str
    annotation: Path
    matching_points: Path | None
    text: str


@dataclass(frozen=True)
class EvaluationSample:
    """A key frame with what a benchmark compares.

    Attributes:
        frame: Photographs, matrices and points.
        classes: ``(n,)`` classes 0..16 of the points, where they are labeled.
        visible: ``(m,)`` rows of the points that cameras see, one per camera that does.
        query: What is looked for.
        truth: ``(n,)`` 1 where a point belongs to the query.
        occ3d: Denser truth.
        places_m: ``(k, 3)`` further places in the lidar frame whose labels are asked for.
        match_features: ``(m, D)`` the extractor's features of the ``visible`` points, where they
            are scored instead of the network's.
    """

    frame: FrameSample
    classes: npt.NDArray[np.uint8] | None = None
    visible: npt.NDArray[np.int64] | None = None
    query: str = ""
    truth: npt.NDArray[np.uint8] | None = None
    occ3d: Occ3dTruth | None = None
    places_m: Points | None = None
    match_features: Tensor | None = None


class TrainingFrames(KeyedDataset[FrameSample, FrameBatch]):
    """Key frames with voxel labels and encoded targets.

    Args:
        frames: Rows of the key frames.
        features: Rows of their features.
        settings: How they are read.
    """

    def __init__(self, frames: Rows, features: Rows, settings: Pop3dSettings) -> None:
        super().__init__(features)  # they are the larger part
        self._frames, self._features, self._settings = frames, features, settings

    @property
    def codec(self) -> Any:
        """The codec of the targets, as the features' stage fitted it."""
        return self._features.fitted()["codec"]

    def load(self, index: int, rng: np.random.Generator) -> FrameSample:
        """Read photographs, sweep and targets."""
        token, settings = self._keys[index], self._settings
        frame = key_frame_of_row(self._frames[token])
        root = settings.data.folder
        check_rig(frame, settings.network.encoder.num_cameras)
        sample = read_frame(frame, root, settings.images, rng)
        stored = features_of_row(self._features[token])
        stored.check_sweep(len(sample.points))
        grid = settings.network.grid
        return FrameSample(
            token,
            sample.images,
            sample.sizes_hw,
            sample.photo_sizes_hw,
            sample.lidar2img,
            sample.points,
            training_occupancy(frame, sample.points, root, grid, settings.targets),
            sample.kept,
            stored.points.astype(np.int64),
            stored.codes,
        )

    def collate(self, samples: Sequence[FrameSample]) -> FrameBatch:
        """Join key frames."""
        return join_frames(samples)


class EvaluationFrames(KeyedDataset[EvaluationSample, Any]):
    """Key frames with the classes of their points.

    Args:
        frames: Rows of the key frames.
        settings: How they are read.
        needs_labels: Refuse key frames whose points have none.
    """

    def __init__(self, frames: Rows, settings: Pop3dSettings, *, needs_labels: bool = True) -> None:
        super().__init__(frames)
        self._frames, self._settings, self._needs_labels = frames, settings, needs_labels

    def load(self, index: int, rng: np.random.Generator) -> EvaluationSample:
        """Read photographs, sweep and labels."""
        frame, root = (
            key_frame_of_row(self._frames[self._keys[index]]),
            self._settings.data.folder,
        )
        check_rig(frame, self._settings.network.encoder.num_cameras)
        sample = read_frame(frame, root, still(self._settings.images))
        visible = _visible_rows(frame, sample)
        if not frame.lidarseg_path and not self._needs_labels:
            return EvaluationSample(sample, None, visible)
        if not frame.lidarseg_path:
            raise InputError(
                f"key frame {frame.token} has no lidarseg labels, which this benchmark compares "
                "with: unpack nuScenes-lidarseg, or evaluate on a split that has them"
            )
        raw = read_lidarseg(root / frame.lidarseg_path, len(sample.points), frame.token)
        return EvaluationSample(sample, evaluated_classes(raw), visible)

    def collate(self, samples: Sequence[EvaluationSample]) -> list[EvaluationSample]:
        """Return the samples: key frames are evaluated one by one."""
        return list(samples)


class RetrievalQueries(Dataset[EvaluationSample, Any]):
    """Queries with the key frames that they are asked of.

    Args:
        frames: Rows of key frames by split.
        queries: The queries.
        settings: How key frames are read.

    Raises:
        InputError: A query's key frame is in none of the splits that are prepared.
    """

    def __init__(
        self, frames: dict[str, Rows], queries: Sequence[Query], settings: Pop3dSettings
    ) -> None:
        known = {token: rows for rows in frames.values() for token in rows.keys()}  # noqa: SIM118
        lost = [query for query in queries if query.token not in known]
        if lost:
            raise InputError(
                f"{len(lost)} of {len(queries)} queries ask key frames of no loaded version, such "
                f"as {lost[0].token} ({lost[0].text!r}, split {lost[0].split}); loaded are "
                f"{', '.join(frames)}. Queries of test scenes need v1.0-test"
            )
        self._rows, self._queries, self._settings = known, list(queries), settings

    def __len__(self) -> int:
        return len(self._queries)

    def key(self, index: int) -> str:
        """Return key frame and query: a key frame may have several."""
        return f"{self._queries[index].token}/{self._queries[index].text}"

    def load(self, index: int, rng: np.random.Generator) -> EvaluationSample:
        """Read the key frame and the annotation."""
        query = self._queries[index]
        frame = key_frame_of_row(self._rows[query.token][query.token])
        check_rig(frame, self._settings.network.encoder.num_cameras)
        sample = read_frame(frame, self._settings.data.folder, still(self._settings.images))
        truth = _read_array(query.annotation, query).reshape(-1)
        if len(truth) != len(sample.points):
            raise InputError(
                f"{query.annotation} of key frame {query.token} has {len(truth)} values, its sweep "
                f"{len(sample.points)} points"
            )
        if not truth.any():
            raise InputError(f"{query.annotation}: no point belongs to {query.text!r}")
        if query.matching_points is not None:
            visible = _read_array(query.matching_points, query).reshape(-1).astype(np.int64)
        else:
            visible = _visible_rows(frame, sample)
        return EvaluationSample(
            sample, visible=visible, query=query.text, truth=truth.astype(np.uint8)
        )

    def collate(self, samples: Sequence[EvaluationSample]) -> list[EvaluationSample]:
        """Return the samples: queries are evaluated one by one."""
        return list(samples)


class TargetQueries(RetrievalQueries):
    """Queries with the features that training learns, for those that ask how good these are.

    Args:
        frames: Rows of key frames by split.
        features: Rows of features by split.
        queries: The queries.
        settings: How key frames are read.
    """

    def __init__(
        self,
        frames: dict[str, Rows],
        features: dict[str, Rows],
        queries: Sequence[Query],
        settings: Pop3dSettings,
    ) -> None:
        super().__init__(frames, queries, settings)
        self._features = features

    def load(self, index: int, rng: np.random.Generator) -> EvaluationSample:
        """Read the key frame, the annotation and the features of its matches."""
        sample, query = super().load(index, rng), self._queries[index]
        rows = self._features[query.split]
        stored = features_of_row(rows[query.token])
        stored.check_sweep(len(sample.frame.points))
        codec = codec_of_json(rows.fitted()["codec"])
        return replace(
            sample,
            visible=stored.points.astype(np.int64),
            match_features=codec.decode(stored.codes),
        )


class Occ3dFrames(EvaluationFrames):
    """Key frames with Occ3D's truth.

    Args:
        frames: Rows of the key frames.
        settings: How they are read.
    """

    def load(self, index: int, rng: np.random.Generator) -> EvaluationSample:
        """Read photographs, sweep and truth."""
        frame, settings = key_frame_of_row(self._frames[self._keys[index]]), self._settings
        check_rig(frame, settings.network.encoder.num_cameras)
        sample = read_frame(frame, settings.data.folder, still(settings.images))
        path = Path(settings.truth.occ3d).expanduser() / frame.scene / frame.token / "labels.npz"
        ego_from_lidar, _ = frame.lidar.poses
        lidar_from_ego = np.linalg.inv(ego_from_lidar.matrix)
        places = voxel_centers_m().reshape(-1, 3) @ lidar_from_ego[:3, :3].T + lidar_from_ego[:3, 3]
        return EvaluationSample(
            sample, occ3d=read_occ3d(path, frame.token), places_m=places.astype(np.float32)
        )


def read_queries(folder: Path, splits: Sequence[str]) -> list[Query]:
    """Read the queries of splits.

    Args:
        folder: ``retrieval_benchmark``, with ``retrieval_anns_<split>.csv``; five fields per line,
            separated by semicolons, no header. An empty field of matching points has them
            computed.
        splits: ``train``, ``val``, ``test``.

    Raises:
        InputError: A list is missing or a line has other fields.
    """
    queries, folder = [], folder.expanduser()
    for split in splits:
        path = queries_file(folder, split)
        if not path.is_file():
            raise InputError(f"{path} does not exist; truth.retrieval names the folder that has it")
        with path.open(newline="", encoding="utf-8") as file:
            for number, fields in enumerate(csv.reader(file, delimiter=";"), start=1):
                if len(fields) != _CSV_FIELDS or not fields[0] or not fields[4].strip():
                    raise InputError(
                        f"{path}, line {number}: {len(fields)} fields {fields[:_CSV_FIELDS]}; "
                        "expected are key frame; split; annotation; matching points; query"
                    )
                token, part, annotation, matching, text = fields
                seen = folder / matching if matching else None
                queries.append(Query(token, part, folder / annotation, seen, text.strip()))
    return queries


def queries_file(folder: Path, split: str) -> Path:
    """Return where the queries of a split are listed."""
    return folder.expanduser() / f"retrieval_anns_{split}.csv"


def still(images: ImageSettings) -> ImageSettings:
    """Return the settings of photographs without what training draws."""
    return images.model_copy(update={"distort": False, "grid_mask": False})


def _visible_rows(frame: KeyFrame, sample: FrameSample) -> npt.NDArray[np.int64]:
    """Return the rows of the sweep that cameras see, one per camera that does."""
    sizes = {
        camera.name: (int(height), int(width))
        for camera, (height, width) in zip(
            frame.cameras, sample.photo_sizes_hw.tolist(), strict=True
        )
    }
    matches = project_frame(frame, sample.points, sizes)
    return np.concatenate([matches[camera.name].points for camera in frame.cameras])


def _read_array(path: Path, query: Query) -> npt.NDArray[Any]:
    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path} of query {query.text!r} cannot be read: {error}") from error
    if not isinstance(array, np.ndarray):
        raise InputError(f"{path} of query {query.text!r} holds several arrays, expected one")
    return array
