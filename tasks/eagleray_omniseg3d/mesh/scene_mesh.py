"""The surface of a trained scene, or of what is selected in it, as a colored mesh in a file."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from eagleray_omniseg3d.errors import SelectionError
from eagleray_omniseg3d.mesh.surface import Mesh, cut_faces, isosurface, sample_grid
from eagleray_omniseg3d.model.scene_model import SceneModel

FloatArray = npt.NDArray[np.float64]
Chooser = Callable[[npt.NDArray[np.float32], npt.NDArray[np.float32]], npt.NDArray[np.bool_]]
"""Takes features (n, D) and positions (n, 3) and says which of them are selected."""

RESOLUTION = 160
"""Samples along the longest side of the box."""
MARGIN = 0.04
"""The box is larger than the surfaces that were seen by this share of its longest side."""
SEEN_SHARE = 0.01
"""Share of the seen surfaces that may lie outside of the box on either side: floaters."""
_THICKNESS_STEPS = 2.0
"""At the surface, so many steps of the grid let half of the light through."""
_LEAST_PART = 0.01
"""Parts with fewer faces than this share of the largest one are floaters."""
_POINTS_AT_ONCE = 1 << 16


def scene_mesh(
    model: SceneModel,
    seen: npt.NDArray[np.float32],
    chooser: Chooser | None,
    note: Callable[[str], None],
    *,
    resolution: int | None = None,
) -> Mesh:
    """Return the surface around what was seen, in scene coordinates.

    The whole scene's surface is closed. What is selected is cut out of it, and is open where the
    thing touches others.

    Args:
        model: The trained model.
        seen: (n, 3) surface positions that the mesh has to hold, scene coordinates.
        chooser: Which part is selected; None for all.
        note: Told how far it is.
        resolution: Samples along the longest side; by default ``RESOLUTION``.

    Raises:
        SelectionError: Nothing was seen there, or no surface is found.
    """
    if not len(seen):
        raise SelectionError("nothing is seen there; lower the threshold or click elsewhere")
    low, high = np.quantile(seen.astype(np.float64), (SEEN_SHARE, 1 - SEEN_SHARE), axis=0)
    side = max(float((high - low).max()), 1e-3)
    low, high = low - MARGIN * side, high + MARGIN * side

    def density(points: FloatArray) -> FloatArray:
        return _in_parts(lambda part: model.density(part)[:, None], points, model)[:, 0]

    def check(done: int, total: int) -> None:
        if done % 8 == 0:
            note(f"density, slice {done} of {total}")

    values, step = sample_grid(density, low, high, resolution or RESOLUTION, check)
    # Densities jump by orders of magnitude at a surface; opacities, which stop at one, say where
    # between two samples it lies.
    opacity = 1.0 - np.exp(-_THICKNESS_STEPS * step * values)
    places, faces = isosurface(opacity, 0.5)
    if not len(faces):
        raise SelectionError("no surface is dense enough; train the colors longer")
    places, faces = without_floaters(places, faces)
    vertices = low + step * places
    note("colors")
    mesh = Mesh(vertices, faces, _colors(model, vertices, _normals(vertices, faces)))
    if chooser is None:
        return mesh
    features = _in_parts(model.field.features, vertices, model)
    mesh = cut_faces(mesh, chooser(features.astype(np.float32), vertices.astype(np.float32)))
    if not len(mesh.faces):
        raise SelectionError("the selection holds no surface; lower the threshold")
    return mesh


def without_floaters(
    vertices: FloatArray, faces: npt.NDArray[np.int64]
) -> tuple[FloatArray, npt.NDArray[np.int64]]:
    """Return a surface without parts that are tiny beside its largest one."""
    ends = faces[:, [0, 1, 1, 2]].reshape(-1, 2)
    graph = coo_matrix(
        (np.ones(len(ends), np.int8), (ends[:, 0], ends[:, 1])), (len(vertices),) * 2
    )
    _, part = connected_components(graph, directed=False)
    sizes = np.bincount(part[faces[:, 0]], minlength=int(part.max()) + 1)
    kept = (sizes >= _LEAST_PART * sizes.max())[part]
    none = np.zeros((len(vertices), 3), np.uint8)
    mesh = cut_faces(Mesh(vertices, faces, none), kept)
    return mesh.vertices, mesh.faces


def upright(up: FloatArray) -> FloatArray:
    """Return a rotation (3, 3) that turns a direction to +y, as glTF has it."""
    y = up / np.linalg.norm(up)
    aside = np.eye(3)[int(np.abs(y).argmin())]
    x = np.cross(aside, y)
    x /= np.linalg.norm(x)
    return np.stack([x, y, np.cross(x, y)])


def mesh_ply(mesh: Mesh) -> bytes:
    """Return a mesh as binary PLY."""
    header = "\n".join(
        [
            "ply",
            "format binary_little_endian 1.0",
            "comment world coordinates of the capture",
            f"element vertex {len(mesh.vertices)}",
            *(f"property float {axis}" for axis in "xyz"),
            *(f"property uchar {channel}" for channel in ("red", "green", "blue")),
            f"element face {len(mesh.faces)}",
            "property list uchar int vertex_indices",
            "end_header\n",
        ]
    )
    points = np.empty(len(mesh.vertices), dtype=[("xyz", "<f4", 3), ("rgb", "u1", 3)])
    points["xyz"], points["rgb"] = mesh.vertices, mesh.colors
    faces = np.empty(len(mesh.faces), dtype=[("count", "u1"), ("corners", "<i4", 3)])
    faces["count"], faces["corners"] = 3, mesh.faces
    return header.encode() + points.tobytes() + faces.tobytes()


def mesh_glb(mesh: Mesh) -> bytes:
    """Return a mesh as binary glTF 2.0, whose y axis points up."""
    positions = mesh.vertices.astype("<f4")
    colors = np.full((len(positions), 4), 255, np.uint8)
    # glTF's colors are linear, those of photographs are not
    colors[:, :3] = np.round(255 * (mesh.colors / 255.0) ** 2.2)
    parts = [positions.tobytes(), colors.tobytes(), mesh.faces.astype("<u4").tobytes()]
    starts = np.cumsum([0, *map(len, parts)]).tolist()
    views = [
        {"buffer": 0, "byteOffset": start, "byteLength": len(part), "target": target}
        for start, part, target in zip(starts, parts, (34962, 34962, 34963), strict=False)
    ]
    count = len(positions)
    bounds = {"min": positions.min(axis=0).tolist(), "max": positions.max(axis=0).tolist()}
    accessors = [
        {"bufferView": 0, "componentType": 5126, "count": count, "type": "VEC3", **bounds},
        {
            "bufferView": 1,
            "componentType": 5121,
            "count": count,
            "type": "VEC4",
            "normalized": True,
        },
        {"bufferView": 2, "componentType": 5125, "count": mesh.faces.size, "type": "SCALAR"},
    ]
    primitive = {"attributes": {"POSITION": 0, "COLOR_0": 1}, "indices": 2, "material": 0}
    rough = {"metallicFactor": 0.0, "roughnessFactor": 1.0}
    content = {
        "asset": {"version": "2.0", "generator": "eagleray"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [primitive]}],
        "materials": [{"pbrMetallicRoughness": rough, "doubleSided": True}],
        "buffers": [{"byteLength": starts[-1]}],
        "bufferViews": views,
        "accessors": accessors,
    }
    text = json.dumps(content).encode()
    chunks = [(text + b" " * (-len(text) % 4), b"JSON")]
    chunks.append((b"".join(parts) + b"\0" * (-starts[-1] % 4), b"BIN\0"))
    body = b"".join(struct.pack("<I", len(data)) + kind + data for data, kind in chunks)
    return b"glTF" + struct.pack("<II", 2, 12 + len(body)) + body


def _colors(model: SceneModel, points: FloatArray, normals: FloatArray) -> npt.NDArray[np.uint8]:
    """Return the colors (n, 3) of surface points as seen from in front of them."""

    def colors(part: torch.Tensor) -> torch.Tensor:
        places, directions = part[:, :3], part[:, 3:]
        return model.field.color(model.field.density(places)[1], directions)

    rgb = _in_parts(colors, np.concatenate([points, -normals], axis=1), model)
    return np.round(255 * rgb.clip(0, 1)).astype(np.uint8)


def _normals(vertices: FloatArray, faces: npt.NDArray[np.int64]) -> FloatArray:
    corners = vertices[faces]
    own = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    total = np.zeros_like(vertices)
    for corner in range(3):
        np.add.at(total, faces[:, corner], own)
    return np.asarray(total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-12))


@torch.inference_mode()
def _in_parts(
    function: Callable[[torch.Tensor], torch.Tensor], points: FloatArray, model: SceneModel
) -> FloatArray:
    """Return a function's values at many points, some thousands at a time."""
    parts = []
    for start in range(0, len(points), _POINTS_AT_ONCE):
        part = torch.from_numpy(points[start : start + _POINTS_AT_ONCE]).float().to(model.device)
        parts.append(function(part).float().cpu().numpy())
    return np.concatenate(parts).astype(np.float64)
