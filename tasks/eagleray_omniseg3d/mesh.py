"""The surface of a trained scene, or of what is selected in it, as a colored mesh.

Marching cubes is scikit-image's (Lewiner's, which has no holes in ambiguous cells); the mesh, its
parts and its files are trimesh's. What is ours is where the surface lies: which box is looked at,
and which density counts as solid.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from eagleray_omniseg3d.errors import SelectionError
from eagleray_omniseg3d.model.scene_model import SceneModel

if TYPE_CHECKING:
    from trimesh import Trimesh

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
) -> Trimesh:
    """Return the surface around what was seen, in scene coordinates, with colored vertices.

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
    step = float((high - low).max()) / ((resolution or RESOLUTION) - 1)
    mesh = isosurface(_opacity(model, low, high, step, note), 0.5)
    if not len(mesh.faces):
        raise SelectionError("no surface is dense enough; train the colors longer")
    _drop_floaters(mesh)
    mesh.vertices = low + step * mesh.vertices
    note("colors")
    mesh.visual.vertex_colors = _colors(model, mesh.vertices, mesh.vertex_normals)
    if chooser is None:
        return mesh
    features = _in_parts(model.field.features, mesh.vertices, model)
    kept = chooser(features.astype(np.float32), mesh.vertices.astype(np.float32))
    mesh.update_faces(kept[mesh.faces].all(axis=1))
    mesh.remove_unreferenced_vertices()
    if not len(mesh.faces):
        raise SelectionError("the selection holds no surface; lower the threshold")
    return mesh


def isosurface(values: FloatArray, level: float) -> Trimesh:
    """Return the surface on which a grid of values crosses a level, without colors.

    Args:
        values: (X, Y, Z) samples; what lies above the level is inside. Around the grid lies zero,
            so that the surface is closed where the grid ends.
        level: The level, more than zero.

    Returns:
        A mesh in steps of the grid whose normals point outside; empty where nothing is above.
    """
    # Imported here, and trimesh below: only meshes need them.
    from skimage.measure import marching_cubes
    from trimesh import Trimesh

    if values.max() <= level:
        return Trimesh()
    # A sample on the very level would be a vertex of several cells, which then do not close.
    values = np.where(np.abs(values - level) < 1e-4 * level, level * (1 - 1e-4), values)
    vertices, faces, *_ = marching_cubes(np.pad(values, 1), level, gradient_direction="ascent")
    return Trimesh(vertices.astype(np.float64) - 1.0, faces, process=False)


def mesh_ply(mesh: Trimesh) -> bytes:
    """Return a mesh as binary PLY."""
    return bytes(mesh.export(file_type="ply", vertex_normal=False))


def mesh_glb(mesh: Trimesh) -> bytes:
    """Return a mesh as binary glTF 2.0: vertex colors on a dull material, seen from both sides."""
    from trimesh import Trimesh
    from trimesh.visual import TextureVisuals
    from trimesh.visual.material import PBRMaterial

    colors = np.array(mesh.visual.vertex_colors)
    # glTF's colors are linear, those of photographs are not
    colors[:, :3] = np.round(255 * (colors[:, :3] / 255.0) ** 2.2)
    look = TextureVisuals(
        material=PBRMaterial(metallicFactor=0.0, roughnessFactor=1.0, doubleSided=True)
    )
    look.vertex_attributes["color"] = colors
    dull = Trimesh(mesh.vertices, mesh.faces, visual=look, process=False)
    return bytes(dull.export(file_type="glb", include_normals=False))


def upright(up: FloatArray) -> FloatArray:
    """Return a rotation (3, 3) that turns a direction to +y, as glTF has it."""
    y = up / np.linalg.norm(up)
    aside = np.eye(3)[int(np.abs(y).argmin())]
    x = np.cross(aside, y)
    x /= np.linalg.norm(x)
    return np.stack([x, y, np.cross(x, y)])


def _opacity(
    model: SceneModel, low: FloatArray, high: FloatArray, step: float, note: Callable[[str], None]
) -> FloatArray:
    """Return opacities (X, Y, Z) of a box, whose half is where the surface lies.

    Densities jump by orders of magnitude at a surface; opacities, which stop at one, say where
    between two samples it lies.
    """
    counts = np.floor((high - low) / step + 1e-9).astype(int) + 1
    x, y, z = (low[axis] + step * np.arange(counts[axis]) for axis in range(3))
    densities = np.empty(counts)
    for number, place in enumerate(x):
        if number % 8 == 0:
            note(f"density, slice {number} of {len(x)}")
        plane = np.stack(np.meshgrid([place], y, z, indexing="ij"), axis=-1).reshape(-1, 3)
        values = _in_parts(lambda part: model.density(part)[:, None], plane, model)
        densities[number] = values.reshape(len(y), len(z))
    return np.asarray(1.0 - np.exp(-_THICKNESS_STEPS * step * densities))


def _drop_floaters(mesh: Trimesh) -> None:
    """Take away the parts of a surface that are tiny beside its largest one."""
    from trimesh.graph import connected_component_labels

    part = connected_component_labels(mesh.edges, node_count=len(mesh.vertices))[mesh.faces[:, 0]]
    sizes = np.bincount(part)
    mesh.update_faces((sizes >= _LEAST_PART * sizes.max())[part])
    mesh.remove_unreferenced_vertices()


def _colors(model: SceneModel, points: FloatArray, normals: FloatArray) -> npt.NDArray[np.uint8]:
    """Return the colors (n, 3) of surface points as seen from in front of them."""

    def colors(part: torch.Tensor) -> torch.Tensor:
        places, directions = part[:, :3], part[:, 3:]
        return model.field.color(model.field.density(places)[1], directions)

    rgb = _in_parts(colors, np.concatenate([points, -normals], axis=1), model)
    return np.round(255 * rgb.clip(0, 1)).astype(np.uint8)


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
