"""Published files in the original's layout, made here with recipe weights."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from tests.eagleray_pop3d.test_network import SMALL
from tests.parity.cases import key_list
from tests.parity.pop3d_case import recipe_tensor
from torch import Tensor

from eagleray_pop3d.checkpoint_import import import_start, import_weights, read_word_vectors
from eagleray_pop3d.model.config import NetworkSettings
from eagleray_pop3d.model.geometry import anchors, plane_positions
from eagleray_pop3d.model.network import Pop3dNetwork
from eagleray_pop3d.prompts import RAW_CLASS_OF_WORD, WORDS
from eagleray_vision.weights.tensors import WeightFileError


def published(settings: NetworkSettings) -> dict[str, Tensor]:
    """Return the tensors of a checkpoint of the original, its anchors included."""
    with torch.device("meta"):
        own = Pop3dNetwork(settings).state_dict()
    state = {
        f"module.{name}": torch.tensor(3)
        if name.endswith("num_batches_tracked")
        else recipe_tensor(name, tuple(tensor.shape))
        for name, tensor in own.items()
    }
    grid, (h, w, z) = settings.grid, settings.grid.size_hwz
    begin = "module.tpv_head.encoder.ref_"
    for plane, points in zip(
        ("hw", "zh", "wz"), anchors(grid, settings.encoder.pillars), strict=True
    ):
        state[f"{begin}3d_{plane}"] = points[None]
    state[f"{begin}2d_hw"] = plane_positions(grid)[None, :, None]
    state[f"{begin}2d_zh"] = torch.zeros(1, z * h, 1, 2)
    state[f"{begin}2d_wz"] = torch.zeros(1, w * z, 1, 2)
    state["module.tpv_head.tpv_mask_hw"] = torch.zeros(1, h, w)
    return state


def save(path: Path, content: object) -> Path:
    torch.save(content, path)
    return path


def test_every_tensor_of_a_published_checkpoint_is_accounted_for(tmp_path: Path) -> None:
    content = {
        "state_dict": published(SMALL),
        "optimizer": {"state": {}},
        "scheduler": {},
        "epoch": 12,
        "global_iter": 42192,
        "best_val_miou_vox": 16.6,
    }
    found = import_weights(save(tmp_path / "pop3d_weights.pth", content), SMALL)
    assert not found.missing
    assert set(found.extra) == {
        *("optimizer", "scheduler", "epoch", "global_iter", "best_val_miou_vox"),
        *(f"tpv_head.encoder.ref_{d}_{p}" for d in ("2d", "3d") for p in ("hw", "zh", "wz")),
        "tpv_head.tpv_mask_hw",
    }
    Pop3dNetwork(SMALL).load_state_dict(dict(found.state_dict))


def test_published_names_are_818() -> None:
    shapes = json.loads(key_list("pop3d", "state_dict_keys.json").read_text())
    with torch.device("meta"):
        own = Pop3dNetwork(NetworkSettings()).state_dict()
    left = set(shapes) - set(own)
    assert len(shapes) == 818 and not set(own) - set(shapes)
    assert {n for n in left if ".ref_" not in n} == {"tpv_head.tpv_mask_hw"}


def test_weights_of_another_grid_are_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "a.pth", published(SMALL))
    moved = SMALL.grid.model_copy(update={"range_max_m": (51.2, 51.2, 5.0)})
    with pytest.raises(WeightFileError, match="trained on another grid"):
        import_weights(path, SMALL.model_copy(update={"grid": moved}))


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightFileError, match="holds no tensor of POP-3D"):
        import_weights(save(tmp_path / "a.pth", {"conv.weight": torch.zeros(2)}), SMALL)
    with pytest.raises(WeightFileError, match="no residual backbone"):
        import_start(save(tmp_path / "b.pth", {"conv.weight": torch.zeros(2)}), SMALL)
    with pytest.raises(WeightFileError, match="no tensor or plain value"):
        import_weights(save(tmp_path / "c.pth", {"state_dict": os.system}), SMALL)


def test_missing_tensors_are_listed(tmp_path: Path) -> None:
    state = published(SMALL)
    del state["module.tpv_head.level_embeds"]
    found = import_weights(save(tmp_path / "a.pth", state), SMALL)
    assert found.missing == ("tpv_head.level_embeds",)


def test_start_takes_backbone_and_a_fitting_pyramid(tmp_path: Path) -> None:
    state = {n.removeprefix("module."): t for n, t in published(SMALL).items()}
    start = {n: t for n, t in state.items() if n.startswith(("img_backbone", "img_neck"))}
    start["img_neck.fpn_convs.4.conv.weight"] = torch.zeros(16, 16, 3, 3)
    start["bbox_head.cls.weight"] = torch.zeros(3)
    found = import_start(save(tmp_path / "a.pth", {"state_dict": start}), SMALL)
    assert not found.missing
    assert set(found.extra) == {"img_neck.fpn_convs.4.conv.weight", "bbox_head.cls.weight"}
    start["img_neck.lateral_convs.0.conv.weight"] = torch.zeros(8, 128, 1, 1)
    found = import_start(save(tmp_path / "b.pth", {"state_dict": start}), SMALL)
    assert {n.split(".")[0] for n in found.mapped} == {"img_backbone"}
    assert all(n.startswith("img_neck") for n in found.missing)


def test_start_takes_torchvision_names(tmp_path: Path) -> None:
    with torch.device("meta"):
        backbone = Pop3dNetwork(SMALL).img_backbone.state_dict()
    plain = {n: torch.zeros(t.shape) for n, t in backbone.items()} | {"fc.bias": torch.zeros(5)}
    found = import_start(save(tmp_path / "resnet18.pth", plain), SMALL)
    assert found.extra == ("img_backbone.fc.bias",) and len(found.mapped) == len(backbone)


@pytest.mark.parametrize("transposed", [False, True])
def test_word_vectors(tmp_path: Path, transposed: bool) -> None:
    rows = torch.randn(len(RAW_CLASS_OF_WORD), 12)
    matrix = rows.T if transposed else rows
    for classes in (list(RAW_CLASS_OF_WORD), torch.tensor(RAW_CLASS_OF_WORD)):
        vectors = read_word_vectors(save(tmp_path / "z.pth", (matrix, classes)), 12)
        assert torch.equal(vectors.vectors, rows) and vectors.words == WORDS
    with pytest.raises(WeightFileError, match="rows of 512"):
        read_word_vectors(tmp_path / "z.pth", 512)
    with pytest.raises(WeightFileError, match="expected is a pair"):
        read_word_vectors(save(tmp_path / "y.pth", {"a": rows}), 12)
