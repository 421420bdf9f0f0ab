"""What the toy CLIP is trained and tested on: rendered frames whose every region has its words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from eagleray_toyworld.rendering.camera import Camera
from eagleray_toyworld.rendering.render import render
from eagleray_toyworld.scene.paint import PAINTS, object_color, repaint
from eagleray_toyworld.scene.scene import Scene, SceneObject
from eagleray_toyworld.scene.words import SURFACE_WORDS, object_word, part_words
from eagleray_toyworld.worlds.home import home_camera, home_panorama_camera, home_scene
from eagleray_toyworld.worlds.street import street_camera, street_panorama_camera, street_scene

COLORS = (*PAINTS, "gray", "brown")
"""Colors that captions name."""
NO_COLOR = 255
"""Where a region's color has no clear name."""
HELD_OUT: frozenset[tuple[str, str]] = frozenset(
    {
        *(("car", "red"), ("car", "green"), ("bus", "blue"), ("bus", "white")),
        *(("truck", "yellow"), ("truck", "purple"), ("chair", "orange"), ("chair", "black")),
        *(("sofa", "green"), ("sofa", "white"), ("door", "red"), ("door", "purple")),
        *(("bed", "blue"), ("bed", "yellow"), ("table", "orange"), ("table", "black")),
    }
)
"""Pairs of class and color that no training frame shows and no training caption says."""
_PAINTED = (
    *("car", "truck", "bus", "person", "building", "fence"),
    *("chair", "sofa", "door", "bed", "table"),
)
"""Classes that are painted in clear colors."""
_PAINT_SHARE = 0.7
_TRAIN_SEED, _TEST_SEED = 20, 21
"""Seeds of the worlds; those of other records are smaller."""


@dataclass(frozen=True, kw_only=True)
class Frame:
    """A picture cut into regions, one word each.

    Attributes:
        rgb: (height, width, 3) uint8.
        region: (height, width) uint16 numbers of regions.
        word: (regions,) uint8 places in `SURFACE_WORDS`.
        color: (regions,) uint8 places in `COLORS`, or `NO_COLOR`.
    """

    rgb: NDArray[np.uint8]
    region: NDArray[np.uint16]
    word: NDArray[np.uint8]
    color: NDArray[np.uint8]


def dressed(scene: Scene, rng: np.random.Generator, *, only_held_out: bool) -> Scene:
    """Return a scene with many things in clear colors.

    Args:
        scene: Any scene.
        rng: Draws the colors.
        only_held_out: Whether things of held-out classes are given held-out colors; else no thing
            of the scene is of a held-out pair, whatever color it came with.
    """
    objects = []
    for item in scene.objects:
        word = object_word(item)
        if word in _PAINTED:
            held = [name for name in PAINTS if (word, name) in HELD_OUT]
            free = [name for name in PAINTS if name not in held]
            if only_held_out and held:
                objects.append(_painted(item, rng, held))
                continue
            if rng.random() < _PAINT_SHARE or (word, object_color(item)) in HELD_OUT:
                objects.append(_painted(item, rng, free))
                continue
        objects.append(item)
    return replace(scene, objects=tuple(objects))


def _painted(item: SceneObject, rng: np.random.Generator, names: Sequence[str]) -> SceneObject:
    """Return an object in one of some colors, a little lighter or darker."""
    light = rng.uniform(0.85, 1.15)
    r, g, b = (
        min(max(channel * light * rng.uniform(0.95, 1.05), 0.0), 1.0)
        for channel in PAINTS[names[int(rng.integers(len(names)))]]
    )
    return repaint(item, (r, g, b))


def make_frame(scene: Scene, camera: Camera) -> Frame:
    """Render a scene and cut it into regions: a word of an object is one."""
    frame = render(scene, camera)
    words = part_words(scene)
    colors = {item.object_id: object_color(item) for item in scene.objects}
    owner = {part: item for item in scene.objects for part in item.part_ids()}
    numbers: dict[tuple[int, str], int] = {}
    seen, inverse = np.unique(frame.part_id, return_inverse=True)
    table = np.zeros(len(seen), np.uint16)
    for k, part in enumerate(seen.tolist()):
        item = owner.get(part)
        table[k] = numbers.setdefault((item.object_id if item else 0, words[part]), len(numbers))
    named = [(word, _color_of(word, colors.get(one))) for one, word in numbers]
    return Frame(
        rgb=frame.rgb,
        region=table[inverse].reshape(frame.part_id.shape),
        word=np.array([SURFACE_WORDS.index(word) for word, _ in named], np.uint8),
        color=np.array([COLORS.index(c) if c else NO_COLOR for _, c in named], np.uint8),
    )


def _color_of(word: str, color: str | None) -> str | None:
    """Return the color that captions may say: that of things that are painted."""
    return color if word in _PAINTED and color in COLORS else None


def cameras(scene: Scene, kind: str, rng: np.random.Generator) -> Iterator[Camera]:
    """Yield the cameras of a scene: one to the street, two in a room, every third a panorama."""
    is_panorama = scene.index % 3 == 2
    if kind == "street":
        if is_panorama:
            yield street_panorama_camera(scene, size_hw=(224, 448))
        else:
            fov = float(rng.uniform(55.0, 95.0))
            yield street_camera(scene, size_hw=(208, 416), horizontal_fov_deg=fov)
    elif is_panorama:
        yield home_panorama_camera(scene, size_hw=(224, 448))
    else:
        for view in range(2):
            yield home_camera(scene, size_hw=(192, 288), view_idx=view)


def frames(split: str, streets: int, homes: int, folder: Path) -> list[Frame]:
    """Render the frames of a split, or read those that are there.

    Args:
        split: ``train``, ``test``, or ``pairs`` (test scenes in held-out colors).
        streets: Number of street scenes.
        homes: Number of rooms.
        folder: Where frames are kept, a file per scene; rendering goes on where it was stopped.
    """
    out = []
    for kind, count in (("street", streets), ("home", homes)):
        for index in range(count):
            path = folder / f"{split}_{kind}_{index:05d}.npz"
            if not path.exists():
                _write(path, split, kind, index)
            with np.load(path) as file:
                number = len([name for name in file.files if name.startswith("rgb")])
                for k in range(number):
                    parts = {name: file[f"{name}{k}"] for name in Frame.__annotations__}
                    out.append(Frame(**parts))
    return out


def _write(path: Path, split: str, kind: str, index: int) -> None:
    seed = _TRAIN_SEED if split == "train" else _TEST_SEED
    build = street_scene if kind == "street" else home_scene
    rng = np.random.default_rng([seed, index, kind == "home", split == "pairs"])
    only_held_out = split == "pairs"
    scene = dressed(build(seed, index + 10_000 * only_held_out), rng, only_held_out=only_held_out)
    arrays = {}
    for k, camera in enumerate(cameras(scene, kind, rng)):
        frame = make_frame(scene, camera)
        arrays.update({f"{name}{k}": getattr(frame, name) for name in Frame.__annotations__})
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part.npz")
    np.savez(part, **arrays)
    part.replace(path)
