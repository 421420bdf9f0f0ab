"""Draw the real key frame: projected points by depth, points that the z-buffer drops, boxes.

    EAGLERAY_DATA=... python experiments/pop3d/real_frame.py FOLDER

The data are nuScenes' (non-commercial), so pictures of them stay outside of the repository.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from eagleray_vision.driving.frame_json import read_frame_json
from eagleray_vision.driving.key_frame import CameraTime, KeyFrame
from eagleray_vision.driving.lidar import read_sweep
from eagleray_vision.driving.projection import Matches, project_frame
from eagleray_vision.driving.visibility import ZBuffer
from eagleray_vision.images.reading import read_rgb

EDGES = [(0, 1), (1, 3), (3, 2), (2, 0), (4, 5), (5, 7), (7, 6), (6, 4), (0, 4), (1, 5), (2, 6)]
EDGES += [(3, 7)]
FARTHEST_M = 60.0


def draw_boxes(
    picture: NDArray[np.uint8], frame: KeyFrame, camera: CameraTime, boxes: list[dict[str, Any]]
) -> None:
    """Draw the edges of boxes whose corners all lie in front of the camera."""
    signs = np.array([(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)])
    matrix = frame.image_from_lidar(camera)[:3]
    for box in boxes:
        corners = 0.5 * signs * box["size_lwh"]
        c, s = np.cos(box["yaw"]), np.sin(box["yaw"])
        placed = corners @ np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]]) + box["center"]
        seen = placed @ matrix[:, :3].T + matrix[:, 3]
        if seen[:, 2].min() < 1.0:
            continue
        pixels = np.round(seen[:, :2] / seen[:, 2:]).astype(int)
        for a, b in EDGES:
            start, end = tuple(map(int, pixels[a])), tuple(map(int, pixels[b]))
            cv2.line(picture, start, end, (255, 255, 255), 2, cv2.LINE_AA)


def draw_points(picture: NDArray[np.uint8], matches: Matches, kept: NDArray[np.bool_]) -> None:
    """Draw points, near red to far blue; hidden ones as black crosses."""
    shade = np.clip(255 * (1 - matches.depth_m / FARTHEST_M), 0, 255).astype(np.uint8)
    colors = cv2.applyColorMap(shade[:, None], cv2.COLORMAP_JET)[:, 0, ::-1]
    for (v, u), color, is_kept in zip(matches.pixels, colors, kept, strict=True):
        place = int(u), int(v)
        if is_kept:
            cv2.circle(picture, place, 3, tuple(map(int, color)), -1, cv2.LINE_AA)
        else:
            cv2.drawMarker(picture, place, (0, 0, 0), cv2.MARKER_TILTED_CROSS, 10, 2)


def main() -> None:
    """Draw all cameras into one picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where real_frame.jpg is written")
    folder: Path = parser.parse_args().folder
    root = Path(os.environ["EAGLERAY_DATA"]) / "nuscenes_frame"
    frame = read_frame_json(root / "frame.json")
    boxes = json.loads((root / "frame.json").read_text())["boxes"]
    points = read_sweep(root / frame.lidar.path, frame.token)
    pictures = {one.name: read_rgb(root / one.path) for one in frame.cameras}
    sizes = {name: (one.shape[0], one.shape[1]) for name, one in pictures.items()}
    matches = project_frame(frame, points, sizes)
    for camera in frame.cameras:
        found, picture = matches[camera.name], pictures[camera.name]
        kept = ZBuffer().visible(found, camera.matrix, sizes[camera.name])
        draw_points(picture, found, kept)
        draw_boxes(picture, frame, camera, boxes)
        print(f"{camera.name}: {len(kept)} points, {100 * kept.mean():.1f} % visible")
    names = ("CAM_FRONT_LEFT", "CAM_FRONT", "CAM_FRONT_RIGHT")
    names += ("CAM_BACK_RIGHT", "CAM_BACK", "CAM_BACK_LEFT")
    rows = [np.hstack([pictures[name] for name in names[k : k + 3]]) for k in (0, 3)]
    folder.mkdir(parents=True, exist_ok=True)
    whole = cv2.resize(np.vstack(rows), None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    cv2.imwrite(str(folder / "real_frame.jpg"), whole[:, :, ::-1])


if __name__ == "__main__":
    main()
