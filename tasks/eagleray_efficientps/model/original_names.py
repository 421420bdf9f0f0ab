"""Names of the released network's tensors, and what they are called here.

The original numbers the bottom-up laterals from the coarsest level and its coarse semantic levels
from stride 32. Counters of batches are the only tensors that have no counterpart.
"""

import re

UNUSED_SUFFIX = "num_batches_tracked"
"""Counter of batches that normalization layers store; never used."""

_PYRAMID_LEVELS = 4

_PARTS = (
    (r"^backbone\.conv_stem\.", "backbone.stem.conv."),
    (r"^backbone\.bn1\.", "backbone.stem.norm."),
    (r"^backbone\.conv_head\.", "backbone.head.conv."),
    (r"^backbone\.bn2\.", "backbone.head.norm."),
    (r"^backbone\.blocks\.", "backbone.stages."),
    (r"^neck\.lateral_convs_top\.", "pyramid.top_down."),
    (r"^neck\.fpn_convs\.", "pyramid.output."),
    (r"^rpn_head\.rpn_conv\.", "rpn_head.conv1."),
    (r"^rpn_head\.rpn_cls\.", "rpn_head.conv_obj."),
    (r"^rpn_head\.rpn_reg\.", "rpn_head.conv_bbx."),
    (r"^bbox_head\.shared_fcs\.0\.", "box_head.fc1."),
    (r"^bbox_head\.shared_fcs\.1\.", "box_head.fc2."),
    (r"^bbox_head\.fc_cls\.", "box_head.classes."),
    (r"^bbox_head\.fc_reg\.", "box_head.codes."),
    (r"^mask_head\.upsample\.", "mask_head.enlarge."),
    (r"^mask_head\.conv_logits\.", "mask_head.logits."),
    (r"^semantic_head\.conv_logits\.", "semantic_head.logits."),
    (r"^semantic_head\.lateral_convs_ss\.(\d)\.convs\.0\.", r"semantic_head.coarse.\1.root."),
    (r"^semantic_head\.lateral_convs_ss\.(\d)\.convs\.4\.", r"semantic_head.coarse.\1.chained."),
    (r"^semantic_head\.lateral_convs_ss\.(\d)\.conv\.", r"semantic_head.coarse.\1.merge."),
    (r"^semantic_head\.lateral_convs_ls\.(\d)\.convs\.", r"semantic_head.fine.\1."),
    (r"^semantic_head\.aligning_convs\.(\d)\.convs\.", r"semantic_head.correct.\1."),
    (r"\.depthwise_conv\.", ".depthwise."),
    (r"\.pointwise_conv\.", ".pointwise."),
)

_SEPARABLE_BLOCK = {
    "conv_dw": "depthwise.conv",
    "bn1": "depthwise.norm",
    "conv_pw": "project.conv",
    "bn2": "project.norm",
}
_INVERTED_BLOCK = {
    "conv_pw": "expand.conv",
    "bn1": "expand.norm",
    "conv_dw": "depthwise.conv",
    "bn2": "depthwise.norm",
    "conv_pwl": "project.conv",
    "bn3": "project.norm",
}
"""timm's names of a block's layers; in the first stage the projection is ``conv_pw``."""

_BLOCK = re.compile(r"^backbone\.stages\.(\d+)\.(\d+)\.(\w+)\.(.*)$")
_EXCITATION = {"conv_reduce": "reduce", "conv_expand": "expand"}
_BOTTOM_UP = re.compile(r"^neck\.lateral_convs_bottom\.(\d)\.")
_DPC_BRANCH = re.compile(r"^semantic_head\.lateral_convs_ss\.(\d)\.convs\.([123])\.")


def our_name(original: str) -> str | None:
    """Translate the original's name of a tensor; ``None`` for counters of batches.

    A name that is not the original's comes back as it is, or as another one that does not exist.

    Example:
        >>> our_name("neck.lateral_convs_bottom.0.bn.bias")
        'pyramid.bottom_up.3.bn.bias'
    """
    if original.endswith(UNUSED_SUFFIX):
        return None
    name = _BOTTOM_UP.sub(
        lambda m: f"pyramid.bottom_up.{_PYRAMID_LEVELS - 1 - int(m[1])}.", original
    )
    name = _DPC_BRANCH.sub(lambda m: f"semantic_head.coarse.{m[1]}.branches.{int(m[2]) - 1}.", name)
    for pattern, ours in _PARTS:
        name = re.sub(pattern, ours, name)
    return _block_name(name)


def _block_name(name: str) -> str:
    match = _BLOCK.match(name)
    if match is None:
        return name
    stage, block, layer, rest = match.groups()
    prefix = f"backbone.stages.{stage}.{block}"
    if layer == "se":
        unit, _, leaf = rest.partition(".")
        return f"{prefix}.excite.{_EXCITATION.get(unit, unit)}.{leaf}"
    layers = _SEPARABLE_BLOCK if stage == "0" else _INVERTED_BLOCK
    return f"{prefix}.{layers.get(layer, layer)}.{rest}"
