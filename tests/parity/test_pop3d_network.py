"""The network of POP-3D against the original's numbers, part by part and whole."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tests.parity.cases import cases, key_list
from tests.parity.every_key import every_key_is_read  # noqa: F401
from tests.parity.golden import close
from tests.parity.pop3d_case import Pop3dCase, recipe_tensor

from eagleray_pop3d.model.aggregator import Aggregator
from eagleray_pop3d.model.attention import ImageCrossAttention, PlaneSelfAttention
from eagleray_pop3d.model.backbone import ModulatedDeformConv
from eagleray_pop3d.model.config import (
    BackboneSettings,
    EncoderSettings,
    GridSettings,
    HeadSettings,
    NetworkSettings,
)
from eagleray_pop3d.model.encoder import TpvHead
from eagleray_pop3d.model.geometry import Sightings, anchors, plane_positions, project_anchors
from eagleray_pop3d.model.network import Pop3dNetwork

PLANES = ("hw", "zh", "wz")


class NetworkCase(Pop3dCase):
    module = __name__


def sightings(case: NetworkCase) -> list[Sightings]:
    return [
        project_anchors(points, case.grid, case["lidar2img"], case.ints("img_shape_hw"))
        for points in anchors(case.grid, case.ints("pillars"))
    ]


@pytest.mark.parametrize("path", cases("pop3d", "dcnv2"), ids=lambda p: p.stem)
def test_modulated_deformable_convolution(path: Path) -> None:
    case = NetworkCase(path)
    out_channels, in_channels = case["param/weight"].shape[:2]
    conv = case.load(ModulatedDeformConv(in_channels, out_channels, int(case["stride"])))
    close(conv(case["x"]), case["output"])


@pytest.mark.parametrize("path", cases("pop3d", "reference_points"), ids=lambda p: p.stem)
def test_anchors(path: Path) -> None:
    case = NetworkCase(path)
    for name, points in zip(PLANES, anchors(case.grid, case.ints("pillars")), strict=True):
        close(points[None], case[f"ref_3d_{name}"], rtol=0, atol=1e-7)
    close(plane_positions(case.grid)[None, :, None], case["ref_2d_hw"], rtol=0, atol=1e-7)


@pytest.mark.parametrize("path", cases("pop3d", "point_sampling"), ids=lambda p: p.stem)
def test_anchors_in_the_images(path: Path) -> None:
    case = NetworkCase(path)
    for name, seen in zip(PLANES, sightings(case), strict=True):
        visible = case[f"mask_{name}"].transpose(0, 1)
        assert torch.equal(seen.visible, visible)
        close(seen.uv[visible], case[f"uv_{name}"].transpose(0, 1)[visible])


@pytest.mark.parametrize("path", cases("pop3d", "plane_self_attention"), ids=lambda p: p.stem)
def test_plane_attention(path: Path) -> None:
    case = NetworkCase(path)
    h, w = case.ints("hw")
    settings = EncoderSettings(
        channels=case["query"].shape[2],
        num_heads=int(case["num_heads"]),
        plane_points=int(case["num_points"]),
        dropout=0.0,
    )
    attention = PlaneSelfAttention(settings)
    close(attention.sampling_offsets.weight, case["init/sampling_offsets.weight"])
    close(attention.sampling_offsets.bias, case["init/sampling_offsets.bias"])
    centers = plane_positions(GridSettings(size_hwz=(h, w, 1)))
    close(centers.expand(2, -1, -1)[:, :, None], case["reference_points"])
    query, position = case["query"], case["query_pos"]
    close(case.load(attention)(query, position[0], centers, (h, w)), case["output"])


@pytest.mark.parametrize("path", cases("pop3d", "image_cross_attention"), ids=lambda p: p.stem)
def test_image_attention(path: Path) -> None:
    case = NetworkCase(path)
    query = case["query"]
    settings = case.encoder(query.shape[2])
    attention = ImageCrossAttention(settings, len(case["spatial_shapes"]))
    for plane, layer in enumerate(attention.deformable_attention.sampling_offsets):
        name = f"init/deformable_attention.sampling_offsets.{plane}.bias"
        close(layer.bias, case[name])
    h, w, z = case.grid.size_hwz
    read = case.load(attention)(
        query.split([h * w, z * h, w * z], dim=1),
        case["value"].permute(2, 0, 1, 3),
        case["spatial_shapes"],
        sightings(case),
    )
    close(torch.cat(read, dim=1), case["output"])


@pytest.mark.parametrize("path", cases("pop3d", "tpv_head"), ids=lambda p: p.stem)
def test_encoder(path: Path) -> None:
    case = NetworkCase(path)
    levels = [case[f"feat{k}"] for k in range(case.numbers("feat"))]
    state = case.state()
    settings = case.encoder(
        levels[0].shape[2],
        num_layers=1 + max(int(k.split(".")[2]) for k in state if k.startswith("encoder.layers")),
        num_cameras=levels[0].shape[1],
        feedforward_channels=len(state["encoder.layers.0.ffns.0.layers.0.0.bias"]),
        plane_points=len(state["encoder.layers.0.attentions.0.attention_weights.bias"])
        // (2 * int(case["num_heads"])),
    )
    head = case.load(TpvHead(settings, case.grid, len(levels)))
    planes = head(levels, case["lidar2img"], case.ints("img_shape_hw"))
    for name, plane in zip(PLANES, planes, strict=True):
        close(plane, case[f"out_{name}"])


@pytest.mark.parametrize("path", cases("pop3d", "aggregator"), ids=lambda p: p.stem)
def test_aggregator(path: Path) -> None:
    case = NetworkCase(path)
    state = case.state()
    settings = HeadSettings(
        occupancy_hidden=_widths(state, "decoder"),
        language_hidden=_widths(state, "decoder_ft"),
        feature_channels=len(state["classifier_ft.bias"]),
        scale_hwz=[int(case["scale"])] * 3,
    )
    queries = [case[f"plane_{name}"] for name in PLANES]
    part = case.load(Aggregator(queries[0].shape[2], case.grid, settings))
    planes = part.planes(queries)
    voxels = part.voxels(planes)
    close(part.occupancy(voxels).permute(0, 4, 1, 2, 3), case["vox_logits"])
    close(part.language(voxels).permute(0, 4, 1, 2, 3), case["vox_feats"])
    places, feature_places = case["points"], case["feature_points"]
    close(
        part.occupancy(part.points(planes, places)).transpose(1, 2)[..., None, None],
        case["pts_logits"],
    )
    close(part.language(part.points(planes, feature_places)), case["pts_feats"])


@pytest.mark.parametrize("path", cases("pop3d", "deterministic_weights_check"))
def test_recipe_weights(path: Path) -> None:
    shapes = json.loads(key_list("pop3d", "state_dict_keys.json").read_text())
    for name, first in json.loads(path.read_text()).items():
        ours = recipe_tensor(name, tuple(shapes[name])).flatten()[: len(first)]
        close(ours, torch.tensor(first), rtol=1e-7, atol=0)


def test_names_and_sizes_are_the_published_ones() -> None:
    shapes = json.loads(key_list("pop3d", "state_dict_keys.json").read_text())
    with torch.device("meta"):
        network = Pop3dNetwork(NetworkSettings())
    ours = {name: list(tensor.shape) for name, tensor in network.state_dict().items()}
    derived = {k: v for k, v in shapes.items() if "encoder.ref_" not in k and "tpv_mask" not in k}
    assert ours == derived
    assert len(shapes) == 818
    trainable = sum(p.numel() for p in network.parameters() if p.requires_grad)
    total = sum(p.numel() for p in network.parameters())
    assert (total, trainable) == (64_626_752, 64_299_008)


@pytest.mark.parametrize("path", cases("pop3d", "full_model"), ids=lambda p: p.stem)
def test_full_model(path: Path) -> None:
    case = NetworkCase(path)
    settings = NetworkSettings(
        grid=case.grid, backbone=BackboneSettings(), encoder=case.encoder(256)
    )
    network = Pop3dNetwork(settings).eval()
    network.load_state_dict(
        {
            name: tensor
            if name.endswith("num_batches_tracked")
            else recipe_tensor(name, tuple(tensor.shape))
            for name, tensor in network.state_dict().items()
        }
    )
    images = case["img"].float()
    assert images.shape[-2:] == torch.Size(case.ints("img_shape_hw"))
    with torch.no_grad():
        maps = network.img_backbone(images[0, :2])
        for number, x in enumerate(maps):
            close(x[:, ::16], case[f"stage{number + 2}_sub"], rtol=1e-4, atol=5e-3)
        for number, x in enumerate(network.img_neck(maps)):
            close(x[:, ::16], case[f"fpn{number}_sub"], rtol=1e-4, atol=5e-3)
        answers = network(
            images,
            case["lidar2img"],
            list(case["points"]),
            list(case["feature_points"]),
            with_voxel_features=True,
        )
    bounds = {"rtol": 1e-4, "atol": 1e-3}
    close(answers.voxel_logits, case["vox_logits"], **bounds)
    close(answers.voxel_features[:, ::8], case["vox_feats_sub"], **bounds)
    close(answers.point_logits[0].T[None, :, :, None, None], case["pts_logits"], **bounds)
    close(answers.point_features[0][None], case["pts_feats"], **bounds)


def _widths(state: dict[str, torch.Tensor], decoder: str) -> list[int]:
    biases = {k: v for k, v in state.items() if k.startswith(f"{decoder}.") and k.endswith("bias")}
    return [len(biases[k]) for k in sorted(biases, key=lambda k: int(k.split(".")[1]))]
