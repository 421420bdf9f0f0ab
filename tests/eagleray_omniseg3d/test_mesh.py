"""The mesh of a scene: closed, oriented, colored, cut by selections, readable by others."""

from __future__ import annotations

import io
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import trimesh

from eagleray_omniseg3d.errors import SelectionError
from eagleray_omniseg3d.mesh import isosurface, mesh_glb, mesh_ply, scene_mesh, upright

RADIUS = 0.6


class Ball:
    """A red ball whose upper half has another feature, with a floater beside it."""

    def density(self, points):
        inside = torch.sigmoid(80 * (RADIUS - points.norm(dim=1)))
        floater = torch.sigmoid(80 * (0.05 - (points - 0.55).norm(dim=1)))
        return 30 * (inside + floater), points

    def color(self, geometry, directions):
        assert (geometry * directions).sum(dim=1).mean() < 0, "seen from outside"
        return torch.tensor([1.0, 0.5, 0.0]).expand(len(geometry), 3)

    def features(self, points):
        return (points[:, 2:] > 0).float()


def model():
    ball = Ball()
    return SimpleNamespace(field=ball, device="cpu", density=lambda points: ball.density(points)[0])


def seen():
    rng = np.random.default_rng(0)
    points = rng.normal(size=(500, 3))
    return (RADIUS * points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32)


def read(content, kind):
    return trimesh.load(io.BytesIO(content), file_type=kind, process=False, force="mesh")


def test_noise_gives_a_closed_surface_that_is_oriented():
    for seed in range(4):
        mesh = isosurface(np.random.default_rng(seed).normal(size=(7, 8, 9)).clip(0), 0.3)
        assert mesh.is_watertight and mesh.is_winding_consistent and mesh.volume > 0


def test_samples_on_the_very_level_leave_no_hole():
    values = np.random.default_rng(0).integers(0, 3, size=(12, 12, 12)) / 2
    edges = np.sort(isosurface(values, 0.5).edges, axis=1)
    _, faces = np.unique(edges, axis=0, return_counts=True)
    assert (faces % 2 == 0).all(), "an edge of one face is the edge of a hole"


def test_what_reaches_the_border_of_the_grid_is_closed_there():
    mesh = isosurface(np.ones((4, 5, 6)), 0.5)
    assert mesh.is_watertight and mesh.bounds[1] == pytest.approx([3.5, 4.5, 5.5])


def test_a_grid_without_the_level_has_no_surface():
    assert len(isosurface(np.zeros((3, 3, 3)), 1.0).faces) == 0


def test_a_ball_is_a_closed_ball_of_its_size_and_color():
    notes = []
    mesh = scene_mesh(model(), seen(), None, notes.append, resolution=48)
    assert notes and (mesh.visual.vertex_colors == (255, 128, 0, 255)).all()
    for kind, content in (("ply", mesh_ply(mesh)), ("glb", mesh_glb(mesh))):
        again = read(content, kind)
        assert again.is_watertight, kind
        assert again.volume == pytest.approx(4 / 3 * np.pi * RADIUS**3, rel=0.06)
        assert again.euler_number == 2, "the floater is gone"


def test_a_selection_is_the_part_of_the_surface_that_is_chosen():
    def upper(features, positions):
        return features[:, 0] > 0.5

    mesh = scene_mesh(model(), seen(), upper, lambda text: None, resolution=32)
    assert mesh.vertices[:, 2].min() > 0
    area = read(mesh_ply(mesh), "ply").area
    assert area == pytest.approx(2 * np.pi * RADIUS**2, rel=0.2)


def test_nothing_to_make_a_mesh_of_is_told():
    with pytest.raises(SelectionError, match="nothing is seen"):
        scene_mesh(model(), np.zeros((0, 3), np.float32), None, lambda text: None)
    with pytest.raises(SelectionError, match="holds no surface"):
        none = lambda features, positions: np.zeros(len(features), bool)  # noqa: E731
        scene_mesh(model(), seen(), none, lambda text: None, resolution=16)


def test_up_becomes_y():
    for up in ([0.0, 0.0, 2.0], [1.0, -2.0, 0.5]):
        rotation = upright(np.array(up))
        assert rotation @ up == pytest.approx([0, np.linalg.norm(up), 0])
        assert np.linalg.det(rotation) == pytest.approx(1)
