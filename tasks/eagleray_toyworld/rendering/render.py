"""Render one view of a scene: the picture and every truth channel, pixel by pixel exact."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eagleray_toyworld.rendering.camera import Camera
from eagleray_toyworld.rendering.light import ambient_light, reflection, sky_radiance, to_bytes
from eagleray_toyworld.rendering.noise import solid_noise, speckle
from eagleray_toyworld.rendering.primitive import Primitive, place
from eagleray_toyworld.rendering.raycast import (
    TILE,
    Hits,
    RayTiles,
    cast_shadows,
    from_tiles,
    make_tiles,
    trace,
)
from eagleray_toyworld.rendering.texture import TEXTURES
from eagleray_toyworld.scene.classes import street_class
from eagleray_toyworld.scene.material import Pattern
from eagleray_toyworld.scene.scene import Scene
from eagleray_toyworld.scene.shape import Ellipsoid, surface_normal

_BAND_PX = 1 << 19
"""Rays in flight at a time; bounds memory for any image size."""
_CHUNK_PX = 1 << 14
"""Pixels textured in one array operation."""
_LEAF_TILT = 0.9
"""How far the normal of leaves is tilted at random, for shading only."""
_LEVEL_COS = 0.95
"""Surfaces flatter than this are tested for something above them."""
_COVERED_SKY = 0.35
"""Share of the sky's light that reaches level ground under an object."""
_COVER_REACH_M = 1.0
"""Only objects that begin at most this far above the ground take its sky light, meters."""
_UP = (0.0, 0.0, 1.0)
_NOISE_GOLDEN = 0.6180339887
"""Spreads the noise offsets of parts evenly."""


@dataclass(frozen=True, kw_only=True)
class Frame:
    """A picture with its truth. Arrays are (height, width) unless said otherwise.

    Attributes:
        rgb: (height, width, 3) uint8 picture, display-referred.
        train_id: uint8 class (see ``STREET_CLASSES``); 255 = void.
        object_id: int32 number of the object, 0 = sky.
        instance_id: int32, equal to ``object_id`` on things, 0 elsewhere.
        part_id: int32 scene-wide number of the part, 0 = sky.
        range_m: float32 distance from the camera center along the ray, meters; inf = sky.
        depth_m: float32 distance along the camera's z axis, meters; inf = sky. (Negative behind the
            image plane of a panorama.)
        normal: (height, width, 3) float32 outward unit normal, world frame; 0 = sky.
        lidar_reflectance: float32 diffuse reflectance at the lidar's wavelength, 0 = sky.
    """

    rgb: NDArray[np.uint8]
    train_id: NDArray[np.uint8]
    object_id: NDArray[np.int32]
    instance_id: NDArray[np.int32]
    part_id: NDArray[np.int32]
    range_m: NDArray[np.float32]
    depth_m: NDArray[np.float32]
    normal: NDArray[np.float32]
    lidar_reflectance: NDArray[np.float32]


@dataclass(kw_only=True)
class _Surface:
    """Per-ray surface values of a band, flat over (tiles * TILE * TILE)."""

    point: NDArray[np.float32]
    normal: NDArray[np.float32]
    albedo: NDArray[np.float32]
    extra: NDArray[np.float32]
    sunward: NDArray[np.float32]
    skyward: NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class _View:
    """What stays the same over the bands of one picture."""

    scene: Scene
    primitives: tuple[Primitive, ...]
    pixel_rad: float


def _visible_runs(
    primitive_idx: NDArray[np.int32],
) -> Iterator[tuple[int, NDArray[np.intp]]]:
    """Yield (primitive index, ray indices) for all primitives that are seen, in chunks."""
    order = np.argsort(primitive_idx, kind="stable")
    ordered = primitive_idx[order]
    ids, starts = np.unique(ordered, return_index=True)
    for index, first, last in zip(ids, starts, [*starts[1:], len(order)], strict=True):
        for start in range(first, last, _CHUNK_PX):
            yield int(index), order[start : min(start + _CHUNK_PX, last)]


def _local(primitive: Primitive, world: NDArray[np.float32]) -> NDArray[np.float32]:
    x, y, z = primitive.to_local((world[0], world[1], world[2]))
    return np.stack(np.broadcast_arrays(x, y, z)).astype(np.float32, copy=False)


