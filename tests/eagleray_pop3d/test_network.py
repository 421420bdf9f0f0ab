"""A small network: batches of unequal rigs, cameras that see nothing, sizes that do not fit."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from eagleray.task import InputError
from eagleray_pop3d.model.config import NetworkSettings
from eagleray_pop3d.model.network import IMAGE_MEAN_RGB, Pop3dNetwork, normalize_images

SMALL = NetworkSettings.model_validate(
    {
        "grid": {"size_hwz": [5, 6, 2]},
        "backbone": {"depth": 18, "deformable_stages": []},
        "encoder": {
            "channels": 16,
            "num_layers": 2,
            "num_heads": 2,
            "feedforward_channels": 32,
            "pillars": [2, 4, 4],
            "image_points": [4, 8, 8],
            "num_cameras": 3,
        },
        "heads": {"occupancy_hidden": [16], "language_hidden": [16], "feature_channels": 12},
    }
)


def rig(seed: int, cameras: int = 3, batch: int = 1) -> tuple[Tensor, Tensor]:
    """Return images and matrices of cameras that look outwards, turned differently per seed."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn((batch, cameras, 3, 64, 96), generator=generator)
    angles = torch.rand((batch, cameras), generator=generator) * 6.28
    forward = torch.stack((angles.cos(), angles.sin(), torch.zeros_like(angles)), dim=-1)
    right = torch.stack((angles.sin(), -angles.cos(), torch.zeros_like(angles)), dim=-1)
    down = torch.tensor([0.0, 0.0, -1.0]).expand_as(right)
    matrix = torch.eye(4).repeat(batch, cameras, 1, 1)
    matrix[..., 0, :3] = 40 * right + 48 * forward
    matrix[..., 1, :3] = 40 * down + 32 * forward
    matrix[..., 2, :3] = forward
    return images, matrix


@pytest.fixture(scope="module")
def network() -> Pop3dNetwork:
    torch.manual_seed(0)
    network = Pop3dNetwork(SMALL).eval()
    for name, parameter in network.named_parameters():
        if "sampling_offsets" in name or "attention_weights" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    return network


def test_a_batch_of_unequal_rigs_equals_its_elements(network: Pop3dNetwork) -> None:
    rigs = [rig(1), rig(2)]
    points = [torch.rand(7, 3) * 2, torch.rand(4, 3) * 2]
    images, matrices = (torch.cat(parts) for parts in zip(*rigs, strict=True))
    with torch.no_grad():
        both = network(images, matrices, points, points, with_voxel_features=True)
        for b, (image, matrix) in enumerate(rigs):
            one = network(image, matrix, [points[b]], [points[b]], with_voxel_features=True)
            torch.testing.assert_close(both.voxel_logits[b], one.voxel_logits[0])
            torch.testing.assert_close(both.voxel_features[b], one.voxel_features[0])
            torch.testing.assert_close(both.point_logits[b], one.point_logits[0])
            torch.testing.assert_close(both.point_features[b], one.point_features[0])
    assert both.voxel_logits.shape == (2, 2, 6, 5, 2)
    assert not torch.equal(both.voxel_logits[0], both.voxel_logits[1])


def test_a_rig_that_sees_nothing_still_answers(network: Pop3dNetwork) -> None:
    images, matrices = rig(3)
    matrices[..., 2, 3] = -1000.0
    with torch.no_grad():
        assert network(images, matrices).voxel_logits.isfinite().all()


def test_every_trained_parameter_gets_a_gradient() -> None:
    torch.manual_seed(1)
    network = Pop3dNetwork(SMALL).train()
    answers = network(*rig(4), [torch.rand(5, 3)], [torch.rand(5, 3)])
    loss = answers.voxel_logits.square().mean()
    loss = loss + answers.point_features[0].mean() + answers.point_logits[0].mean()
    loss.backward()
    trained = {n for n, p in network.named_parameters() if p.requires_grad}
    assert {n for n, p in network.named_parameters() if p.grad is not None} == trained
    frozen = {n for n, p in network.named_parameters() if not p.requires_grad}
    assert "img_backbone.layer1.0.conv1.weight" in frozen
    assert all("bn" in n or "downsample.1" in n or "layer1" in n or "conv1" in n for n in frozen)


def test_batch_statistics_are_never_used() -> None:
    network = Pop3dNetwork(SMALL)
    images, _ = rig(5)
    with torch.no_grad():
        trained = network.train().img_backbone(images[0])
        torch.testing.assert_close(trained, network.eval().img_backbone(images[0]))


def test_a_backbone_without_pretrained_weights_is_normalized_and_trained_whole() -> None:
    torch.manual_seed(2)
    backbone = {"depth": 10, "deformable_stages": [], "frozen_stages": -1, "norm": "group"}
    small = SMALL.model_dump() | {"backbone": backbone}
    network = Pop3dNetwork(NetworkSettings.model_validate(small))
    assert all(parameter.requires_grad for parameter in network.parameters())
    images, _ = rig(8)
    with torch.no_grad():
        maps = [network.img_backbone(gain * images[0])[-1] for gain in (1.0, 1000.0)]
    # Statistics are those of the image itself, so its contrast does not matter.
    torch.testing.assert_close(maps[0], maps[1], rtol=1e-2, atol=1e-2)
    assert maps[0].shape == (3, 512, 2, 3)


def test_other_numbers_of_cameras_are_refused(network: Pop3dNetwork) -> None:
    with pytest.raises(InputError, match="2 cameras was given to a network of 3"):
        network(*rig(6, cameras=2))


def test_enlarged_planes_keep_places() -> None:
    scaled = SMALL.model_copy(
        update={"heads": SMALL.heads.model_copy(update={"scale_hwz": (2, 2, 2)})}
    )
    network = Pop3dNetwork(scaled).eval()
    with torch.no_grad():
        answers = network(*rig(7), [torch.rand(3, 3)], None)
    assert answers.voxel_logits.shape == (1, 2, 12, 10, 4)
    assert answers.point_logits[0].shape == (3, 2)


def test_photographs_become_padded_bgr() -> None:
    rgb = torch.tensor(IMAGE_MEAN_RGB).expand(1, 2, 64, 96, 3).clone()
    rgb[..., 0] += 1.0
    images = normalize_images(rgb, torch.tensor([[[45, 70], [45, 70]]]))
    assert images.shape == (1, 2, 3, 64, 96)
    kept = torch.zeros(1, 64, 96, dtype=torch.bool)
    kept[:, 3] = True
    masked = normalize_images(rgb, torch.tensor([[[45, 70], [10, 20]]]), kept)
    assert masked.abs().sum(dim=2).gt(0).sum(dim=(0, 2, 3)).tolist() == [70, 20]
    assert images[..., 2, :45, :70].sub(1).abs().max() < 1e-4
    assert images[..., :2, :, :].abs().max() < 1e-4
    assert images[..., 45:, :].abs().max() == images[..., 70:].abs().max() == 0


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"backbone": {"depth": 18}}, "need bottleneck blocks"),
        ({"encoder": {"image_points": [8, 63, 64]}}, "must be multiples of pillars"),
        ({"encoder": {"channels": 100, "num_heads": 8}}, "a multiple of num_heads"),
        ({"grid": {"range_min_m": [0, 0, 4]}}, "must lie below range_max_m"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(section: dict, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        NetworkSettings.model_validate(section)
