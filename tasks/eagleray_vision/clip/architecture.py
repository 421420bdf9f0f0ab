"""What a CLIP looks like, read off its tensors, and the open_clip network of that form.

Names of tensors are open_clip's, which OpenAI's files share (Radford et al., Learning Transferable
Visual Models From Natural Language Supervision, arXiv 2103.00020).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

import open_clip.model
import torch
from torch import Tensor

from eagleray_vision.weights.tensors import WeightFileError

_HEAD_WIDTHS = {1280: 80, 1408: 88, 1664: 104}
"""Channels per head of the image towers H/14, g/14 and bigG/14 of open_clip's configurations."""
_HEAD_WIDTH = 64
"""Channels per head of all other published CLIPs, and of text towers."""
_BLOCK = re.compile(r"^(visual\.)?transformer\.resblocks\.(\d+)\.")
_NEEDED = (
    *("visual.conv1.weight", "visual.positional_embedding", "visual.class_embedding"),
    *("visual.ln_pre.weight", "visual.ln_post.weight", "visual.proj", "positional_embedding"),
    *("visual.transformer.resblocks.0.mlp.c_fc.weight", "transformer.resblocks.0.mlp.c_fc.weight"),
    *("token_embedding.weight", "text_projection", "ln_final.weight", "logit_scale"),
)
"""Tensors from which the form is read; every CLIP with a vision transformer has them."""
_RESNET = "visual.layer1.0.conv1.weight"
_LAYER_SCALE = ".ls_1.gamma"


@dataclass(frozen=True, kw_only=True)
class ClipArchitecture:
    """The form of a CLIP with a vision transformer.

    Attributes:
        image_size: Side of the square image that the position table is for, pixels.
        patch_size: Side of a patch, pixels.
        width: Channels of the image tower.
        layers: Blocks of the image tower.
        heads: Attention heads of the image tower.
        mlp_ratio: Width of the MLPs of the image tower, in widths.
        embed_dim: Channels of the common space of images and words.
        text_width: Channels of the text tower.
        text_layers: Blocks of the text tower.
        text_heads: Attention heads of the text tower.
        text_mlp_ratio: Width of the MLPs of the text tower, in widths.
        context_length: Tokens of a prompt, start and end included.
        vocab_size: Tokens that are known.
        quick_gelu: Whether the activation is ``x * sigmoid(1.702 x)`` (OpenAI's) or the exact GELU.
    """

    image_size: int
    patch_size: int
    width: int
    layers: int
    heads: int
    mlp_ratio: float = 4.0
    embed_dim: int
    text_width: int
    text_layers: int
    text_heads: int
    text_mlp_ratio: float = 4.0
    context_length: int
    vocab_size: int
    quick_gelu: bool

    @property
    def grid(self) -> int:
        """Side of the position table, patches."""
        return self.image_size // self.patch_size


def read_architecture(
    tensors: Mapping[str, Tensor], *, quick_gelu: bool, source: str
) -> ClipArchitecture:
    """Read the form of a CLIP off its tensors.

    Args:
        tensors: Tensors by open_clip's names.
        quick_gelu: The activation, which no tensor tells.
        source: Where the tensors are from, for messages.

    Raises:
        WeightFileError: They are no CLIP with a vision transformer, or contradict each other.
    """
    _require_vit(tensors, source)
    patches, width = tensors["visual.positional_embedding"].shape
    grid = math.isqrt(patches - 1)
    kernel = tensors["visual.conv1.weight"]
    text_width = tensors["ln_final.weight"].shape[0]
    if grid * grid + 1 != patches or kernel.shape[0] != width or kernel.shape[2] != kernel.shape[3]:
        raise WeightFileError(
            f"{source}: visual.positional_embedding {(patches, width)} and visual.conv1.weight "
            f"{tuple(kernel.shape)} are no square grid of square patches with a class token; only "
            "such CLIPs are read"
        )
    hidden = tensors["visual.transformer.resblocks.0.mlp.c_fc.weight"].shape[0]
    text_hidden = tensors["transformer.resblocks.0.mlp.c_fc.weight"].shape[0]
    return ClipArchitecture(
        image_size=grid * kernel.shape[2],
        patch_size=kernel.shape[2],
        width=width,
        layers=_num_blocks(tensors, "visual."),
        heads=_heads(width, _HEAD_WIDTHS.get(width, _HEAD_WIDTH), "image", source),
        mlp_ratio=hidden / width,
        embed_dim=tensors["visual.proj"].shape[1],
        text_width=text_width,
        text_layers=_num_blocks(tensors, ""),
        text_heads=_heads(text_width, _HEAD_WIDTH, "text", source),
        text_mlp_ratio=text_hidden / text_width,
        context_length=tensors["positional_embedding"].shape[0],
        vocab_size=tensors["token_embedding.weight"].shape[0],
        quick_gelu=quick_gelu,
    )


