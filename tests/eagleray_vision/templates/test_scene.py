"""Cameras, rays and the field of the template."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from PIL import Image

from eagleray.task import Phase
from eagleray_vision.panoptic.label_image import encode_png
from eagleray_vision.templates.scene.cameras import View, looking_at_middle, rays_of
from eagleray_vision.templates.scene.data import RayBank
from eagleray_vision.templates.scene.model import Field
from eagleray_vision.templates.scene.settings import DataSettings
from eagleray_vision.templates.scene.stages import ViewStage
from eagleray_vision.templates.scene.toy import CENTERS, COLORS, photograph


def test_the_middle_ray_goes_through_the_scenes_middle():
    place = looking_at_middle(np.array([2.0, 1.0, 0.5]))
    view = View("a", np.zeros((3, 3, 3), np.uint8), place, 4.0)
    origins, directions = rays_of(view)
    np.testing.assert_allclose(origins[4], [2.0, 1.0, 0.5])
    np.testing.assert_allclose(np.cross(origins[4], directions[4]), 0, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(directions, axis=1), 1, rtol=1e-6)
    assert directions[7][2] < directions[4][2] < directions[1][2], "the scene's z axis is up"


def test_a_ball_is_seen_where_it_is():
    view = photograph("a", 0.0, 65)
    in_cam = (CENTERS[0] - view.scene_from_cam[:, 3]) @ view.scene_from_cam[:, :3]
    column, row = (in_cam[:2] / in_cam[2] * view.focal_px + 65 / 2).astype(int)
    red, green, blue = view.photo[row, column].astype(float)
    assert red / (red + green + blue) == pytest.approx(COLORS[0][0] / COLORS[0].sum(), abs=0.02)


def test_blenders_axes_are_turned_into_ours(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "r_0.png")
    matrix = [[1, 0, 0, 0.5], [0, 0, -1, -3.0], [0, 1, 0, 0.25], [0, 0, 0, 1]]  # looks along y
    frames = [{"file_path": "./r_0", "transform_matrix": matrix}]
    content = {"camera_angle_x": math.pi / 2, "frames": frames}
    (tmp_path / "transforms_train.json").write_text(json.dumps(content))
    stage = ViewStage(DataSettings(root=str(tmp_path), size_px=8), "train")
    view = stage.load(next(stage.items({})))
    np.testing.assert_allclose(view.scene_from_cam[:, 2], [0, 1, 0], atol=1e-6)
    np.testing.assert_allclose(view.scene_from_cam[:, 1], [0, 0, -1], atol=1e-6)
    np.testing.assert_allclose(view.scene_from_cam[:, 3], [0.5, -3.0, 0.25])
    assert view.focal_px == pytest.approx(4.0)


def test_a_dense_cell_hides_what_is_behind_it():
    field = Field(8, 64, 0.5, 3.5)
    with torch.no_grad():
        field.grid[:, 3] = 20.0
        field.grid[:, :3] = -20.0
        field.grid[:, 0, ..., :4] = 20.0  # red where x is negative
        field.background.fill_(20.0)
        origins = torch.tensor([[-2.0, 0, 0], [2.0, 0, 0], [2.0, 5.0, 0]])
        directions = torch.tensor([[1.0, 0, 0], [-1.0, 0, 0], [-1.0, 0, 0]])
        seen = field(origins, directions)
    torch.testing.assert_close(seen, torch.tensor([[1.0, 0, 0], [0, 0, 0], [1, 1, 1]]))


class OneView(dict):
    def __init__(self):
        view = photograph("a", 0.1, 8)
        row = {
            "photo": encode_png(view.photo),
            "scene_from_cam": view.scene_from_cam.ravel(),
            "focal_px": view.focal_px,
        }
        super().__init__(a=row)


def test_ranks_share_the_rays_of_a_step_and_a_run_goes_on_where_it_was():
    bank, phase = RayBank(OneView()), Phase(steps=3, batch_size=6, lr=0.1)
    cpu = torch.device("cpu")

    def colors(start_step, rank, world_size):
        rays = bank.batches(
            phase, seed=0, start_step=start_step, rank=rank, world_size=world_size, device=cpu
        )
        return [next(rays).colors for _ in range(2)]

    alone = colors(0, 0, 1)
    first, second = colors(0, 0, 2), colors(0, 1, 2)
    torch.testing.assert_close(alone[0][0::2], first[0])
    torch.testing.assert_close(alone[0][1::2], second[0])
    torch.testing.assert_close(alone[1], colors(1, 0, 1)[0])
