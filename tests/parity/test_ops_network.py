"""The side adapter, its blocks and recognition against the original's numbers."""

import pytest
import torch
from open_clip.transformer import QuickGELU, ResidualAttentionBlock
from tests.parity.cases import cases
from tests.parity.every_key import every_key_is_read  # noqa: F401
from tests.parity.golden import close
from tests.parity.ops_case import OpsCase, adapter_settings, dao_settings, rows
from torch import nn
from torch.nn import functional as F

from eagleray_ops.model.config import AdapterSettings
from eagleray_ops.model.dao import DeformableAdapter, patch_attention
from eagleray_ops.model.mask_decoder import MaskDecoder
from eagleray_ops.model.original_names import RECOGNITION, our_name
from eagleray_ops.model.recognition import pooled_biases, recognize
from eagleray_ops.model.side_adapter import ClipFeature, SideAdapter

CASES = {"ids": lambda path: path.stem}
UNSEEN = -100.0
"""What the original adds to scores of tokens that are not seen."""


class Golden(OpsCase):
    module = __name__


@pytest.mark.parametrize("path", cases("ops", "dao"), **CASES)
def test_dao(path):
    case = Golden(path)
    kind = {"Softmax": "softmax", "Norm": "norm"}[case.text("patch_norm")]
    settings = dao_settings(case.parameters(), int(case["group"]), patch_attention=kind)
    assert settings.depthwise_kernel == int(case["dw_kernel"])
    maps = case["input"].requires_grad_()
    block = DeformableAdapter(maps.shape[-1], settings)
    case.load_part(block, "dao_list.0.", "dao_before.0.")
    deformed = block.convolution(maps)
    close(deformed, case["dcn_output"])
    close(patch_attention(deformed, kind)[..., 0], case["sigma"])
    output = block(maps)
    close(output, case["output"])
    (grad,) = torch.autograd.grad(output, maps, case["upstream_grad"])
    close(grad, case["grad_input"])


@pytest.mark.parametrize("path", cases("ops", "mask_decoder"), **CASES)
def test_mask_decoder(path):
    case = Golden(path)
    own, heads = case.parameters(), int(case["heads"])
    settings = AdapterSettings(
        width=own["query_mlp.layers.0.weight"].shape[1],
        heads=1,
        dao={"before_fusion": ()},
        decoder_width=rows(own, "query_mlp.layers.0.weight"),
        decoder_layers=len([name for name in own if name.startswith("query_mlp")]) // 2,
    )
    decoder = MaskDecoder(settings, heads)
    case.load_part(decoder, "mask_decoder.", "mask_decoder.")
    masks, biases = decoder(case["query"], case["x"])
    close(masks, case["mask_preds"])
    close(biases, case["attn_bias"])


def last_blocks(case):
    """Return CLIP's last blocks with the case's weights."""
    state, own = {}, case.parameters()
    for name, value in own.items():
        ours = our_name(RECOGNITION + name, split=0).removeprefix("clip.visual.")
        if ours.startswith("transformer.resblocks."):
            state[ours.removeprefix("transformer.resblocks.")] = value
    width = case["cls_token"].shape[1]
    hidden = rows(own, "layers.0.ffns.0.layers.0.0.bias")
    blocks = nn.ModuleList(
        ResidualAttentionBlock(
            width, int(case["num_heads"]), mlp_ratio=hidden / width, act_layer=QuickGELU
        )
        for _ in {name.split(".")[0] for name in state}
    )
    blocks.load_state_dict(state)
    return blocks.eval()


@pytest.mark.parametrize("path", cases("ops", "rec_attnbias"), **CASES)
def test_recognition(path):
    case = Golden(path)
    own, heads = case.parameters(), int(case["num_heads"])
    feature = ClipFeature(case["feature_map"], case["cls_token"])
    tokens = recognize(last_blocks(case), feature, case["bias"], heads=heads)
    width = tokens.shape[-1:]
    tokens = F.layer_norm(tokens, width, own["ln_post.weight"], own["ln_post.bias"])
    close(F.normalize(tokens @ own["proj.weight"].T, dim=-1), case["mask_embeds"])

    # The original's matrix is what our pooled biases stand for, and nothing else.
    queries = case["bias"].shape[2]
    pooled = pooled_biases(case["bias"], feature.map.shape[-2:]).flatten(0, 1)
    side = queries + 1 + pooled.shape[-1]
    matrix = torch.zeros(len(pooled), side, side)
    matrix[:, :, :queries] = UNSEEN
    matrix[:, range(queries), range(queries)] = 0
    matrix[:, :queries, queries] = UNSEEN
    matrix[:, :queries, queries + 1 :] = pooled
    close(matrix, case["attn_matrix"])


@pytest.mark.parametrize("path", cases("ops", "side_adapter"), **CASES)
def test_side_adapter(path):
    case = Golden(path)
    settings = adapter_settings(case)
    features = [
        ClipFeature(case[f"clip_feature{k}"], torch.empty(0))
        for k in range(case.numbers("clip_feature"))
    ]
    bias_heads = rows(case.parameters(), "mask_decoder.attn_mlp.layers.2.bias")
    adapter = SideAdapter(
        settings,
        features[0].map.shape[1],
        bias_heads // settings.decoder_width,
        faithful=True,
    )
    case.load_part(adapter, "", "")
    outputs = adapter(case["image"], features, supervised=settings.supervised_layers)
    assert len(outputs) == 1 + len(settings.supervised_layers)
    for number, output in enumerate(outputs):
        close(output.queries, case[f"out{number}.query"])
        close(output.maps, case[f"out{number}.x"])
        close(output.mask_logits, case[f"out{number}.mask"])
        close(output.biases, case[f"out{number}.attn_bias"])
