"""Time and memory of rendering toy-world street frames with all truth channels and shadows.

    python experiments/benchmarks/toyworld_render.py [--scenes 8] [--memory-scenes 40]

CPU time of all threads together, so that neither a second core nor other load on the machine
changes much. Scenes are measured whole (about 160 objects) and cut down to the 40 objects nearest
to the camera among those that it sees. The aims: a
frame of 512 x 1024 with 40 objects in at most 1 s, and less than 1 GB of memory however many
scenes a worker renders.
"""

from __future__ import annotations

import argparse
import dataclasses
import resource
import statistics
import time

import numpy as np
from prettytable import PrettyTable
from record import write_record

from eagleray_toyworld.formats.panoptic import street_panoptic_sample
from eagleray_toyworld.rendering.camera import Pinhole
from eagleray_toyworld.rendering.primitive import place
from eagleray_toyworld.rendering.render import Frame, render
from eagleray_toyworld.scene.scene import Scene
from eagleray_toyworld.worlds.street import street_camera, street_scene

SIZE_HW = (512, 1024)
NUM_OBJECTS = 40
LIMIT_S = 1.0
LIMIT_MB = 1000.0
REPEATS = 3


def nearest_objects(scene: Scene, camera: Pinhole, count: int) -> Scene:
    """Return the scene with those objects only whose parts come nearest to the camera."""
    order: dict[int, None] = {}
    for primitive in place(scene, 0.0, camera.world_from_cam[:3, 3]):
        order.setdefault(primitive.object_id)
    in_front = _visible_first(list(order), render(scene, camera))
    kept = set(in_front[:count])
    objects = tuple(item for item in scene.objects if item.object_id in kept)
    return dataclasses.replace(scene, objects=objects)


def _visible_first(object_ids: list[int], frame: Frame) -> list[int]:
    """Put the objects that are seen before the others, so that all 40 cost something."""
    seen = set(np.unique(frame.object_id).tolist())
    return sorted(object_ids, key=lambda object_id: object_id not in seen)


def measure(scene: Scene, camera: Pinhole) -> tuple[float, int]:
    """Return the least CPU seconds of a frame, and how many objects it shows."""
    seconds, shown = [], 0
    for _ in range(REPEATS):
        begin = time.process_time()
        frame = render(scene, camera)
        seconds.append(time.process_time() - begin)
        shown = len(np.unique(frame.object_id)) - 1
    return min(seconds), shown


def peak_mb() -> float:
    """Return the largest resident memory of this process so far, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0


def main() -> None:
    """Measure, print a table and write the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenes", type=int, default=8, help="scenes to time")
    parser.add_argument("--memory-scenes", type=int, default=40, help="scenes to render for memory")
    arguments = parser.parse_args()
    table = PrettyTable(["scene", "objects", "shown", "CPU s", "CPU s, 40 objects", "shown "])
    whole, forty = [], []
    for index in range(arguments.scenes):
        scene = street_scene(0, index)
        camera = street_camera(scene, size_hw=SIZE_HW)
        seconds, shown = measure(scene, camera)
        fewer = nearest_objects(scene, camera, NUM_OBJECTS)
        seconds_40, shown_40 = measure(fewer, camera)
        whole.append(seconds)
        forty.append(seconds_40)
        row = [index, len(scene.objects), shown, f"{seconds:.2f}", f"{seconds_40:.2f}", shown_40]
        table.add_row(row)
    print(table)
    base = peak_mb()
    for index in range(arguments.memory_scenes):
        street_panoptic_sample(1, index, SIZE_HW)
    results = {
        "size_hw": list(SIZE_HW),
        "cpu_s_whole_scene_median": round(statistics.median(whole), 3),
        "cpu_s_whole_scene_max": round(max(whole), 3),
        "cpu_s_40_objects_median": round(statistics.median(forty), 3),
        "cpu_s_40_objects_max": round(max(forty), 3),
        "limit_s": LIMIT_S,
        "peak_rss_mb_after_timing": round(base, 1),
        "peak_rss_mb": round(peak_mb(), 1),
        "scenes_rendered_for_memory": arguments.memory_scenes,
        "limit_mb": LIMIT_MB,
    }
    met = max(forty) <= LIMIT_S and peak_mb() <= LIMIT_MB
    print(f"{results}\nlimits {'met' if met else 'MISSED'}")
    print(write_record("toyworld_render", results, packages=["opencv-python-headless", "scipy"]))


if __name__ == "__main__":
    main()