def _shading_normal(
    primitive: Primitive, local: NDArray[np.float32], normal: NDArray[np.float32], offset: float
) -> NDArray[np.float32]:
    """Tilt the normals of foliage at random, one tilt per leaf."""
    if primitive.material.pattern is not Pattern.FOLIAGE:
        return normal
    scale = 0.3 * primitive.material.scale_m
    warped = local + np.float32(scale) * solid_noise(local, 0.5 * scale, offset=offset)
    leaf = speckle(warped, scale, offset=offset)
    tilted = normal + np.float32(_LEAF_TILT) * leaf
    length = tilted[0] * tilted[0] + tilted[1] * tilted[1] + tilted[2] * tilted[2]
    return tilted / np.sqrt(length + np.float32(1e-12))


def _shade_run(
    view: _View,
    primitive: Primitive,
    rays: NDArray[np.float32],
    t: NDArray[np.float32],
    out: _Surface,
    idx: NDArray[np.intp],
) -> None:
    """Fill the surface values of the rays that see one primitive."""
    material = primitive.material
    offset = (primitive.part_id * _NOISE_GOLDEN) % 1.0 * 64.0
    world = rays * t
    center = primitive.center_m.astype(np.float32)[:, None]
    local = _local(primitive, world - center)
    local_normal = surface_normal(primitive.shape, local)
    normal = np.stack(np.broadcast_arrays(*primitive.to_world(tuple(local_normal))))
    normal = normal.astype(np.float32, copy=False)
    facing = -(normal[0] * rays[0] + normal[1] * rays[1] + normal[2] * rays[2])
    if isinstance(primitive.shape, Ellipsoid) and primitive.shape.hole_scale_m > 0:
        flip = np.where(facing < 0, np.float32(-1), np.float32(1))
        normal, facing = normal * flip, facing * flip
    pixel_m = t * np.float32(view.pixel_rad) / np.maximum(np.sqrt(np.maximum(facing, 0)), 0.1)
    albedo = TEXTURES[material.pattern](material, local, local_normal, pixel_m, offset)
    shading = _shading_normal(primitive, local, normal, offset)
    sun = view.scene.sun.direction
    out.point[:, idx] = world + normal * (np.float32(2e-3) + np.float32(2e-5) * t)
    out.normal[:, idx] = normal
    out.albedo[:, idx] = np.clip(albedo, 0.0, 2.5)
    out.sunward[idx] = shading[0] * sun[0] + shading[1] * sun[1] + shading[2] * sun[2]
    out.skyward[idx] = 0.5 + 0.5 * shading[2]
    if material.gloss > 0:
        mirror = reflection(view.scene.sky, rays, normal, np.maximum(facing, 0.0))
        out.extra[:, idx] = mirror * np.float32(material.gloss)
    if material.glow > 0:
        out.extra[:, idx] += albedo * np.float32(material.glow)


def _surface(view: _View, tiles: RayTiles, hits: Hits) -> _Surface:
    rays = tiles.directions.reshape(3, -1)
    count = rays.shape[1]
    out = _Surface(
        point=np.zeros((3, count), np.float32),
        normal=np.zeros((3, count), np.float32),
        albedo=np.zeros((3, count), np.float32),
        extra=np.zeros((3, count), np.float32),
        sunward=np.full(count, -1.0, np.float32),
        skyward=np.zeros(count, np.float32),
    )
    t = hits.range_m.ravel()
    for index, idx in _visible_runs(hits.primitive_idx.ravel()):
        if index < 0:
            continue
        _shade_run(view, view.primitives[index], rays[:, idx], t[idx], out, idx)
    return out


def _radiance(view: _View, tiles: RayTiles, hits: Hits, surface: _Surface) -> NDArray[np.float32]:
    """Return (3, tiles, TILE * TILE) linear radiance."""
    scene = view.scene
    shape = hits.range_m.shape
    facing = (surface.sunward > 0).reshape(shape)
    points = surface.point.reshape(3, *shape)
    lit = cast_shadows(view.primitives, points, facing, scene.sun.direction).ravel()
    direct = np.where(lit, surface.sunward, np.float32(0.0))
    flat = (surface.normal[2] > _LEVEL_COS).reshape(shape)
    open_above = cast_shadows(view.primitives, points, flat, _UP, reach_m=_COVER_REACH_M)
    covered = (flat & ~open_above).ravel()
    skyward = surface.skyward * np.where(covered, np.float32(_COVERED_SKY), np.float32(1.0))
    t = hits.range_m.ravel()
    is_sky = hits.primitive_idx.ravel() < 0
    haze = np.where(is_sky, 0.0, t / (t + np.float32(scene.sky.haze_distance_m)))
    haze = haze.astype(np.float32)
    out = np.empty_like(surface.albedo)
    for k, ambient in enumerate(ambient_light(scene.sky)):
        light = direct * np.float32(scene.sun.color[k])
        light += skyward * np.float32(ambient * 0.75) + np.float32(ambient * 0.25)
        value = surface.albedo[k] * light + surface.extra[k]
        out[k] = value + (np.float32(scene.sky.horizon[k]) - value) * haze
    sky_idx = np.flatnonzero(is_sky)
    rays = tiles.directions.reshape(3, -1)
    for start in range(0, len(sky_idx), _CHUNK_PX):
        some = sky_idx[start : start + _CHUNK_PX]
        out[:, some] = sky_radiance(scene.sky, scene.sun, rays[:, some])
    return (out * np.float32(scene.sky.exposure)).reshape(3, *shape)


