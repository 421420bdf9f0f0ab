"""The whole network: a frozen CLIP, the side adapter beside it, and words in place of classes.

image --> CLIP's first blocks --> features --+--> CLIP's last blocks, one token per mask
  |                                          |      ^ where each mask looks    |
  +-----> side adapter <---------------------+------+                          v
               +--> masks                                  classes: cosines with the words
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import open_clip
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from eagleray.task import SettingsError
from eagleray_ops.model.config import AdapterSettings, ClipSettings
from eagleray_ops.model.recognition import Recognition
from eagleray_ops.model.side_adapter import AdapterOutput, ClipFeature, SideAdapter
from eagleray_vision.clip.architecture import ClipArchitecture, build_clip
from eagleray_vision.clip.tower import ClipImageTower

CLIP_PREFIX = "clip."
"""Beginning of the names of CLIP's tensors."""
POSITIONS = "clip.visual.positional_embedding"
"""The only tensor of CLIP that is trained."""

_QUERIES_AT_ONCE = 25
"""Masks that are enlarged at a time; bounds memory."""


class Proposals(NamedTuple):
    """Masks and their classes behind one layer of the adapter; a tuple, as `AdapterOutput`.

    Attributes:
        layer: Number of the layer, from 1.
        class_logits: ``(B, Q, K + 1)`` cosines with the words times CLIP's scale; last column: no
            word.
        mask_logits: ``(B, Q, h, w)`` at the adapter's stride.
        biases: ``(B, heads, Q, h, w)`` what CLIP was told of each mask.
    """

    layer: int
    class_logits: Tensor
    mask_logits: Tensor
    biases: Tensor


