"""Street scenes: where things stand, drive and walk.

The street runs along x; traffic keeps to the right, so cars at negative y drive towards +x. The ego
vehicle starts near x = 0 in its lane.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from eagleray_toyworld.rendering.camera import Equirectangular, Pinhole, pinhole_with_fov
from eagleray_toyworld.scene.classes import STATIC
from eagleray_toyworld.scene.collector import Collector
from eagleray_toyworld.scene.dice import Dice
from eagleray_toyworld.scene.material import Material, Pattern
from eagleray_toyworld.scene.pose import Pose, camera_at
from eagleray_toyworld.scene.scene import Motion, Part, Scene, Sky, Sun
from eagleray_toyworld.scene.shape import GroundPlane
from eagleray_toyworld.things.building import building_parts
from eagleray_toyworld.things.furniture import (
    bin_parts,
    fence_parts,
    lamp_parts,
    post_parts,
    sign_parts,
    signal_parts,
    wall_parts,
)
from eagleray_toyworld.things.greenery import conifer_parts, hedge_parts, shrub_parts, tree_parts
from eagleray_toyworld.things.person import person_parts
from eagleray_toyworld.things.slab import slab
from eagleray_toyworld.things.vehicle import (
    bicycle_parts,
    bus_parts,
    car_parts,
    planter_parts,
    rider_parts,
    truck_parts,
)

_BACK_M, _FRONT_M = -70.0, 130.0
"""Where the furnished part of the street begins and ends along x, meters."""
_ROAD_REACH_M = 400.0
_KERB_M = 0.14
_LANE_M = 3.2
_WALK_SPEED_MPS = (0.8, 1.6)


@dataclass(frozen=True, kw_only=True)
class _Layout:
    """Distances across the street and along it, meters."""

    half_road: float
    parking: float
    sidewalk: float
    crossing_x: float | None
    crossing_half: float

    @property
    def house_line(self) -> float:
        return self.half_road + self.sidewalk

    @property
    def lane_y(self) -> float:
        return 0.5 * (self.half_road - self.parking)

    def near_crossing(self, x: float, margin: float) -> bool:
        if self.crossing_x is None:
            return False
        return abs(x - self.crossing_x) < self.crossing_half + margin


def _at(x: float, y: float, z: float = 0.0, yaw_deg: float = 0.0) -> Pose:
    return Pose(position_m=(x, y, z), yaw_rad=math.radians(yaw_deg))


def _layout(dice: Dice) -> _Layout:
    parking = dice.choice((0.0, 2.3, 2.3))
    lanes = dice.choice((1, 1, 2))
    return _Layout(
        half_road=lanes * _LANE_M + parking,
        parking=parking,
        sidewalk=dice.uniform(2.4, 4.5),
        crossing_x=dice.uniform(16.0, 45.0) if dice.chance(0.55) else None,
        crossing_half=dice.uniform(3.4, 5.0),
    )


def _flat(
    name: str, x: tuple[float, float], y: tuple[float, float], top: float, m: Material
) -> Part:
    """Return a flat box between two x, between two y, half a meter thick, at a height."""
    half = (0.5 * (x[1] - x[0]), 0.5 * (y[1] - y[0]), 0.25)
    center = (0.5 * (x[0] + x[1]), 0.5 * (y[0] + y[1]), top - 0.25)
    return slab(name, center, half, m)


def _add_ground(out: Collector, dice: Dice, lay: _Layout) -> None:
    gray = dice.uniform(0.07, 0.16)
    asphalt = Material(
        pattern=Pattern.GROUND,
        color=dice.vary((gray, gray, gray), 0.12),
        accent=(0.62, 0.62, 0.58),
        scale_m=_LANE_M,
        contrast=0.3,
        lidar_reflectance=0.15,
    )
    bare = Material(
        pattern=Pattern.GROUND,
        color=asphalt.color,
        scale_m=0.0,
        contrast=0.3,
        lidar_reflectance=0.15,
    )
    reach = (-_ROAD_REACH_M, _ROAD_REACH_M)
    parts = [_flat("road", reach, (-lay.half_road, lay.half_road), 0.0, asphalt)]
    if lay.crossing_x is not None:
        c, h = lay.crossing_x, lay.crossing_half
        parts.append(_flat("crossing", (c - h, c + h), reach, 0.004, bare))
        parts += _zebra(c - h - 2.6, lay.half_road)
    out.add("road", tuple(parts))
    grass = Material(
        pattern=Pattern.GRASS,
        color=dice.vary((0.06, 0.11, 0.025), 0.3),
        accent=dice.vary((0.20, 0.21, 0.07), 0.3),
        contrast=0.4,
    )
    plane = Part(name="grass", shape=GroundPlane(), material=grass, casts_shadow=False)
    out.add("terrain", (plane,), _at(0.0, 0.0, -0.03))
    _add_sidewalks(out, dice, lay)


def _zebra(x: float, half_road: float) -> list[Part]:
    paint = Material(color=(0.6, 0.6, 0.57), contrast=0.3, lidar_reflectance=0.6)
    count = int(half_road / 0.55)
    return [
        _flat("zebra", (x - 1.5, x + 1.5), (1.1 * k - 0.27, 1.1 * k + 0.27), 0.008, paint)
        for k in range(-count // 2 + 1, count // 2 + 1)
    ]


def _add_sidewalks(out: Collector, dice: Dice, lay: _Layout) -> None:
    gray = dice.uniform(0.18, 0.34)
    slabs = Material(
        pattern=Pattern.PAVING,
        color=dice.vary((gray, gray, 0.95 * gray), 0.15),
        accent=(0.10, 0.10, 0.09),
        scale_m=dice.uniform(0.5, 1.1),
        contrast=0.2,
        lidar_reflectance=0.25,
    )
    curb = Material(color=(0.42, 0.42, 0.40), contrast=0.2, lidar_reflectance=0.3)
    spans = [(-_ROAD_REACH_M, _ROAD_REACH_M)]
    if lay.crossing_x is not None:
        c, h = lay.crossing_x, lay.crossing_half
        spans = [(-_ROAD_REACH_M, c - h), (c + h, _ROAD_REACH_M)]
    for span in spans:
        for side in (1.0, -1.0):
            inner, outer = lay.half_road, lay.half_road + lay.sidewalk
            edges = sorted((side * (inner + 0.22), side * outer))
            kerb = sorted((side * inner, side * (inner + 0.22)))
            out.add(
                "sidewalk",
                (
                    _flat("pavement", span, (edges[0], edges[1]), _KERB_M, slabs),
                    _flat("kerb", span, (kerb[0], kerb[1]), _KERB_M, curb),
                ),
            )


def _add_side(out: Collector, dice: Dice, lay: _Layout, side: float) -> None:
    """Line one side of the street with buildings, and with greenery and fences in the gaps."""
    x = _BACK_M + dice.uniform(-8.0, 0.0)
    while x < _FRONT_M:
        length = dice.uniform(9.0, 24.0)
        gap_before_crossing = lay.near_crossing(x + 0.5 * length, 0.5 * length + 1.5)
        if gap_before_crossing and lay.crossing_x is not None:
            x = lay.crossing_x + lay.crossing_half + dice.uniform(2.5, 4.0)
            continue
        setback = dice.choice((0.2, 0.2, dice.uniform(2.5, 7.0)))
        center = x + 0.5 * length
        if dice.chance(0.74):
            depth = dice.uniform(5.0, 7.5)
            y = side * (lay.house_line + setback + depth + 0.2)
            out.add("building", building_parts(dice, 0.5 * length, depth), _at(center, y))
            if setback > 2.0:
                _add_front_garden(out, dice, lay, side, center, length)
        else:
            _add_garden(out, dice, lay, side, center, length)
        x += length + dice.choice((0.0, 0.3, dice.uniform(1.5, 6.0)))


def _add_front_garden(
    out: Collector, dice: Dice, lay: _Layout, side: float, center: float, length: float
) -> None:
    y = side * (lay.house_line + 0.45)
    kind = dice.choice(("vegetation", "fence", "wall"))
    build = {"vegetation": hedge_parts, "fence": fence_parts, "wall": wall_parts}[kind]
    out.add(kind, build(dice, 0.92 * length), _at(center, y))


def _add_garden(
    out: Collector, dice: Dice, lay: _Layout, side: float, center: float, length: float
) -> None:
    _add_front_garden(out, dice, lay, side, center, length)
    for k in range(dice.integer(2, 4)):
        x = center + length * dice.uniform(-0.4, 0.4)
        y = side * (lay.house_line + 2.5 + 3.0 * k + dice.uniform(0.0, 2.0))
        build = dice.choice((tree_parts, tree_parts, conifer_parts, shrub_parts))
        out.add("vegetation", build(dice), _at(x, y, 0.0, dice.uniform(0, 360)))


def _add_street_trees_and_lamps(out: Collector, dice: Dice, lay: _Layout) -> None:
    line = lay.half_road + 0.7
    for side in (1.0, -1.0):
        with_trees = dice.chance(0.6)
        x = _BACK_M + dice.uniform(0.0, 12.0)
        k = 0
        while x < _FRONT_M:
            if not lay.near_crossing(x, 3.0):
                if k % 3 == 0:
                    out.add("pole", lamp_parts(dice), _at(x, side * line, _KERB_M, -90.0 * side))
                elif with_trees:
                    out.add("vegetation", tree_parts(dice), _at(x, side * (line + 0.3), _KERB_M))
            x += dice.uniform(8.0, 12.0)
            k += 1


def _add_signs(out: Collector, dice: Dice, lay: _Layout) -> None:
    for _ in range(dice.integer(3, 6)):
        side = dice.choice((1.0, -1.0))
        x = dice.uniform(6.0, 70.0)
        if lay.near_crossing(x, 1.0):
            continue
        _add_post(out, dice, x, side * (lay.half_road + 0.5), side, "traffic sign")
    if lay.crossing_x is None:
        return
    for side in (1.0, -1.0):
        x = lay.crossing_x - side * (-lay.crossing_half - 0.8)
        x = lay.crossing_x - lay.crossing_half - 0.8 if side < 0 else x
        _add_post(out, dice, x, side * (lay.half_road + 0.45), side, "traffic light")


def _add_post(out: Collector, dice: Dice, x: float, y: float, side: float, kind: str) -> None:
    """Add a post and what it carries; it faces the traffic on its side of the street."""
    yaw = 180.0 if side > 0 else 0.0
    pose = _at(x, y, _KERB_M, yaw + dice.uniform(-12.0, 12.0))
    height = dice.uniform(2.3, 2.9)
    out.add("pole", post_parts(dice, height + 0.45), pose)
    build = sign_parts if kind == "traffic sign" else signal_parts
    out.add(kind, build(dice, height), pose)


def _add_parked(out: Collector, dice: Dice, lay: _Layout) -> None:
    if lay.parking == 0.0:
        return
    for side in (1.0, -1.0):
        x = _BACK_M + 20.0
        while x < 85.0:
            x += dice.uniform(5.4, 6.3)
            if dice.chance(0.35) or lay.near_crossing(x, 6.0):
                continue
            y = side * (lay.half_road - 1.15 + dice.uniform(-0.1, 0.12))
            yaw = (180.0 if side > 0 else 0.0) + dice.uniform(-2.5, 2.5)
            out.add("car", car_parts(dice), _at(x, y, 0.0, yaw))


def _add_traffic(out: Collector, dice: Dice, lay: _Layout) -> None:
    speed = dice.uniform(5.0, 12.0)
    for direction in (1.0, -1.0):
        x = dice.uniform(13.0, 26.0) if direction > 0 else dice.uniform(4.0, 16.0)
        y = -direction * lay.lane_y
        yaw = 0.0 if direction > 0 else 180.0
        while x < 110.0:
            kind = dice.choice(("car", "car", "car", "car", "truck", "bus", "bicycle"))
            pose = _at(x, y + dice.uniform(-0.3, 0.3), 0.0, yaw)
            motion = Motion(speed_mps=speed * dice.uniform(0.85, 1.15))
            if kind == "bicycle":
                pose = _at(x, y - direction * 0.9, 0.0, yaw)
                motion = Motion(speed_mps=dice.uniform(3.0, 5.5))
                out.add("rider", rider_parts(dice), pose, motion)
                out.add("bicycle", bicycle_parts(dice), pose, motion)
            else:
                build = {"car": car_parts, "truck": truck_parts, "bus": bus_parts}[kind]
                out.add(kind, build(dice), pose, motion)
            x += dice.uniform(11.0, 34.0) + (6.0 if kind in ("truck", "bus") else 0.0)
    for kind_x in (dice.uniform(-18.0, -11.0), dice.uniform(-45.0, -30.0)):
        out.add("car", car_parts(dice), _at(kind_x, -lay.lane_y), Motion(speed_mps=speed))


def _add_people(out: Collector, dice: Dice, lay: _Layout) -> None:
    for _ in range(dice.integer(8, 14)):
        side = dice.choice((1.0, -1.0))
        x = dice.uniform(2.0, 20.0) if dice.chance(0.4) else dice.uniform(-30.0, 60.0)
        y = side * (lay.half_road + dice.uniform(0.9, lay.sidewalk - 0.3))
        z = 0.0 if lay.near_crossing(x, 0.3) else _KERB_M
        yaw = dice.choice((0.0, 180.0)) + dice.uniform(-20.0, 20.0)
        motion = Motion(speed_mps=dice.uniform(*_WALK_SPEED_MPS))
        out.add("person", person_parts(dice), _at(x, y, z, yaw), motion)
    if lay.crossing_x is not None:
        x = lay.crossing_x - lay.crossing_half - 2.6
        for _ in range(dice.integer(1, 3)):
            y = dice.uniform(-lay.half_road, lay.half_road)
            yaw = dice.choice((90.0, -90.0))
            motion = Motion(speed_mps=dice.uniform(*_WALK_SPEED_MPS))
            pose = _at(x + dice.uniform(-1.2, 1.2), y, 0.0, yaw)
            out.add("person", person_parts(dice), pose, motion)


def _add_clutter(out: Collector, dice: Dice, lay: _Layout) -> None:
    for _ in range(dice.integer(2, 5)):
        side, x = dice.choice((1.0, -1.0)), dice.uniform(3.0, 45.0)
        if lay.near_crossing(x, 1.0):
            continue
        y = side * (lay.half_road + 0.6)
        if dice.chance(0.5):
            out.add(STATIC, bin_parts(dice), _at(x, y, _KERB_M))
        else:
            out.add(STATIC, planter_parts(dice), _at(x, y, _KERB_M))
    for _ in range(dice.integer(0, 2)):
        side, x = dice.choice((1.0, -1.0)), dice.uniform(3.0, 30.0)
        if not lay.near_crossing(x, 1.5):
            y = side * (lay.house_line - 0.6)
            out.add("bicycle", bicycle_parts(dice), _at(x, y, _KERB_M, dice.uniform(-12, 12)))


def _close_street(out: Collector, dice: Dice) -> None:
    """Stand large buildings and trees across both ends: the street must not run into the sky."""
    for x in (_FRONT_M + 45.0, _BACK_M - 45.0):
        for y in (-26.0, 0.0, 26.0):
            length = dice.uniform(11.0, 14.0)
            parts = building_parts(dice, length, 7.0)
            out.add("building", parts, _at(x + dice.uniform(0.0, 10.0), y, 0.0, 90.0))
        for _ in range(4):
            y = dice.uniform(-30.0, 30.0)
            direction = -1.0 if x > 0 else 1.0
            out.add("vegetation", tree_parts(dice), _at(x + direction * 12.0, y))


def daylight(dice: Dice) -> tuple[Sun, Sky]:
    """Draw a time of day and weather: sun direction and color, sky colors, haze, exposure."""
    elevation = math.radians(dice.uniform(22.0, 62.0))
    azimuth = math.radians(dice.uniform(0.0, 360.0))
    cover = dice.uniform(0.1, 0.75)
    warm = max(0.0, 1.0 - math.sin(elevation) * 1.6)
    power = (2.9 - 2.2 * cover) * (0.75 + 0.4 * math.sin(elevation))
    sun = Sun(
        direction=(
            math.cos(elevation) * math.cos(azimuth),
            math.cos(elevation) * math.sin(azimuth),
            math.sin(elevation),
        ),
        color=(power, power * (0.95 - 0.2 * warm), power * (0.86 - 0.45 * warm)),
    )
    gray = 0.5 * cover * cover
    sky = Sky(
        zenith=(0.12 + gray, 0.28 + 0.75 * gray, 0.68 + 0.2 * gray),
        horizon=(0.56 + 0.15 * warm + 0.2 * gray, 0.68 + 0.1 * gray, 0.84 - 0.15 * warm),
        cloud_cover=cover,
        haze_distance_m=dice.uniform(350.0, 1200.0),
        exposure=dice.uniform(1.2, 1.65),
    )
    return sun, sky


def street_scene(seed: int, index: int) -> Scene:
    """Build one street scene; the same numbers give the same scene everywhere.

    Args:
        seed: Seed of the world, not negative.
        index: Number of the scene under that seed, not negative.

    Returns:
        A scene of about 100 objects in motion, with an ego vehicle that drives along +x.

    Raises:
        ValueError: A number is negative.
    """
    dice = Dice(seed, index)
    lay = _layout(dice)
    out = Collector()
    _add_ground(out, dice, lay)
    for side in (1.0, -1.0):
        _add_side(out, dice, lay, side)
    _add_street_trees_and_lamps(out, dice, lay)
    _add_signs(out, dice, lay)
    _add_parked(out, dice, lay)
    _add_traffic(out, dice, lay)
    _add_people(out, dice, lay)
    _add_clutter(out, dice, lay)
    _close_street(out, dice)
    sun, sky = daylight(Dice(seed, index, purpose=1))
    ego_y = -lay.lane_y + dice.uniform(-0.4, 0.4)
    return Scene(
        seed=seed,
        index=index,
        objects=tuple(out.objects),
        sun=sun,
        sky=sky,
        ego=_at(0.0, ego_y, 0.0, dice.uniform(-3.0, 3.0)),
        ego_motion=Motion(
            speed_mps=dice.uniform(4.0, 10.0), yaw_rate_rps=dice.uniform(-0.01, 0.01)
        ),
    )


_CAMERA_HEIGHT_M = 1.55


def _front_body(scene: Scene, time_s: float) -> Pose:
    ego = scene.ego_at(time_s)
    x, y, _ = ego.position_m
    height = _CAMERA_HEIGHT_M + 0.2 * math.sin(1.7 * scene.index)
    return Pose(
        position_m=(x + 1.6 * math.cos(ego.yaw_rad), y + 1.6 * math.sin(ego.yaw_rad), height),
        pitch_rad=0.02 * math.sin(2.9 * scene.index),
        yaw_rad=ego.yaw_rad,
    )


def street_camera(
    scene: Scene,
    *,
    size_hw: tuple[int, int],
    time_s: float = 0.0,
    horizontal_fov_deg: float = 75.0,
) -> Pinhole:
    """Return the front camera of the ego vehicle at a moment.

    Args:
        scene: A street scene.
        size_hw: Image height and width, pixels.
        time_s: Time in seconds.
        horizontal_fov_deg: Horizontal field of view, degrees.
    """
    body = _front_body(scene, time_s)
    return pinhole_with_fov(size_hw, horizontal_fov_deg, camera_at(body))


def street_panorama_camera(
    scene: Scene, *, size_hw: tuple[int, int], time_s: float = 0.0
) -> Equirectangular:
    """Return a full panorama camera on the ego vehicle, its center looking ahead."""
    return Equirectangular(size_hw=size_hw, world_from_cam=camera_at(_front_body(scene, time_s)))