def _lookup(
    primitives: Sequence[Primitive], index: NDArray[np.int32]
) -> dict[str, NDArray[np.generic]]:
    """Turn primitive indices into label images; the last table entry is the sky."""
    tables: dict[str, NDArray[np.generic]] = {
        "train_id": np.array(
            [p.train_id for p in primitives] + [street_class("sky").train_id], np.uint8
        ),
        "object_id": np.array([p.object_id for p in primitives] + [0], np.int32),
        "instance_id": np.array([p.object_id * p.is_thing for p in primitives] + [0], np.int32),
        "part_id": np.array([p.part_id for p in primitives] + [0], np.int32),
        "lidar_reflectance": np.array(
            [p.material.lidar_reflectance for p in primitives] + [0], np.float32
        ),
    }
    return {name: table[index] for name, table in tables.items()}


def _render_band(view: _View, camera: Camera, rows: slice) -> dict[str, NDArray[np.generic]]:
    rays = camera.rays(rows)
    size = (rays.shape[1], rays.shape[2])
    tiles = make_tiles(rays, camera.world_from_cam[:3, :3])
    hits = trace(view.primitives, tiles)
    surface = _surface(view, tiles, hits)
    radiance = _radiance(view, tiles, hits, surface)
    shape = hits.range_m.shape
    index = from_tiles(hits.primitive_idx[None], size)[0]
    range_m = from_tiles(hits.range_m[None], size)[0]
    band = _lookup(view.primitives, index)
    band["rgb"] = np.moveaxis(from_tiles(to_bytes(radiance), size), 0, 2)
    band["range_m"] = range_m
    band["depth_m"] = range_m * np.where(np.isfinite(range_m), rays[2], np.float32(1.0))
    band["normal"] = np.moveaxis(from_tiles(surface.normal.reshape(3, *shape), size), 0, 2)
    return band


def _pixel_rad(camera: Camera) -> float:
    """Return the angle between neighboring rays in the image center."""
    height, width = camera.size_hw
    row = camera.rays(slice(height // 2, height // 2 + 1))[:, 0].astype(np.float64)
    if width < 2:
        return 1e-3
    mid = min(width // 2, width - 2)
    return float(np.linalg.norm(row[:, mid] - row[:, mid + 1]))


def render(scene: Scene, camera: Camera, *, time_s: float = 0.0) -> Frame:
    """Render a scene as a camera sees it at a moment.

    Works in bands of rows, so memory stays bounded for any image size. Every pixel is one ray
    through its center; labels are those of the first surface on that ray.

    Args:
        scene: The scene.
        camera: Any camera.
        time_s: Time in seconds; objects with a motion are moved, the camera is not.

    Returns:
        The picture and its truth.

    Raises:
        ValueError: The camera has no pixels.

    Example:
        >>> from eagleray_toyworld.worlds.street import street_camera, street_scene
        >>> scene = street_scene(seed=0, index=0)
        >>> frame = render(scene, street_camera(scene, size_hw=(128, 256)))
        >>> frame.rgb.shape, frame.train_id.dtype
        ((128, 256, 3), dtype('uint8'))
    """
    height, width = camera.size_hw
    if height < 1 or width < 1:
        raise ValueError(f"a camera needs at least 1 x 1 pixels, got size_hw {camera.size_hw}")
    viewer = camera.world_from_cam[:3, 3].astype(np.float64)
    view = _View(scene=scene, primitives=place(scene, time_s, viewer), pixel_rad=_pixel_rad(camera))
    step = max(TILE, _BAND_PX // width // TILE * TILE)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        bands = [
            _render_band(view, camera, slice(top, min(top + step, height)))
            for top in range(0, height, step)
        ]
    merged = {
        name: np.ascontiguousarray(np.concatenate([band[name] for band in bands]))
        for name in bands[0]
    }
    return Frame(**merged)
