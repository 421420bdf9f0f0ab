"""Features of photographs as a prepare stage: one vector per photograph, one per patch, or both.

    ClipFeatureStage(ClipFeatureSettings(weights="toy"), [Path("photos")], source="train")

What training or retrieval reads again and again is then computed once; text is compared with it
when it is asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from eagleray.task import InputError, Item, Record, Resources, Rows, Settings, Stage
from eagleray_vision.clip.reading import clip_path, read_clip
from eagleray_vision.clip.tower import ClipImageTower, normalized
from eagleray_vision.images.reading import read_rgb
from eagleray_vision.images.resizing import resize_rgb, shortest_edge_size
from eagleray_vision.inputs.listing import PROBLEM, input_path, list_inputs

STAGE_NAME = "clip_features"
_HALF_MAX = float(np.finfo(np.float16).max)


class ClipFeatureSettings(Settings):
    """Which features of which CLIP, at which size."""

    weights: str = Field("toy", description="CLIP: 'toy', or a file as `read_clip` takes it.")
    quick_gelu: bool | None = Field(
        None, description="Activation, where the file does not say it (true: OpenAI's weights)."
    )
    kind: Literal["pooled", "dense", "both"] = Field(
        "both", description="One vector per photograph, one per patch, or both."
    )
    shortest_px: int = Field(
        0, ge=0, description="Shorter side at which CLIP sees it, pixels; 0 = that of its training."
    )
    longest_max_px: int = Field(2048, ge=16, description="Longest side at which CLIP sees it.")
    batch_size: int = Field(1, ge=1, description="Photographs per forward, where sizes agree.")


class _Identity(Settings):
    """What the features depend on, apart from photographs and weights."""

    quick_gelu: bool | None
    kind: str
    shortest_px: int
    longest_max_px: int


@dataclass(frozen=True, slots=True)
class _Photo:
    key: str
    image: NDArray[np.uint8]
    size_hw: tuple[int, int]


class ClipFeatureStage(Stage[_Photo, Sequence[Record]]):
    """Computes features of photographs, stored in half precision.

    A task that lists its photographs otherwise overrides `items` and `photo`.

    Args:
        settings: Which features.
        folders: Photographs, or folders of them.
        source: Which of the task's data they are.
    """

    name = STAGE_NAME
    version = 1
    schema: Mapping[str, str] = {
        "height": "int64",
        "width": "int64",
        "channels": "int64",
        "grid_height": "int64",
        "grid_width": "int64",
        "pooled": "binary",
        "dense": "binary",
    }

    def __init__(
        self, settings: ClipFeatureSettings, folders: Sequence[Path], source: str = ""
    ) -> None:
        self._settings, self._folders, self.source = settings, tuple(folders), source
        self._tower: ClipImageTower | None = None
        self._side = 0
        self.resources = Resources(
            gpus=0.25,
            seconds_per_item=0.3,
            loader_threads=2,
            batch_size=settings.batch_size,
            memory_gb=3.0,
        )

    def settings(self) -> _Identity:
        """Return all settings but folders and batches; the weights' checksum is apart."""
        own = self._settings
        return _Identity(
            quick_gelu=own.quick_gelu,
            kind=own.kind,
            shortest_px=own.shortest_px,
            longest_max_px=own.longest_max_px,
        )

    def weights(self) -> Sequence[Path]:
        """Return the CLIP's file."""
        return (clip_path(self._settings.weights),)

    def items(self, upstream: Mapping[str, Rows]) -> Iterator[Item]:
        """List the photographs."""
        return list_inputs(self._folders)

    def setup(self, device: str, upstream: Mapping[str, Rows], fitted: Mapping[str, Any]) -> None:
        """Read the CLIP; its text tower is dropped."""
        clip = read_clip(self._settings.weights, quick_gelu=self._settings.quick_gelu)
        self._tower = ClipImageTower(clip.visual).to(device).eval()

    def photo(self, item: Item) -> NDArray[np.uint8]:
        """Return (H, W, 3) uint8, upright.

        Raises:
            InputError: It cannot be read.
        """
        if PROBLEM in item.payload:
            raise InputError(f"{input_path(item)}: {item.payload[PROBLEM]}")
        return read_rgb(input_path(item), apply_orientation=True)

    def load(self, item: Item) -> _Photo:
        """Read a photograph and resize it to whole patches."""
        image = self.photo(item)
        size = (image.shape[0], image.shape[1])
        return _Photo(item.key, resize_rgb(image, self._goal(size)), size)

    def _goal(self, size_hw: tuple[int, int]) -> tuple[int, int]:
        tower = self._ready()
        patch = tower.patch_size
        shortest = self._settings.shortest_px or int(tower.visual.image_size[0])
        height, width = shortest_edge_size(size_hw, shortest, self._settings.longest_max_px)
        return max(1, round(height / patch)) * patch, max(1, round(width / patch)) * patch

    def _ready(self) -> ClipImageTower:
        if self._tower is None:
            raise RuntimeError("the stage has not been set up")
        return self._tower

    @torch.no_grad()
    def process(self, samples: Sequence[_Photo]) -> Sequence[Sequence[Record]]:
        """Compute the features; photographs of one size go through the tower together."""
        out: list[Sequence[Record]] = [()] * len(samples)
        groups: dict[tuple[int, ...], list[int]] = {}
        for place, sample in enumerate(samples):
            groups.setdefault(sample.image.shape, []).append(place)
        for places in groups.values():
            for place, record in zip(
                places, self._records([samples[place] for place in places]), strict=True
            ):
                out[place] = [record]
        return out

    def _records(self, samples: Sequence[_Photo]) -> Iterator[Record]:
        tower = self._ready()
        device = tower.proj.device
        stacked = torch.from_numpy(np.stack([sample.image for sample in samples]))
        images = normalized(stacked.to(device).permute(0, 3, 1, 2))
        grid = (images.shape[2] // tower.patch_size, images.shape[3] // tower.patch_size)
        kind = self._settings.kind
        pooled = half(tower.pooled(images)) if kind != "dense" else None
        dense = half(tower.dense(images)) if kind != "pooled" else None
        for k, sample in enumerate(samples):
            row = {
                "height": sample.size_hw[0],
                "width": sample.size_hw[1],
                "channels": tower.embed_dim,
                "grid_height": grid[0],
                "grid_width": grid[1],
                "pooled": b"" if pooled is None else pooled[k].tobytes(),
                "dense": b"" if dense is None else dense[k].tobytes(),
            }
            yield Record(sample.key, row)


def half(features: torch.Tensor) -> NDArray[np.float16]:
    """Return features in half precision, little-endian; what is too large becomes the largest."""
    bounded = features.float().clamp(-_HALF_MAX, _HALF_MAX).cpu().numpy()
    return np.ascontiguousarray(bounded.astype("<f2"))


def pooled_feature(row: Mapping[str, Any]) -> NDArray[np.float16]:
    """Return the (channels,) float16 vector of a photograph, not normalized.

    Raises:
        InputError: The stage was asked for dense features only.
    """
    return _stored(row, "pooled", (row["channels"],))


def dense_features(row: Mapping[str, Any]) -> NDArray[np.float16]:
    """Return the (channels, grid height, grid width) float16 map of a photograph, not normalized.

    Raises:
        InputError: The stage was asked for pooled features only.
    """
    return _stored(row, "dense", (row["channels"], row["grid_height"], row["grid_width"]))


def _stored(row: Mapping[str, Any], kind: str, shape: tuple[int, ...]) -> NDArray[np.float16]:
    content = row[kind]
    if not content:
        other = "dense" if kind == "pooled" else "pooled"
        raise InputError(
            f"{kind} features were not prepared; set kind to {kind!r} or 'both' (it is {other!r})"
        )
    return np.frombuffer(content, "<f2").reshape(shape)
