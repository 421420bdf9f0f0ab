"""Views to be guessed, and the rays of all views to learn from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from eagleray.task import Dataset, Phase, Rows
from eagleray_vision.images.reading import read_rgb

from .cameras import View, rays_of


@dataclass(frozen=True, slots=True)
class RayBatch:
    """Rays with what they see: ``(n, 3)`` float32 each, colors 0 to 1."""

    origins: Tensor
    directions: Tensor
    colors: Tensor


def read_view(rows: Rows, key: str) -> View:
    """Return a row of ``ViewStage`` as a view."""
    row = rows[key]
    place = np.array(row["scene_from_cam"], np.float32).reshape(3, 4)
    return View(key, read_rgb(row["photo"]), place, float(row["focal_px"]))


def as_rays(view: View) -> RayBatch:
    """Return the rays of all pixels of a view, row by row."""
    origins, directions = rays_of(view)
    colors = torch.from_numpy(view.photo.reshape(-1, 3).copy()).float() / 255
    return RayBatch(torch.from_numpy(origins), torch.from_numpy(directions), colors)


@dataclass(frozen=True, slots=True)
class Sample:
    """A view to be guessed: its rays ``(H * W, 3)``, and the view itself."""

    rays: RayBatch
    view: View


class Views(Dataset[Sample, RayBatch]):
    """Whole views, to be scored.

    Args:
        rows: Rows of ``ViewStage``.
    """

    def __init__(self, rows: Rows) -> None:
        self._rows, self._keys = rows, list(rows.keys())

    def __len__(self) -> int:
        return len(self._keys)

    def key(self, index: int) -> str:
        """Return the view's name."""
        return self._keys[index]

    def load(self, index: int, rng: np.random.Generator) -> Sample:
        """Read one view."""
        view = read_view(self._rows, self._keys[index])
        return Sample(as_rays(view), view)

    def collate(self, samples: Sequence[Sample]) -> RayBatch:
        """Join the rays of views."""
        return join([sample.rays for sample in samples])


def join(rays: Sequence[RayBatch]) -> RayBatch:
    """Return the rays of several views as one batch."""
    return RayBatch(
        torch.cat([one.origins for one in rays]),
        torch.cat([one.directions for one in rays]),
        torch.cat([one.colors for one in rays]),
    )


class RayBank:
    """All rays of the training views, on the device; a step draws some of them.

    Args:
        rows: Rows of ``ViewStage``.
    """

    def __init__(self, rows: Rows) -> None:
        self._rays = join([as_rays(read_view(rows, key)) for key in rows.keys()])  # noqa: SIM118

    def batches(
        self,
        phase: Phase,
        *,
        seed: int,
        start_step: int,
        rank: int,
        world_size: int,
        device: torch.device,
    ) -> Iterator[RayBatch]:
        """Yield one rank's share of the rays of each step, which depend on seed, phase and step."""
        rays = RayBatch(
            self._rays.origins.to(device),
            self._rays.directions.to(device),
            self._rays.colors.to(device),
        )
        step = start_step
        while True:
            rng = np.random.default_rng([seed, step, *phase.name.encode()])
            drawn = rng.integers(0, len(rays.colors), phase.batch_size)[rank::world_size]
            chosen = torch.from_numpy(drawn).to(device)
            yield RayBatch(rays.origins[chosen], rays.directions[chosen], rays.colors[chosen])
            step += 1
