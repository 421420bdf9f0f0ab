"""Training rays on the device: all pixels of the training views, drawn from at random per step.

What a step draws depends on (seed, phase, step) only, so training can begin at any step
and the color phase sees the same rays whatever the number of ranks. In the semantic phase every
rank has one image of its own.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from eagleray.task import InputError, Phase
from eagleray_omniseg3d.masks.hierarchy import Hierarchy
from eagleray_omniseg3d.scenes.pixels import ViewPixels
from eagleray_omniseg3d.scenes.rays import directions_of_pixels, world_rays
from eagleray_omniseg3d.scenes.scene import Scene

COLOR, SEMANTICS = "color", "semantics"


@dataclass(frozen=True)
class RayBatch:
    """The rays of one rank and step.

    Args:
        rays_o: (n, 3) float32 origins, scene coordinates.
        rays_d: (n, 3) float32 directions, camera z 1.
        noise: (n,) in [0, 1), moves a ray's first sample.
        rgb: (n, 3) float32 colors in [0, 1].
        background: (n, 3) float32, for a random background.
        depth: (n,) float32 depths, 0 = unknown; None where the scene has none.
        patch_ids: (n,) int64, semantic phase only.
        correlation: (P, P) uint8 of their image, semantic phase only.
        view_idx: Their image, semantic phase only.
        pixel_idx: (n,) int64, their pixels in it, row by row, semantic phase only.
    """

    rays_o: Tensor
    rays_d: Tensor
    noise: Tensor
    rgb: Tensor
    background: Tensor
    depth: Tensor | None = None
    patch_ids: Tensor | None = None
    correlation: Tensor | None = None
    view_idx: int | None = None
    pixel_idx: Tensor | None = None


class RayBank:
    """All pixels of the training views, stored compactly (3 bytes of color per pixel).

    Args:
        scene: The scene.
        pixels: Pixels of the training views, in the order of the split.
        split: Which views.
    """

    def __init__(self, scene: Scene, pixels: Sequence[ViewPixels], split: str) -> None:
        self.scene = scene
        self.width = scene.size_hw[1]
        self.num_pixels = scene.size_hw[0] * self.width
        self.camera_matrix = torch.from_numpy(scene.camera_matrix).float()
        self.world_from_cam = torch.from_numpy(scene.poses(split)).float()
        self._rgb = torch.from_numpy(np.stack([p.rgb.reshape(-1, 3) for p in pixels]))
        depths = [p.depth for p in pixels if p.depth is not None]
        self._depth = None
        if len(depths) == len(pixels):
            self._depth = torch.from_numpy(np.stack([d.ravel() for d in depths]))
        self._hierarchies = [p.hierarchy for p in pixels]
        self._labelled = [i for i, h in enumerate(self._hierarchies) if _has_patches(h)]

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
        """Yield the batches of one rank from ``start_step`` on, without end.

        All ranks together have ``phase.batch_size`` rays per step.

        Raises:
            InputError: The semantic phase has no image with patches.
        """
        self._to(device)
        if phase.name == SEMANTICS and not self._labelled:
            raise InputError(
                "no training view has patches: prepare the masks first, or set masks.source to "
                "where they are"
            )
        share = rank, world_size
        for step in itertools.count(start_step):
            if phase.name == SEMANTICS:
                own = _generator(seed, phase.name, step, rank)
                yield self._image_batch(phase.batch_size // world_size, own, device)
            else:
                shared = _generator(seed, phase.name, step)
                yield self._mixed_batch(phase.batch_size, share, shared, device)

    def _mixed_batch(
        self,
        count: int,
        share: tuple[int, int],
        generator: torch.Generator,
        device: torch.device,
    ) -> RayBatch:
        """Draw rays over all images: images with, pixels without replacement; keep a rank's
        share.
        """
        rank, world_size = share
        view_idx = torch.randint(len(self.world_from_cam), (count,), generator=generator)
        pixel_idx = self._distinct_pixels(count, generator)
        noise = torch.rand(count, generator=generator)
        background = torch.rand(count, 3, generator=generator)
        own = slice(rank * count // world_size, (rank + 1) * count // world_size)
        places = (view_idx[own], pixel_idx[own], noise[own], background[own])
        return self._rays(places, device)

    def _image_batch(
        self, count: int, generator: torch.Generator, device: torch.device
    ) -> RayBatch:
        """Draw distinct pixels of one image."""
        count = min(max(count, 1), self.num_pixels)
        choice = int(torch.randint(len(self._labelled), (1,), generator=generator))
        view = self._labelled[choice]
        pixel_idx = self._distinct_pixels(count, generator)
        noise = torch.rand(count, generator=generator)
        background = torch.rand(count, 3, generator=generator)
        views = torch.full((count,), view)
        hierarchy = self._hierarchies[view]
        if hierarchy is None:
            raise RuntimeError(f"view {view} was listed with patches but has none")
        ids = torch.from_numpy(hierarchy.indices.ravel().astype(np.int64))[pixel_idx]
        rays = self._rays((views, pixel_idx, noise, background), device)
        return replace(
            rays,
            patch_ids=ids,
            correlation=torch.from_numpy(hierarchy.correlation),
            view_idx=view,
            pixel_idx=pixel_idx.to(device),
        )

    def _rays(
        self, places: tuple[Tensor, Tensor, Tensor, Tensor], device: torch.device
    ) -> RayBatch:
        view_idx, pixel_idx, noise, background = (tensor.to(device) for tensor in places)
        directions = directions_of_pixels(self.camera_matrix, pixel_idx, self.width)
        rays_o, rays_d = world_rays(directions, self.world_from_cam[view_idx])
        depth = None if self._depth is None else self._depth[view_idx, pixel_idx]
        rgb = self._rgb[view_idx, pixel_idx].float() / 255.0
        return RayBatch(rays_o, rays_d, noise, rgb, background, depth)

    def _distinct_pixels(self, count: int, generator: torch.Generator) -> Tensor:
        if count > self.num_pixels:
            return torch.randint(self.num_pixels, (count,), generator=generator)
        return torch.randperm(self.num_pixels, generator=generator)[:count]

    def _to(self, device: torch.device) -> None:
        self.camera_matrix = self.camera_matrix.to(device)
        self.world_from_cam = self.world_from_cam.to(device)
        self._rgb = self._rgb.to(device)
        self._depth = None if self._depth is None else self._depth.to(device)


def _generator(*key: object) -> torch.Generator:
    text = "/".join(map(str, key))
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "little")
    return torch.Generator().manual_seed(seed)


def _has_patches(hierarchy: Hierarchy | None) -> bool:
    return hierarchy is not None and bool((hierarchy.indices > 0).any())
