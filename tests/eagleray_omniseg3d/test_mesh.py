"""The mesh of a scene: closed, oriented, colored, cut by selections, readable by others."""

from __future__ import annotations

import io
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import trimesh

from eagleray_omniseg3d.errors import SelectionError
from eagleray_omniseg3d.mesh.scene_mesh import mesh_glb, mesh_ply, scene_mesh, upright
from eagleray_omniseg3d.mesh.surface import isosurface

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
    values = np.random.default_rng(0).normal(size=(7, 8, 9))
    mesh = trimesh.Trimesh(*isosurface(values, 0.3), process=False)
    assert mesh.is_watertight and mesh.is_winding_consistent and mesh.volume > 0


def test_a_grid_without_the_level_has_no_surface():
    assert len(isosurface(np.zeros((3, 3, 3)), 1.0)[1]) == 0


def test_a_ball_is_a_closed_ball_of_its_size_and_color():
    notes = []
    mesh = scene_mesh(model(), seen(), None, notes.append, resolution=48)
    assert notes and (mesh.colors == (255, 128, 0)).all()
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
