"""The scene as data: training rays, held-out views, and objects to click at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from eagleray.task import Dataset, InputError, Rows
from eagleray_omniseg3d.errors import MissingImageError
from eagleray_omniseg3d.evaluation.labels import IdImage, label_path, read_labels
from eagleray_omniseg3d.evaluation.replica_protocol import EXCLUDED_FRAMES, OBJECT_IDS, area_weights
from eagleray_omniseg3d.masks.hierarchy import read_npz
from eagleray_omniseg3d.model.view_rendering import ViewSample
from eagleray_omniseg3d.scenes.pixels import (
    ViewPixels,
    fit_hierarchy,
    read_view,
    read_view_depth,
    read_view_rgb,
)
from eagleray_omniseg3d.scenes.ray_bank import RayBank
from eagleray_omniseg3d.scenes.reading import read_scene
from eagleray_omniseg3d.scenes.scene import Scene, View
from eagleray_omniseg3d.settings import OmniSeg3DSettings
from eagleray_omniseg3d.stages import PATCHES_LABEL, TRAIN, hierarchy_file

TEST = "test"


@dataclass(frozen=True, slots=True)
class ClickSample:
    """An object, where it is clicked at, and where it is to be found.

    Args:
        object_id: Its id.
        reference: View that is clicked at.
        column: Pixel column of the click.
        row: Pixel row of the click.
        reference_mask: (H, W) bool truth there.
        targets: Views in which the object is scored, with their truth.
    """

    object_id: int
    reference: ViewSample
    column: int
    row: int
    reference_mask: npt.NDArray[np.bool_]
    targets: tuple[tuple[ViewSample, npt.NDArray[np.bool_]], ...]


@dataclass(frozen=True, slots=True)
class InstanceSample:
    """An object of the Replica protocol.

    Args:
        object_id: Its id.
        weights: (V,) area weights of the views.
        views: All V views.
        labels: (V) of (H, W) ids.
    """

    object_id: int
    weights: npt.NDArray[np.float64]
    views: tuple[ViewSample, ...]
    labels: tuple[IdImage, ...]


class SceneData:
    """One scene, read once.

    Args:
        settings: Everything about the scene.
    """

    def __init__(self, settings: OmniSeg3DSettings) -> None:
        self.settings = settings
        self.root = settings.data.folder

    @cached_property
    def scene(self) -> Scene:
        """The posed views."""
        s = self.settings
        return read_scene(s.data, scale=s.field.scale, faithful=s.faithful)

    def ray_bank(self, rows: Mapping[str, Rows]) -> RayBank:
        """Return the training rays, with patches where they are prepared.

        Args:
            rows: Rows of the prepared stages by label.
        """
        patches = rows.get(PATCHES_LABEL)
        pixels = [self._training_pixels(i, patches) for i in self.scene.split(TRAIN)]
        return RayBank(self.scene, pixels, TRAIN)

    def sample(self, view: View, *, scale: float = 1.0, with_rgb: bool = True) -> ViewSample:
        """Return one view as a sample, possibly at a reduced size."""
        height, width = self.scene.size_hw
        size = max(1, round(height * scale)), max(1, round(width * scale))
        matrix = self.scene.camera_matrix.copy()
        matrix[0] *= size[1] / width
        matrix[1] *= size[0] / height
        rgb = None
        if with_rgb:
            resized = replace(self.scene, size_hw=size)
            values = read_view_rgb(resized, view, faithful=self.settings.faithful)
            rgb = np.rint(values * 255).astype(np.uint8)
        return ViewSample(view.name, matrix, view.world_from_cam, size, rgb)

    def labels(self, view: View, pattern: str, scale: float) -> IdImage | None:
        """Return the ids of a view at a reduced size, None where it has none."""
        height, width = self.scene.size_hw
        size = max(1, round(height * scale)), max(1, round(width * scale))
        return read_labels(self.root, pattern, replace(self.scene, size_hw=size), view)

    def labelled_views(self, pattern: str) -> list[int]:
        """Return the numbers of the views that have a label file.

        Raises:
            MissingImageError: No view has one.
        """
        views = self.scene.views
        found = [i for i, v in enumerate(views) if label_path(self.root, pattern, v).is_file()]
        if not found:
            raise MissingImageError(
                f"{self.root}: no view has labels {pattern!r} (tried "
                f"{label_path(self.root, pattern, views[0])})"
            )
        return found

    def _training_pixels(self, index: int, patches: Rows | None) -> ViewPixels:
        view = self.scene.views[index]
        pixels = read_view(self.scene, view, faithful=self.settings.faithful)
        if patches is None or pixels.hierarchy is not None:
            return pixels
        try:
            content = patches.read_file(view.name, hierarchy_file(view.name))
        except KeyError:
            return pixels  # Its masks were rejected; the image still trains color.
        hierarchy = fit_hierarchy(read_npz(content, view.name), self.scene.size_hw, view.name)
        return ViewPixels(pixels.rgb, pixels.depth, hierarchy)


class HeldOutViews(Dataset):
    """The views of a split, one sample each.

    Args:
        data: The scene.
        split: Name of the split.
    """

    def __init__(self, data: SceneData, split: str) -> None:
        self._data, self._indices = data, data.scene.split(split)

    def __len__(self) -> int:
        return len(self._indices)

    def key(self, index: int) -> str:
        """Return the view's name."""
        return self._data.scene.views[self._indices[index]].name

    def load(self, index: int, rng: np.random.Generator) -> ViewSample:
        """Read one view."""
        return self._data.sample(self._data.scene.views[self._indices[index]])

    def collate(self, samples: Sequence[Any]) -> Any:
        """Return the samples as they are: views are rendered one by one."""
        return list(samples)


