"""Names of the released network's tensors, and what they are called here.

CLIP's own tensors keep open_clip's names below ``clip.`` (which are OpenAI's). The original spreads
them over the image encoder (the blocks that features are read from), the head (the last blocks) and
the text encoder, so that a block's number depends on where CLIP is split.
"""

from __future__ import annotations

import re

ADAPTER = "decode_head.side_adapter_network."
RECOGNITION = "decode_head.rec_with_attnbias."
IMAGE, TEXT = "image_encoder.", "text_encoder."

_ADAPTER_PARTS = (
    (r"^patch_embed\.projection\.", "patches."),
    (r"^pos_embed$", "positions"),
    (r"^query_embed$", "queries"),
    (r"^query_pos_embed$", "query_positions"),
    (r"^(?:dao|dcnv4)_list\.", "dao_before."),
    (r"^(?:dao|dcnv4)_after_fusion_list\.", "dao_after."),
    (r"\.dcn_v3\.dw_conv\.0\.", ".convolution.depthwise."),
    (r"\.dcn_v3\.dw_conv\.1\.1\.", ".convolution.norm."),
    (r"\.dcn_v3\.offset\.", ".convolution.offsets."),
    (r"\.dcn_v3\.mask\.", ".convolution.weights."),
    (r"\.dcn_v3\.input_proj\.", ".convolution.values."),
    (r"\.dcn_v3\.output_proj\.", ".convolution.output."),
    (r"\.dcn_v3\.center_feature_scale_proj_", ".convolution.center."),
    (r"^encode_layers\.", "layers."),
    (r"\.ln([12])\.", r".norm\1."),
    (r"\.attn\.attn\.", ".attention."),
    (r"\.ffn\.layers\.0\.0\.", ".expand."),
    (r"\.ffn\.layers\.1\.", ".reduce."),
    (r"^conv_clips\.(\d+)\.0\.", r"fusions.\1.norm."),
    (r"^conv_clips\.(\d+)\.1\.conv\.", r"fusions.\1.projection."),
    (r"^mask_decoder\.pix_mlp\.", "mask_decoder.pixel_mlp."),
    (r"^mask_decoder\.attn_mlp\.", "mask_decoder.bias_mlp."),
    (r"^mask_decoder\.bias_scaling\.", "mask_decoder.bias_scale."),
)
_IMAGE_NAMES = {
    "cls_token": "class_embedding",
    "pos_embed": "positional_embedding",
    "patch_embed.projection.weight": "conv1.weight",
}
_BLOCK_PARTS = (
    (r"^attn\.attn\.", "attn."),
    (r"^attentions\.0\.attn\.", "attn."),
    (r"^norms\.0\.", "ln_1."),
    (r"^norms\.1\.", "ln_2."),
    (r"^ln([12])\.", r"ln_\1."),
    (r"^ffns?\.(?:0\.)?layers\.0\.0\.", "mlp.c_fc."),
    (r"^ffns?\.(?:0\.)?layers\.1\.", "mlp.c_proj."),
)
_BLOCK = re.compile(r"^(?:layers|transformer)\.(\d+)\.(.*)$")


def adapter_name(original: str) -> str:
    """Translate the name of a tensor of the side adapter, without the adapter's own prefix.

    Example:
        >>> adapter_name("dcnv4_list.0.dcn_v3.mask.bias")
        'dao_before.0.convolution.weights.bias'
    """
    for pattern, ours in _ADAPTER_PARTS:
        original = re.sub(pattern, ours, original)
    return original


def our_name(original: str, split: int) -> str | None:
    """Translate the original's name of a tensor; ``None`` where it is no name of the original.

    Args:
        original: The name in a checkpoint of OPS.
        split: Number of CLIP's blocks in its image encoder.

    Example:
        >>> our_name("decode_head.rec_with_attnbias.layers.0.norms.0.bias", split=9)
        'clip.visual.transformer.resblocks.9.ln_1.bias'
    """
    if original.startswith(ADAPTER):
        return f"adapter.{adapter_name(original.removeprefix(ADAPTER))}"
    if original.startswith(IMAGE):
        name = original.removeprefix(IMAGE)
        return f"clip.visual.{_IMAGE_NAMES.get(name) or _tower_name(name, 0)}"
    if original.startswith(RECOGNITION):
        name = original.removeprefix(RECOGNITION)
        return f"clip.visual.{'proj' if name == 'proj.weight' else _tower_name(name, split)}"
    if original.startswith(TEXT):
        name = original.removeprefix(TEXT)
        return "background" if name == "bg_embed" else f"clip.{_tower_name(name, 0)}"
    return None


def _tower_name(name: str, first_block: int) -> str:
    """Translate the name of a tensor inside of one of CLIP's towers."""
    match = _BLOCK.match(name)
    if match is None:
        return name
    rest = match[2]
    for pattern, ours in _BLOCK_PARTS:
        rest = re.sub(pattern, ours, rest)
    return f"transformer.resblocks.{int(match[1]) + first_block}.{rest}"