def _require_vit(tensors: Mapping[str, Tensor], source: str) -> None:
    if _RESNET in tensors:
        raise WeightFileError(
            f"{source} is a CLIP with a residual network (it has {_RESNET}); towers that are "
            "vision transformers are read: ViT-B/32, B/16, L/14, L/14-336 and those like them"
        )
    missing = [name for name in _NEEDED if name not in tensors]
    if missing:
        raise WeightFileError(
            f"{source} is no CLIP with a vision transformer: {len(missing)} of {len(_NEEDED)} "
            f"tensors that tell its form are missing (first: {', '.join(missing[:3])}). Expected "
            "are open_clip's names, as OpenAI's and open_clip's files have them"
        )
    scaled = [name for name in tensors if name.endswith(_LAYER_SCALE)]
    if scaled:
        raise WeightFileError(f"{source} scales its layers ({scaled[0]}); such CLIPs are not read")
    flat = [name for name in _NEEDED if tensors[name].dim() != _dims(name)]
    if flat:
        raise WeightFileError(
            f"{source}: {flat[0]} has the shape {tuple(tensors[flat[0]].shape)}, expected are "
            f"{_dims(flat[0])} dimensions"
        )


def _dims(name: str) -> int:
    if name == "logit_scale":
        return 0
    if name == "visual.conv1.weight":
        return 4
    is_vector = "ln_" in name or name.endswith("class_embedding")
    return 1 if is_vector else 2


def _num_blocks(tensors: Mapping[str, Tensor], prefix: str) -> int:
    found = (_BLOCK.match(name) for name in tensors)
    return len({one[2] for one in found if one and (one[1] or "") == prefix})


def _heads(width: int, head_width: int, tower: str, source: str) -> int:
    if width % head_width:
        raise WeightFileError(
            f"{source}: the {tower} tower has {width} channels, which are no whole number of heads "
            f"of {head_width}; no published CLIP is like that"
        )
    return width // head_width


def build_clip(form: ClipArchitecture) -> open_clip.model.CLIP:
    """Return an open_clip network of a form, on the CPU, with random weights."""
    return open_clip.model.CLIP(
        form.embed_dim,
        {
            "layers": form.layers,
            "width": form.width,
            "head_width": form.width // form.heads,
            "mlp_ratio": form.mlp_ratio,
            "patch_size": form.patch_size,
            "image_size": form.image_size,
        },
        {
            "context_length": form.context_length,
            "vocab_size": form.vocab_size,
            "width": form.text_width,
            "heads": form.text_heads,
            "layers": form.text_layers,
            "mlp_ratio": form.text_mlp_ratio,
        },
        quick_gelu=form.quick_gelu,
    )


def clip_from_tensors(
    form: ClipArchitecture, tensors: Mapping[str, Tensor]
) -> open_clip.model.CLIP:
    """Return an open_clip network with given weights, in float32 and evaluation mode.

    Nothing is drawn at random: the network is built without values and takes the tensors as they
    are (an L/14 has 428 million).

    Args:
        form: The form that was read off the tensors.
        tensors: All tensors of that form, by open_clip's names.

    Raises:
        RuntimeError: A tensor is missing, too many, or has another shape.
    """
    with torch.device("meta"):
        model = build_clip(form)
    values = {name: value.detach().to(torch.float32) for name, value in tensors.items()}
    model.load_state_dict(values, assign=True)
    length = form.context_length
    model.attn_mask = torch.full((length, length), float("-inf")).triu_(1)
    return model.eval()
