"""The small network: every variant, what is frozen, and what recognition may not do."""

import pytest
import torch
from pydantic import ValidationError
from tests.eagleray_ops.small_network import ADAPTER, FORM, random_rows, small_network

from eagleray.task import SettingsError
from eagleray_ops.model.config import AdapterSettings, ClipSettings
from eagleray_ops.model.network import POSITIONS, OpsNetwork, named_architecture
from eagleray_ops.model.recognition import recognize
from eagleray_ops.model.side_adapter import ClipFeature
from eagleray_ops.recipes import parameter_groups, phases

VARIANTS = {
    "released": {},
    "without blocks": {"dao": {"groups": 3, "before_fusion": ()}},
    "behind the fusion": {"dao": {"groups": 3, "before_fusion": (), "after_fusion": (1, 3)}},
    "both sides": {"dao": {"groups": 3, "before_fusion": (0,), "after_fusion": (0, 2)}},
    "large depthwise kernel": {"dao": {"groups": 3, "depthwise_kernel": 5}},
    "other groups": {"dao": {"groups": 6, "center_scale": False}},
    "cosines": {"dao": {"groups": 3, "patch_attention": "norm"}},
    "no patch attention": {"dao": {"groups": 3, "patch_attention": "off"}},
    "cross-attention": {"fusion": "cross_attention"},
    "one bias": {"bias_heads": "one"},
    "later fusion": {"fusion_layers": (0, 2), "dao": {"groups": 3, "before_fusion": (1,)}},
}


def images(height=32, width=32, seed=0):
    return torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_trains(name):
    network = small_network(**VARIANTS[name])
    levels = network.train()(images(), random_rows(5), supervised=True)
    assert [level.layer for level in levels] == [3, 4]
    for level in levels:
        assert level.class_logits.shape == (2, 6, 6)
        assert level.mask_logits.shape == (2, 6, 4, 4)
    sum((x.class_logits.sum() + x.mask_logits.square().sum()) for x in levels).backward()
    trained = {n for n, p in network.named_parameters() if p.grad is not None}
    assert trained == {n for n, p in network.named_parameters() if p.requires_grad}
    scores = network.eval().scores(images(), random_rows(5))
    assert scores.shape == (2, 5, 32, 32) and bool((scores >= 0).all())


@pytest.mark.parametrize("faithful", [True, False])
def test_only_the_adapter_the_background_and_clips_positions_are_trained(faithful):
    network = small_network()
    groups = parameter_groups(network, faithful=faithful)
    names = [name for group in groups for name in group.names]
    beside = [n for n, _ in network.named_parameters() if not n.startswith("clip.")]
    assert sorted(names) == sorted([*beside, POSITIONS])
    factors = {n: (g.lr_factor, g.weight_decay_factor) for g in groups for n in g.names}
    undecayed = {n for n, (_, decay) in factors.items() if decay == 0}
    tables = {POSITIONS, "adapter.positions", "adapter.query_positions"}
    if faithful:
        assert undecayed == tables and {rate for rate, _ in factors.values()} == {1.0}
    else:
        assert "adapter.layers.0.norm1.weight" in undecayed and tables < undecayed
        assert "adapter.fusions.0.norm.bias" in undecayed and "background" not in undecayed
        assert {n for n, (rate, _) in factors.items() if rate == 0.1} == {POSITIONS}


def test_the_trainable_set_has_the_published_size():
    with torch.device("meta"):
        form = named_architecture("ViT-B-16-quickgelu")
        network = OpsNetwork(ClipSettings(), AdapterSettings(), form, faithful=True)
    sizes = {n: p.numel() for n, p in network.named_parameters() if p.requires_grad}
    assert sum(sizes.values()) == 9_169_010
    assert sum(v for n, v in sizes.items() if n.startswith("adapter.")) == 9_017_202
    assert sum(v for n, v in sizes.items() if ".dao_" in n) == 4 * 199_536
    groups = parameter_groups(network, faithful=True)
    assert len(groups) == 2 and phases()[0].schedule.power == 1


def test_positions_can_be_frozen_too():
    network = small_network(clip={"train_positions": False})
    names = [n for g in parameter_groups(network, faithful=True) for n in g.names]
    assert not [name for name in names if name.startswith("clip.")]