class OpsNetwork(nn.Module):
    """The network of OPS.

    Args:
        clip: How CLIP is used.
        adapter: The side adapter.
        form: Architecture of CLIP.
        faithful: See `SideAdapter`.

    Attributes:
        clip: open_clip's network; frozen but its table of positions.
        adapter: The side adapter.
        background: ``(1, D)`` the learned vector for "no word".
        known_words: Rows of words that were embedded, by prompts and words; not in the state.
    """

    def __init__(
        self,
        clip: ClipSettings,
        adapter: AdapterSettings,
        form: ClipArchitecture,
        *,
        faithful: bool,
    ) -> None:
        super().__init__()
        self.settings, self.form = clip, form
        self.feature_blocks = clip.feature_blocks(form.layers, len(adapter.fusion_layers))
        self.clip = build_clip(form).requires_grad_(False)
        self.clip.visual.positional_embedding.requires_grad_(clip.train_positions)
        # a constant here, and DeepSpeed cannot broadcast parameters without an axis
        scale = self.clip.logit_scale.detach()
        del self.clip.logit_scale
        self.clip.register_buffer("logit_scale", scale)
        self.recognition = Recognition(
            self.clip.visual,
            self.feature_blocks[-1],
            heads=form.heads,
            sees_itself=clip.sees_itself,
        )
        self.adapter = SideAdapter(adapter, form.width, form.heads, faithful=faithful)
        self.background = nn.Parameter(torch.randn(1, form.embed_dim) * form.embed_dim**-0.5)
        self.known_words: dict[tuple[str | tuple[str, ...], tuple[str, ...]], Tensor] = {}

    @property
    def tower(self) -> ClipImageTower:
        """CLIP's image tower; a view of `clip`, not a part of its own."""
        return ClipImageTower(self.clip.visual)

    def forward(
        self, images: Tensor, words: Tensor, *, supervised: bool = False
    ) -> list[Proposals]:
        """Propose masks and compare them with words.

        Args:
            images: ``(B, 3, H, W)``, normalized as for CLIP; sides are multiples of the patch.
            words: ``(K, D)`` rows of length 1.
            supervised: Also return what stands behind the layers that are supervised in training.

        Returns:
            Proposals in the order of the layers, the last layer's last.
        """
        features = self.features(images)
        layers = sorted(self.adapter.settings.supervised_layers) if supervised else []
        outputs = self.adapter(images, features, supervised=layers)
        classes = self.classify(self._recognize(outputs, features[-1]), words)
        numbers = (*layers, self.adapter.settings.layers)
        # the masks of all layers went through CLIP at once: see `recognition`
        logits = classes.chunk(len(outputs), dim=1)
        return [
            Proposals(number, own, output.mask_logits, output.biases)
            for number, own, output in zip(numbers, logits, outputs, strict=True)
        ]

    def features(self, images: Tensor) -> list[ClipFeature]:
        """Return what CLIP's first blocks see in the images, at a smaller size.

        Args:
            images: As in `forward`.
        """
        scale = self.settings.image_scale
        small = F.interpolate(images, scale_factor=scale, mode="bilinear") if scale < 1 else images
        found = self.tower.features(small, self.feature_blocks)
        return [ClipFeature(maps, token) for maps, token in found]

    def _recognize(self, outputs: Sequence[AdapterOutput], feature: ClipFeature) -> Tensor:
        """Return ``(B, levels * Q, D)`` embeddings of all levels' masks."""
        biases = torch.cat([output.biases for output in outputs], dim=2)
        return self.recognition(feature.map, feature.token, biases)

    def classify(self, embeddings: Tensor, words: Tensor) -> Tensor:
        """Compare embeddings with words and with the learned vector for none of them.

        Args:
            embeddings: ``(..., D)`` of any length.
            words: ``(K, D)`` rows of length 1.

        Returns:
            ``(..., K + 1)`` cosines times CLIP's scale.
        """
        rows = F.normalize(torch.cat([words.to(self.background), self.background]), dim=-1)
        return F.normalize(embeddings, dim=-1) @ (self.clip.logit_scale.exp() * rows).T

    def scores(self, images: Tensor, words: Tensor) -> Tensor:
        """Return how likely each pixel belongs to each word.

        Args:
            images: As in `forward`.
            words: ``(K, D)`` rows of length 1.

        Returns:
            ``(B, K, H, W)`` float32: sums over masks of the probabilities of word and mask; at
            least 0, not normalized.
        """
        (found,) = self(images, words)
        likely = found.class_logits.float().softmax(-1)[..., :-1].mT
        size = (images.shape[2], images.shape[3])
        total: Tensor | None = None
        for first in range(0, likely.shape[2], _QUERIES_AT_ONCE):
            chosen = slice(first, first + _QUERIES_AT_ONCE)
            masks = F.interpolate(found.mask_logits[:, chosen].float(), size, mode="bilinear")
            part = likely[:, :, chosen] @ masks.sigmoid().flatten(2)
            total = part if total is None else total + part
        if total is None:
            raise SettingsError("adapter.queries is 0, allowed are 1 and more")
        return torch.unflatten(total, 2, size)


def named_architecture(name: str) -> ClipArchitecture:
    """Return the form of a CLIP that open_clip knows by name.

    Args:
        name: Such as ``ViT-B-16-quickgelu``.

    Raises:
        SettingsError: There is no such name, or its image tower is no vision transformer.
    """
    config = open_clip.get_model_config(name)
    if config is None:
        raise SettingsError(
            f"clip.model {name!r}: open_clip knows no such model; names are those of "
            "open_clip.list_models(), such as ViT-B-16-quickgelu (OpenAI's weights) or ViT-B-16"
        )
    vision, text = config["vision_cfg"], config["text_cfg"]
    if not isinstance(vision.get("layers"), int) or "hf_model_name" in text:
        raise SettingsError(
            f"clip.model {name!r} has another image or text tower than CLIP's transformers; "
            "choose a model such as ViT-B-16-quickgelu or ViT-L-14-336-quickgelu"
        )
    return ClipArchitecture(
        image_size=vision["image_size"],
        patch_size=vision["patch_size"],
        width=vision["width"],
        layers=vision["layers"],
        heads=vision["width"] // vision.get("head_width", 64),
        mlp_ratio=vision.get("mlp_ratio", 4.0),
        embed_dim=config["embed_dim"],
        text_width=text["width"],
        text_layers=text["layers"],
        text_heads=text["heads"],
        context_length=text["context_length"],
        vocab_size=text["vocab_size"],
        quick_gelu=config.get("quick_gelu", False),
    )
