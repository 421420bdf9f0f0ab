"""CLIP's last blocks, told where each mask looks (SAN, OPS).

A copy of the class token per mask (SOS) goes through the blocks and reads the patches under the
mask's attention bias. Nobody reads an SOS token but itself, so that the class token and the patches
are what they are without masks: the masks of all supervised layers go through at once, and the
original's square matrix with -100 where nothing is seen is never made.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from eagleray_ops.model.side_adapter import ClipFeature


class Recognition(nn.Module):
    """CLIP's last blocks on tokens of masks, to embeddings that are compared with words.

    A module without parameters of its own: those of CLIP that it uses outside of CLIP's forward
    pass are gathered for its forward and backward pass where ZeRO 3 has divided them, which asks
    for plain tensors in and out.

    Args:
        visual: open_clip's image tower; it stays a part of CLIP alone.
        first_block: Number of the first block that recognizes.
        heads: Attention heads of the blocks.
        sees_itself: Whether a mask's token reads itself beside the patches.
    """

    def __init__(self, visual: Any, first_block: int, *, heads: int, sees_itself: bool) -> None:
        super().__init__()
        self._visual = (visual,)  # in a tuple, so that it is not registered a second time
        self._first_block, self._heads, self._sees_itself = first_block, heads, sees_itself

    def forward(self, maps: Tensor, token: Tensor, biases: Tensor) -> Tensor:
        """Return embeddings of masks.

        Args:
            maps: ``(B, C, h, w)`` patches before the first of these blocks.
            token: ``(B, C)`` the class token there.
            biases: ``(B, heads or 1, Q, h', w')``.

        Returns:
            ``(B, Q, D)`` of any length.
        """
        (visual,) = self._visual
        tokens = recognize(
            visual.transformer.resblocks[self._first_block :],
            ClipFeature(maps, token),
            biases,
            heads=self._heads,
            sees_itself=self._sees_itself,
        )
        return visual.ln_post(tokens) @ visual.proj


def pooled_biases(biases: Tensor, size_hw: tuple[int, int]) -> Tensor:
    """Pool attention biases to CLIP's grid by the maximum.

    Args:
        biases: ``(B, heads, Q, h, w)`` at the adapter's stride.
        size_hw: Rows and columns of CLIP's patches.

    Returns:
        ``(B, heads, Q, rows * columns)``.
    """
    pooled = F.adaptive_max_pool2d(biases.flatten(0, 1), size_hw)
    return torch.unflatten(pooled.flatten(2), 0, biases.shape[:2])


def recognize(
    blocks: Sequence[nn.Module],
    feature: ClipFeature,
    biases: Tensor,
    *,
    heads: int,
    sees_itself: bool = True,
) -> Tensor:
    """Run a token per mask through CLIP's last blocks.

    Args:
        blocks: Residual attention blocks as open_clip has them.
        feature: What comes before these blocks.
        biases: ``(B, heads or 1, Q, h, w)`` attention biases; one is shared by all heads.
        heads: Attention heads of the blocks.
        sees_itself: Whether a mask's token reads itself beside the patches.

    Returns:
        ``(B, Q, C)`` tokens of the masks.
    """
    size = (feature.map.shape[2], feature.map.shape[3])
    pooled = pooled_biases(biases, size)
    tokens = torch.cat([feature.token[:, None], feature.map.flatten(2).mT], dim=1)
    masks = feature.token[:, None].expand(-1, biases.shape[2], -1)
    for block in blocks:
        tokens, masks = _block(block, tokens, masks, pooled, heads, sees_itself)
    return masks


def _block(
    block: Any, tokens: Tensor, masks: Tensor, biases: Tensor, heads: int, sees_itself: bool
) -> tuple[Tensor, Tensor]:
    """Run one block on CLIP's own tokens and the masks' tokens."""
    token_q, token_k, token_v = _projected(block, tokens, heads)
    mask_q, mask_k, mask_v = _projected(block, masks, heads)
    read = F.scaled_dot_product_attention(token_q, token_k, token_v)
    mask_q = mask_q * mask_q.shape[-1] ** -0.5
    scores = mask_q @ token_k[:, :, 1:].mT + biases  # all patches, not the class token
    if sees_itself:
        scores = torch.cat([(mask_q * mask_k).sum(-1, keepdim=True), scores], dim=-1)
    shares = scores.softmax(-1).to(token_v.dtype)
    if sees_itself:
        seen = shares[..., :1] * mask_v + shares[..., 1:] @ token_v[:, :, 1:]
    else:
        seen = shares @ token_v[:, :, 1:]
    return _finished(block, tokens, read), _finished(block, masks, seen)


def _projected(block: Any, tokens: Tensor, heads: int) -> Sequence[Tensor]:
    """Return queries, keys and values, ``(B, heads, L, C / heads)`` each."""
    attention = block.attn
    projected = F.linear(block.ln_1(tokens), attention.in_proj_weight, attention.in_proj_bias)
    parts = torch.unflatten(projected, -1, (3, heads, -1))
    return parts.permute(2, 0, 3, 1, 4).unbind(0)


def _finished(block: Any, tokens: Tensor, read: Tensor) -> Tensor:
    """Add what attention read and the MLP to the tokens."""
    out = block.attn.out_proj
    mixed = F.linear(read.transpose(1, 2).flatten(2), out.weight, out.bias)
    tokens = tokens + block.ls_1(mixed)
    return tokens + block.ls_2(block.mlp(block.ln_2(tokens)))
