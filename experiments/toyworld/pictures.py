"""Draws the pictures of the toy world that the documentation shows.

python experiments/toyworld/pictures.py [--folder docs/pictures]
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from eagleray_toyworld.rendering.camera import Camera, pinhole_with_fov, rig_cameras
from eagleray_toyworld.rendering.lidar import sweep
from eagleray_toyworld.rendering.render import Frame, render
from eagleray_toyworld.scene.collector import Collector
from eagleray_toyworld.scene.dice import Dice
from eagleray_toyworld.scene.material import Material, Pattern
from eagleray_toyworld.scene.pose import look_at
from eagleray_toyworld.scene.scene import Part, Scene, Sky, Sun
from eagleray_toyworld.scene.shape import GroundPlane
from eagleray_toyworld.things.person import person_parts
from eagleray_toyworld.things.vehicle import car_parts, truck_parts
from eagleray_toyworld.worlds.room import RoomPath, room_scene
from eagleray_toyworld.worlds.street import (
    street_camera,
    street_panorama_camera,
    street_scene,
)
from eagleray_vision.panoptic.label_space import CITYSCAPES

Image8 = npt.NDArray[np.uint8]
SEED = 0
SUPERSAMPLING = 2
"""Pictures are rendered at this multiple of their size and averaged; labels are not."""
_MAX_BYTES = 290_000
_VOID_GRAY = 30
_NEAR_M, _FAR_M = 3.0, 150.0


def picture(scene: Scene, camera: Camera, time_s: float = 0.0) -> Image8:
    """Render at twice the size and average."""
    rgb = render(scene, camera, time_s=time_s).rgb
    height, width = rgb.shape[0] // SUPERSAMPLING, rgb.shape[1] // SUPERSAMPLING
    return np.asarray(Image.fromarray(rgb).resize((width, height), Image.Resampling.BOX))


def large(size_hw: tuple[int, int]) -> tuple[int, int]:
    """Return the size to render at."""
    return size_hw[0] * SUPERSAMPLING, size_hw[1] * SUPERSAMPLING


def class_colors(train_id: npt.NDArray[np.uint8]) -> Image8:
    """Color classes as Cityscapes does."""
    table = np.full((256, 3), _VOID_GRAY, np.uint8)
    table[: CITYSCAPES.num_classes] = CITYSCAPES.colors
    return table[train_id]


def id_colors(ids: npt.NDArray[np.int32], *, empty: int = 0) -> Image8:
    """Give every id a bright color of its own."""
    found, inverse = np.unique(ids, return_inverse=True)
    table = np.stack([_bright(int(k)) for k in found])
    table[found == empty] = _VOID_GRAY
    return table[inverse].reshape(*ids.shape, 3)


def _bright(number: int) -> npt.NDArray[np.uint8]:
    rng = np.random.default_rng(number)
    color = rng.random(3) * 0.75 + 0.25
    return (255 * color / max(color.max(), 1e-6) * rng.uniform(0.7, 1.0)).astype(np.uint8)


def depth_colors(range_m: npt.NDArray[np.float32]) -> Image8:
    """Color distances by their logarithm, near surfaces red and far ones blue; the sky is dark."""
    far = np.log(np.clip(range_m, _NEAR_M, _FAR_M) / _NEAR_M) / np.log(_FAR_M / _NEAR_M)
    levels = (255 * (1.0 - far)).astype(np.uint8)
    rgb = cv2.applyColorMap(levels, cv2.COLORMAP_TURBO)[..., ::-1]
    return np.where(np.isfinite(range_m)[..., None], rgb, np.uint8(_VOID_GRAY))


def normal_colors(frame: Frame) -> Image8:
    """Color surface normals, x y z as red green blue."""
    return (127.5 * (frame.normal + 1.0)).astype(np.uint8)


def grid(rows: Sequence[Sequence[Image8]], gap: int = 4) -> Image8:
    """Join pictures of one size to a table with white gaps."""
    height, width = rows[0][0].shape[:2]
    columns = len(rows[0])
    size = (len(rows) * (height + gap) - gap, columns * (width + gap) - gap, 3)
    out = np.full(size, 255, np.uint8)
    for i, row in enumerate(rows):
        for j, image in enumerate(row):
            y, x = i * (height + gap), j * (width + gap)
            out[y : y + height, x : x + width] = image
    return out


def street_picture() -> Image8:
    """Show one street frame with classes, parts and distance."""
    scene, size = street_scene(SEED, 4), (256, 512)
    frame = render(scene, street_camera(scene, size_hw=size))
    rgb = picture(scene, street_camera(scene, size_hw=large(size)))
    first = [rgb, class_colors(frame.train_id)]
    return grid([first, [id_colors(frame.part_id), depth_colors(frame.range_m)]])


def streets_picture() -> Image8:
    """Show six streets."""
    size = (150, 300)
    shown = []
    for index in (1, 6, 9, 10, 14, 16):
        scene = street_scene(SEED, index)
        shown.append(picture(scene, street_camera(scene, size_hw=large(size))))
    return grid([shown[:3], shown[3:]])


def panorama_picture() -> Image8:
    """Show a full panorama above its classes, poles cut off."""
    scene, size = street_scene(SEED, 4), (512, 1024)
    frame = render(scene, street_panorama_camera(scene, size_hw=size))
    rgb = picture(scene, street_panorama_camera(scene, size_hw=large(size)))
    band = slice(120, 350)
    return grid([[rgb[band]], [class_colors(frame.train_id)[band]]])


def rig_picture() -> Image8:
    """Show the six cameras of the vehicle."""
    scene = street_scene(SEED, 1)
    cameras = rig_cameras(scene.ego, large((150, 266)))
    names = ("CAM_FRONT_LEFT", "CAM_FRONT", "CAM_FRONT_RIGHT")
    back = ("CAM_BACK_LEFT", "CAM_BACK", "CAM_BACK_RIGHT")
    return grid([[picture(scene, cameras[n]) for n in row] for row in (names, back)])


def lidar_picture() -> Image8:
    """Show a lidar sweep from above: by class, and by intensity."""
    found = sweep(street_scene(SEED, 1))
    by_class = (0.65 * class_colors(found.train_id) + 0.35 * 255).astype(np.uint8)
    gray = np.clip(found.intensity.astype(np.float64) / 140.0, 0, 1) ** 0.5
    warm = np.stack([gray, gray**1.6, 0.35 + 0.3 * gray], axis=-1)
    shades = (255 * np.clip(warm, 0, 1)).astype(np.uint8)
    return grid([[_from_above(found.points_m, colors) for colors in (by_class, shades)]])


def _from_above(points_m: npt.NDArray[np.float32], colors: Image8) -> Image8:
    height, width, pixels_per_m = 360, 510, 6.0
    image = np.full((height, width, 3), 18, np.uint8)
    order = np.argsort(points_m[:, 2])
    x, y = points_m[order, 0], points_m[order, 1]
    u = np.round(width * 0.4 + x * pixels_per_m).astype(int)
    v = np.round(height / 2 - y * pixels_per_m).astype(int)
    for du, dv in ((0, 0), (1, 0), (0, 1)):
        inside = (u + du >= 0) & (u + du < width) & (v + dv >= 0) & (v + dv < height)
        image[v[inside] + dv, u[inside] + du] = colors[order][inside]
    return image


def room_picture() -> Image8:
    """Show a room from two sides, with the parts and the normals of one view."""
    scene, size = room_scene(SEED, 0), (330, 508)
    small, fine = (RoomPath(num_views=24, size_hw=s) for s in (size, large(size)))
    frame = render(scene, small.camera(4))
    views = [picture(scene, fine.camera(k)) for k in (4, 19)]
    return grid([views, [id_colors(frame.part_id), normal_colors(frame)]])


def parts_picture() -> Image8:
    """Show vehicles and people from close by, with their parts."""
    size = (250, 338)
    pictures: list[list[Image8]] = [[], []]
    for kind, parts, reach in (
        ("car", car_parts(Dice(SEED, 21)), 4.4),
        ("truck", truck_parts(Dice(SEED, 4)), 7.6),
        ("person", person_parts(Dice(SEED, 3)), 2.3),
    ):
        scene = _specimen(kind, parts)
        pose = look_at((0.85 * reach, -0.8 * reach, 0.5 * reach), (0.0, 0.0, 0.2 * reach))
        if kind == "person":
            pose = look_at((1.9, -1.7, 1.5), (0.0, 0.0, 0.85))
        pictures[0].append(picture(scene, pinhole_with_fov(large(size), 56.0, pose)))
        frame = render(scene, pinhole_with_fov(size, 56.0, pose))
        pictures[1].append(id_colors(frame.part_id))
    return grid(pictures)


def _specimen(kind: str, parts: tuple[Part, ...]) -> Scene:
    """Stand one object on an empty square in the afternoon."""
    gray = Material(
        pattern=Pattern.PAVING, color=(0.3, 0.3, 0.29), accent=(0.12, 0.12, 0.12), scale_m=0.8
    )
    plane = Part(name="square", shape=GroundPlane(), material=gray, casts_shadow=False)
    objects = Collector()
    objects.add("sidewalk", (plane,))
    objects.add(kind, parts)
    sun = Sun(direction=(0.2, -0.66, 0.72), color=(1.7, 1.6, 1.4))
    sky = Sky(zenith=(0.2, 0.34, 0.65), horizon=(0.6, 0.68, 0.8), exposure=1.35)
    return Scene(seed=SEED, index=0, objects=tuple(objects.objects), sun=sun, sky=sky)


def save(image: Image8, path: Path) -> None:
    """Write a PNG; in 256 colors where it would be too large for a repository otherwise."""
    Image.fromarray(image).save(path, optimize=True)
    if path.stat().st_size > _MAX_BYTES:
        reduced = Image.fromarray(image).quantize(256, kmeans=4, dither=Image.Dither.NONE)
        reduced.save(path, optimize=True)
    print(f"{path}: {image.shape[1]} x {image.shape[0]}, {path.stat().st_size / 1000:.0f} kB")


def main() -> None:
    """Draw all pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("docs/pictures"))
    parser.add_argument("--only", nargs="*", default=None, help="names of pictures")
    arguments: Any = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    makers = {
        "street": street_picture,
        "streets": streets_picture,
        "panorama": panorama_picture,
        "rig": rig_picture,
        "lidar": lidar_picture,
        "room": room_picture,
        "parts": parts_picture,
    }
    for name, make in makers.items():
        if arguments.only is None or name in arguments.only:
            save(make(), arguments.folder / f"toyworld_{name}.png")


if __name__ == "__main__":
    main()
