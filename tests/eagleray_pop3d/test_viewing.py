"""The viewer's scene: classes, texts, features, truth, pictures, downloads; without a browser."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.eagleray_pop3d.small_task import small_experiment, small_settings, write_rig

from eagleray.api import Experiment
from eagleray.task import (
    AskableScene,
    Camera,
    EaglerayError,
    FramedScene,
    InputError,
    PartedScene,
    PicturedScene,
    SolidScene,
    ViewRequest,
)
from eagleray_pop3d.settings import Pop3dSettings
from eagleray_pop3d.task import POP3DTask
from eagleray_pop3d.viewing import AskedText, OccupancyScene, _likeness

CAMERA = Camera((0.0, 0.0, 9.0), (1.0, 0.0, 0.0, 0.0), 0.9, 64, 48)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> OccupancyScene:
    root: Path = tmp_path_factory.mktemp("rig")
    write_rig(root)
    rows = Experiment.from_values(small_experiment(root), inline=True).prepare().rows
    task = POP3DTask(Pop3dSettings.model_validate(small_settings(root)))
    torch.manual_seed(0)
    return task.interactive_scene(task.build().eval(), rows)


@pytest.fixture
def request_(scene: OccupancyScene) -> ViewRequest[AskedText]:
    return ViewRequest(CAMERA, "classes", 0.5, frame=scene.frames[0])


def test_scene_offers_what_the_viewer_can_show(scene: OccupancyScene) -> None:
    for kind in (SolidScene, FramedScene, AskableScene, PartedScene, PicturedScene):
        assert isinstance(scene, kind)
    assert len(scene.frames) == 4 and len(scene.parts) == 16
    assert scene.heights == (-4.0, 4.0) and scene.start().up == (0.0, 0.0, 1.0)


def test_classes_can_be_switched_off_and_cut(
    scene: OccupancyScene, request_: ViewRequest[AskedText]
) -> None:
    everything = scene.solid(request_)
    assert len(everything.centers) and everything.sides == (3.0, 4.0, 4.0)
    assert len(scene.solid(replace(request_, hidden=tuple(scene.parts))).centers) == 0
    low = scene.solid(replace(request_, top=-1.0)).centers
    assert 0 < len(low) < len(everything.centers) and low[:, 2].max() <= -1.0
    truth = scene.solid(replace(request_, mode="truth"))
    assert set(map(tuple, truth.colors.tolist())) <= set(scene.parts.values())


def test_a_text_selects_what_is_like_it(
    scene: OccupancyScene, request_: ViewRequest[AskedText]
) -> None:
    assert len(scene.solid(replace(request_, mode="likeness")).centers) == 0
    car = scene.ask("car", request_)
    counts = []
    for threshold in (0.0, 0.5, 0.99):
        asked = replace(request_, mode="likeness", selection=(car,), threshold=threshold)
        counts.append(len(scene.solid(asked).centers))
    assert counts[0] > counts[1] >= counts[2] >= 1
    assert counts[0] == len(scene.solid(request_).centers)
    with pytest.raises(EaglerayError, match="no vector of 'dragon'"):
        scene.ask("dragon", request_)
    with pytest.raises(InputError, match="type what you look for"):
        scene.ask("", request_)
    with pytest.raises(InputError, match="8 texts"):
        scene.ask("car", replace(request_, selection=(car,) * 8))


def test_the_likest_of_several_texts_gives_the_color() -> None:
    texts = (AskedText("x", torch.tensor([1.0, 0.0])), AskedText("y", torch.tensor([0.0, 1.0])))
    features = torch.tensor([[2.0, 0.0], [0.0, 3.0], [-1.0, -1.0]])
    alike, colors = _likeness(features, texts, 0.9)
    assert alike.tolist() == [True, True, False]
    assert (colors[0] != colors[1]).any()


def test_pictures_and_downloads_follow_what_is_shown(
    scene: OccupancyScene, request_: ViewRequest[AskedText]
) -> None:
    car = scene.ask("car", request_)
    pictures = [
        scene.beside(replace(request_, mode=mode, selection=(car,))) for mode in scene.modes
    ]
    assert all(set(one) == {"camera 1", "camera 2"} for one in pictures)
    assert len({one["camera 1"].tobytes() for one in pictures}) == 4
    assert scene.solid(replace(request_, mode="features")).colors.std() > 10
    name, content = scene.save(request_, "ply", lambda _: None)
    assert name == "frame0.ply" and content.startswith(b"ply")
    name, content = scene.save(request_, "npz", lambda _: None)
    assert name == "frame0.npz" and content.startswith(b"PK")