class ClickedObjects(Dataset):
    """Objects with truth, each clicked at once in the training view that shows most of it.

    The click is the pixel deepest inside the object there. It is scored in the held-out views
    that show it; where no held-out view has labels, in the reference view itself.

    Args:
        data: The scene.
        pattern: Where the truth is.
    """

    def __init__(self, data: SceneData, pattern: str) -> None:
        self._data, self._pattern = data, pattern
        self._scale = data.settings.evaluation.image_scale
        self._min_px = data.settings.evaluation.min_object_px
        views = data.scene.views
        self._labels = {
            i: labels
            for i in data.labelled_views(pattern)
            if (labels := data.labels(views[i], pattern, self._scale)) is not None
        }
        self._objects = self._choose()

    def __len__(self) -> int:
        return len(self._objects)

    def key(self, index: int) -> str:
        """Return the object's id."""
        return f"object_{self._objects[index][0]:06d}"

    def load(self, index: int, rng: np.random.Generator) -> ClickSample:
        """Make the click and its targets."""
        object_id, reference, targets = self._objects[index]
        mask = self._labels[reference] == object_id
        depth_px = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
        row, column = np.unravel_index(int(depth_px.argmax()), mask.shape)
        return ClickSample(
            object_id,
            self._sample(reference, with_rgb=True),
            int(column),
            int(row),
            mask,
            tuple((self._sample(i), self._labels[i] == object_id) for i in targets),
        )

    def collate(self, samples: Sequence[Any]) -> Any:
        """Return the samples as they are."""
        return list(samples)

    def _sample(self, view_idx: int, *, with_rgb: bool = False) -> ViewSample:
        view = self._data.scene.views[view_idx]
        return self._data.sample(view, scale=self._scale, with_rgb=with_rgb)

    def _choose(self) -> list[tuple[int, int, tuple[int, ...]]]:
        """Return id, reference view and target views of every object that is seen well enough."""
        held_out = set(self._data.scene.splits.get(TEST, ()))
        sizes: dict[int, dict[int, int]] = {}
        for view_idx, labels in self._labels.items():
            for object_id, count in zip(*np.unique(labels, return_counts=True), strict=True):
                if object_id > 0 and count >= self._min_px:
                    sizes.setdefault(int(object_id), {})[view_idx] = int(count)
        chosen = []
        for object_id, counts in sorted(sizes.items()):
            candidates = {i: n for i, n in counts.items() if i not in held_out} or counts
            reference = max(candidates, key=lambda i: (candidates[i], -i))
            targets = tuple(i for i in counts if i in held_out and i != reference)
            alone = held_out.isdisjoint(self._labels) or set(self._labels) == {reference}
            if targets or alone:
                chosen.append((object_id, reference, targets or (reference,)))
        if not chosen:
            raise InputError(
                f"no object of at least {self._min_px} pixels is seen in a training and a held-out "
                "view; lower evaluation.min_object_px"
            )
        return chosen


class ReplicaInstances(Dataset):
    """Objects of the Replica protocol over all frames with labels and depth.

    Args:
        data: The scene.
    """

    def __init__(self, data: SceneData) -> None:
        settings = data.settings
        name = settings.evaluation.replica_scene
        if name and name not in OBJECT_IDS:
            raise InputError(
                f"evaluation.replica_scene {name!r} is unknown; there are {', '.join(OBJECT_IDS)}"
            )
        excluded = EXCLUDED_FRAMES.get(name, range(0))
        numbers = [
            i
            for i in data.labelled_views(settings.data.labels)
            if not _is_excluded(data, i, excluded)
        ]
        views = [data.scene.views[i] for i in numbers]
        found = [read_labels(data.root, settings.data.labels, data.scene, v) for v in views]
        depths = [read_view_depth(data.scene, v) for v in views]
        if any(depth is None for depth in depths):
            raise InputError("the Replica protocol needs a depth image for every labelled view")
        to_mm = data.scene.scale * 1000.0
        self._depths_mm = [np.rint(d.astype(np.float64) * to_mm) for d in depths if d is not None]
        self._labels = [labels for labels in found if labels is not None]
        self._views = tuple(data.sample(view, with_rgb=False) for view in views)
        present = sorted({int(i) for labels in self._labels for i in np.unique(labels)} - {0})
        self._ids = OBJECT_IDS.get(name, tuple(present))

    def __len__(self) -> int:
        return len(self._ids)

    def key(self, index: int) -> str:
        """Return the object's id."""
        return f"object_{self._ids[index]:06d}"

    def load(self, index: int, rng: np.random.Generator) -> InstanceSample:
        """Weigh the views for one object."""
        object_id = self._ids[index]
        depths = [depth.astype(np.int64) for depth in self._depths_mm]
        weights = area_weights(self._labels, depths, object_id)
        return InstanceSample(object_id, weights, self._views, tuple(self._labels))

    def collate(self, samples: Sequence[Any]) -> Any:
        """Return the samples as they are."""
        return list(samples)


def _is_excluded(data: SceneData, view_idx: int, frames: range) -> bool:
    digits = "".join(c for c in data.scene.views[view_idx].name if c.isdigit())
    return bool(digits) and int(digits) in frames