def test_masks_of_two_layers_do_not_see_each_other():
    """Levels go through CLIP at once; each must be what it is alone."""
    network = small_network().eval()
    both = network(images(), random_rows(5), supervised=True)
    (last,) = network(images(), random_rows(5))
    torch.testing.assert_close(both[-1].class_logits, last.class_logits)


def test_a_bias_that_hides_all_but_one_patch_shows_that_patch():
    network = small_network(clip={"sees_itself": False}).eval()
    blocks = network.clip.visual.transformer.resblocks[3:]
    generator = torch.Generator().manual_seed(3)
    maps, token = torch.randn(1, 64, 2, 2, generator=generator), torch.randn(1, 64)
    bias = torch.full((1, 1, 4, 2, 2), -1e4)
    for patch in range(4):
        bias[0, 0, patch, patch // 2, patch % 2] = 0
    found = recognize(blocks, ClipFeature(maps, token), bias, heads=1, sees_itself=False)
    (block,) = blocks
    values = torch.nn.functional.linear(
        block.ln_1(maps.flatten(2).mT), block.attn.in_proj_weight, block.attn.in_proj_bias
    )[..., 2 * 64 :]
    seen = token[:, None] + block.attn.out_proj(values)
    torch.testing.assert_close(found, seen + block.mlp(block.ln_2(seen)))


@pytest.mark.parametrize("faithful", [True, False])
def test_positions_of_another_shape_are_resized_unless_faithful(faithful):
    adapter = small_network(faithful=faithful).adapter
    assert adapter._resized_positions((4, 4)) is adapter.positions
    same_number = adapter._resized_positions((2, 8))
    assert (same_number is adapter.positions) == faithful
    assert adapter._resized_positions((3, 5)).shape == (1, 15, 24)


def test_scores_do_not_depend_on_how_many_masks_are_enlarged_at_once(monkeypatch):
    network = small_network().eval()
    whole = network.scores(images(24, 40), random_rows(3))
    monkeypatch.setattr("eagleray_ops.model.network._QUERIES_AT_ONCE", 2)
    torch.testing.assert_close(network.scores(images(24, 40), random_rows(3)), whole)
    (found,) = network(images(24, 40), random_rows(3))
    likely = found.class_logits.softmax(-1)[..., :-1]
    masks = torch.nn.functional.interpolate(found.mask_logits, (24, 40), mode="bilinear").sigmoid()
    torch.testing.assert_close(whole, torch.einsum("bqk,bqhw->bkhw", likely, masks))


@pytest.mark.parametrize(
    "wrong",
    [
        {"width": 25},
        {"dao": {"groups": 5}},
        {"dao": {"groups": 3, "kernel": 4}},
        {"dao": {"groups": 3, "patch_kernel": 1}},
        {"dao": {"groups": 3, "before_fusion": (4,)}},
        {"fusion_layers": (0, 4)},
        {"fusion_layers": (1, 0)},
        {"supervised_layers": (4,)},
        {"fusion": "cross_attention", "fusion_heads": 5},
    ],
)
def test_settings_that_do_not_fit_each_other_are_refused(wrong):
    with pytest.raises(ValidationError):
        AdapterSettings.model_validate({**ADAPTER, **wrong})


def test_features_follow_from_clips_depth():
    assert ClipSettings().feature_blocks(12, 4) == (0, 3, 6, 9)
    assert ClipSettings().feature_blocks(24, 4) == (0, 6, 12, 18)
    assert ClipSettings().feature_blocks(6, 4) == (0, 1, 3, 4)
    for wrong in (ClipSettings(features_after=(0, 2)), ClipSettings(features_after=(0, 1, 2, 12))):
        with pytest.raises(SettingsError, match="features_after"):
            wrong.feature_blocks(12, 4)


def test_architectures_by_name():
    large = named_architecture("ViT-L-14-336-quickgelu")
    assert (large.layers, large.width, large.heads, large.embed_dim) == (24, 1024, 16, 768)
    assert large.grid == 24 and large.quick_gelu and FORM.grid == 2
    for wrong in ("ViT-Z-1", "RN50", "xlm-roberta-base-ViT-B-32"):
        with pytest.raises(SettingsError, match=r"clip\.model"):
            named_architecture(wrong)
