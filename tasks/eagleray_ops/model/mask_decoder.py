"""From queries and pixels to masks, and to what CLIP's last blocks are told of each mask."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from eagleray_ops.model.config import AdapterSettings


class QueryMlp(nn.Module):
    """Linear layers with ReLU between them, over the last axis.

    Args:
        widths: Channels before, between and behind the layers.
    """

    def __init__(self, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(*pair) for pair in pairwise(widths))

    def forward(self, values: Tensor) -> Tensor:
        """Return ``(..., last width)`` for ``(..., first width)``."""
        for layer in self.layers[:-1]:
            values = F.relu(layer(values))
        return self.layers[-1](values)


class PixelMlp(nn.Module):
    """The same as 1 x 1 convolutions, over the channels of a map.

    Args:
        widths: Channels before, between and behind the layers.
    """

    def __init__(self, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Conv2d(*pair, 1) for pair in pairwise(widths))

    def forward(self, maps: Tensor) -> Tensor:
        """Return ``(B, last width, h, w)`` for ``(B, first width, h, w)``."""
        for layer in self.layers[:-1]:
            maps = F.relu(layer(maps))
        return self.layers[-1](maps)


class MaskDecoder(nn.Module):
    """Mask logits and attention biases, both as dot products with the same query vectors.

    Args:
        settings: Widths and layers.
        bias_heads: Biases per query: one per head of CLIP, or 1.
    """

    def __init__(self, settings: AdapterSettings, bias_heads: int) -> None:
        super().__init__()
        self.bias_heads = bias_heads
        width, hidden = settings.width, (settings.decoder_width,) * settings.decoder_layers
        self.query_mlp = QueryMlp((width, *hidden))
        self.pixel_mlp = PixelMlp((width, *hidden))
        self.bias_mlp = PixelMlp((width, *hidden[:-1], bias_heads * settings.decoder_width))
        self.bias_scale = nn.Linear(1, 1)

    def forward(self, queries: Tensor, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Return mask logits and attention biases.

        Args:
            queries: ``(B, Q, C)``.
            maps: ``(B, C, h, w)``.

        Returns:
            Logits ``(B, Q, h, w)`` and biases ``(B, heads, Q, h, w)``.
        """
        vectors = self.query_mlp(queries)
        masks = torch.einsum("bqc,bchw->bqhw", vectors, self.pixel_mlp(maps))
        per_head = self.bias_mlp(maps).unflatten(1, (self.bias_heads, -1))
        biases = torch.einsum("bqc,bnchw->bnqhw", vectors, per_head)
        return masks, self.bias_scale(biases[..., None])[..., 0]
