"""The image tower of CLIP against the numbers of OPS' own."""

from __future__ import annotations

import json

import pytest
import torch
from open_clip.transformer import QuickGELU, VisionTransformer
from tests.parity import golden
from tests.parity.cases import cases, key_list
from tests.parity.every_key import every_key_is_read  # noqa: F401

from eagleray_vision.clip.tower import ClipImageTower

PREFIX = "image_encoder."


class Case(golden.Case):
    module = __name__

    def numbers_of_outputs(self) -> int:
        return next(k for k in range(100) if f"out{k}.map" not in self)

    def parameters(self) -> dict[str, torch.Tensor]:
        return {k.removeprefix("param."): self[k] for k in self._names if k.startswith("param.")}


def open_clip_names() -> dict[str, str]:
    """Our name of each tensor of the original's image tower, from the published list."""
    pairs = json.loads(key_list("ops", "clip_key_map.json").read_text())
    ours = {theirs: name.removeprefix("visual.") for name, theirs in pairs.items()}
    return {k.removeprefix(PREFIX): v for k, v in ours.items() if k.startswith(PREFIX)}


def tower_of(case: Case) -> ClipImageTower:
    own = case.parameters()
    layers = len({name.split(".")[1] for name in own if name.startswith("layers.")})
    width = own["cls_token"].shape[-1]
    visual = VisionTransformer(
        image_size=int(case["nominal_image"]),
        patch_size=int(case["patch_size"]),
        width=width,
        layers=layers,
        heads=int(case["num_heads"]),
        mlp_ratio=own["layers.0.ffn.layers.0.0.weight"].shape[0] / width,
        act_layer=QuickGELU,
    )
    names = open_clip_names()
    state = {names[name]: value for name, value in own.items()}
    state["class_embedding"] = state["class_embedding"].flatten()
    state["positional_embedding"] = state["positional_embedding"][0]
    left = visual.load_state_dict(state, strict=False)
    assert not left.unexpected_keys
    assert {name.split(".")[0] for name in left.missing_keys} == {"ln_post", "proj"}
    return ClipImageTower(visual.eval())


@pytest.mark.parametrize("path", cases("ops", "clip_vit_small"), ids=lambda p: p.stem)
def test_features_after_blocks(path):
    case = Case(path)
    tower = tower_of(case)
    after = [0, *(int(index) + 1 for index in case["out_indices"])]
    with torch.no_grad():
        features = tower.features(case["image"], after)
    assert case.numbers_of_outputs() == len(after)
    for k, (map_, cls) in enumerate(features):
        golden.close(map_, case[f"out{k}.map"])
        golden.close(cls, case[f"out{k}.cls"])


@pytest.mark.parametrize("path", cases("ops", "clip_vit_small"), ids=lambda p: p.stem)
def test_what_ops_trains_of_the_tower(path):
    case = Case(path)
    tower = tower_of(case)
    tower.freeze(except_positions=True)
    trained = {name for name, p in tower.visual.named_parameters() if p.requires_grad}
    names = open_clip_names()
    assert trained == {names[str(name)] for name in case._array("trainable")}
