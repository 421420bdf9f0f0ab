"""Settings of the network; defaults are those of the released configurations."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from eagleray.task import Settings, SettingsError

Positive = Annotated[int, Field(ge=1)]
Index = Annotated[int, Field(ge=0)]
PatchAttention = Literal["softmax", "norm", "off"]


class DaoSettings(Settings):
    """The deformable blocks (DAO) of the side adapter."""

    before_fusion: tuple[Index, ...] = Field(
        (0, 1, 2, 3),
        description="Numbers of the fusions before which a block stands; empty: none (SAN).",
    )
    after_fusion: tuple[Index, ...] = Field(
        (), description="Numbers of the fusions behind which a block stands."
    )
    groups: Positive = Field(12, description="Groups of channels with offsets of their own.")
    kernel: Positive = Field(3, description="Points per side of the deformable kernel; odd.")
    depthwise_kernel: Positive = Field(
        3, description="Side of the convolution that offsets are read from, pixels; odd."
    )
    offset_scale: float = Field(1.0, gt=0, description="Factor of kernel points and offsets.")
    center_scale: bool = Field(
        True, description="Mix the result of each group with the values by a learned gate."
    )
    patch_attention: PatchAttention = Field(
        "softmax",
        description="Weight of the result: deviation of the softmaxed dot products with the "
        "neighbors (softmax), of cosines (norm), or 1 (off: plain DCNv3 with a residual).",
    )
    patch_kernel: Positive = Field(3, description="Neighborhood of patch attention, pixels; odd.")

    @model_validator(mode="after")
    def _kernels_have_a_center(self) -> Self:
        for name in ("kernel", "depthwise_kernel", "patch_kernel"):
            if getattr(self, name) % 2 == 0:
                raise ValueError(f"dao.{name} {getattr(self, name)} is even, allowed are odd ones")
        if self.patch_attention != "off" and self.patch_kernel == 1:
            raise ValueError("dao.patch_kernel 1 has no neighbors to compare with; set it to 3")
        return self


class AdapterSettings(Settings):
    """The side adapter (DAN)."""

    width: Positive = Field(240, description="Channels of its tokens.")
    layers: Positive = Field(8, description="Transformer layers.")
    heads: Positive = Field(6, description="Attention heads.")
    mlp_ratio: float = Field(4.0, gt=0, description="Width of the MLPs, times `width`.")
    queries: Positive = Field(100, description="Masks that are proposed.")
    patch_px: Positive = Field(16, description="Side of a patch in pixels.")
    grid: tuple[Positive, Positive] = Field(
        (40, 40), description="Rows and columns of the table of positions; others are resized."
    )
    fusion: Literal["conv", "cross_attention"] = Field(
        "conv",
        description="How CLIP's features enter: conv adds a 1 x 1 convolution of them; "
        "cross_attention replaces all tokens by what they read from them (an ablation).",
    )
    fusion_heads: Positive = Field(16, description="Heads of fusion: cross_attention.")
    fusion_layers: tuple[Index, ...] = Field(
        (0, 1, 2, 3),
        description="After how many layers each of CLIP's features enters, in their order.",
    )
    dao: DaoSettings = Field(DaoSettings(), description="Deformable blocks.")
    decoder_width: Positive = Field(256, description="Channels of the mask decoder.")
    decoder_layers: Annotated[int, Field(ge=2)] = Field(3, description="Layers of its MLPs.")
    bias_heads: Literal["all", "one"] = Field(
        "all", description="One attention bias per head of CLIP, or one that all heads share."
    )
    supervised_layers: tuple[Positive, ...] = Field(
        (7,), description="Layers that are supervised in training beside the last one, from 1."
    )

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is no multiple of heads {self.heads}")
        dao, fusions = self.dao, len(self.fusion_layers)
        if self.width % dao.groups and (dao.before_fusion or dao.after_fusion):
            raise ValueError(f"width {self.width} is no multiple of dao.groups {dao.groups}")
        if self.fusion == "cross_attention" and self.width % self.fusion_heads:
            raise ValueError(
                f"width {self.width} is no multiple of fusion_heads {self.fusion_heads}"
            )
        late = [n for n in self.fusion_layers if n >= self.layers]
        if late or list(self.fusion_layers) != sorted(set(self.fusion_layers)):
            raise ValueError(
                f"fusion_layers {self.fusion_layers}: allowed are rising numbers below layers "
                f"({self.layers})"
            )
        for name in ("before_fusion", "after_fusion"):
            chosen = getattr(dao, name)
            if len(set(chosen)) < len(chosen) or any(n >= fusions for n in chosen):
                raise ValueError(
                    f"dao.{name} {chosen}: allowed are numbers from 0 to {fusions - 1}, each once"
                )
        if any(n >= self.layers for n in self.supervised_layers) or len(
            set(self.supervised_layers)
        ) < len(self.supervised_layers):
            raise ValueError(
                f"supervised_layers {self.supervised_layers}: allowed are layers before the last "
                f"({self.layers}), each once"
            )
        return self


class ClipSettings(Settings):
    """The frozen CLIP, and what of it the side adapter reads."""

    weights: str = Field(
        "pretrained/ViT-B-16.pt",
        description="CLIP's weights: OpenAI's archive as published, a file of open_clip, or "
        "toy for the CLIP of the toy world.",
    )
    model: str = Field(
        "ViT-B-16-quickgelu",
        description="Its architecture, as open_clip names it; empty: read from the shapes in "
        "`weights`, which must then be there for every verb.",
    )
    quick_gelu: bool | None = Field(
        None,
        description="Its activation where `model` is empty and the file does not say it: true for "
        "OpenAI's weights and those named -quickgelu.",
    )
    features_after: tuple[Index, ...] | None = Field(
        None,
        description="After how many blocks CLIP is read, 0 is before the first; the blocks behind "
        "the last one recognize. Null: as many as there are fusions, evenly over the first three "
        "quarters (0, 3, 6, 9 of 12 blocks; 0, 6, 12, 18 of 24).",
    )
    image_scale: float = Field(
        0.5, gt=0, le=1, description="Size of CLIP's input, relative to the network's."
    )
    train_positions: bool = Field(
        True, description="Train CLIP's table of positions, all that is not frozen of it."
    )
    prompts: Literal["vild", "simple", "imagenet"] = Field(
        "vild", description="Sentences that class names are put into: 14, 1 or 80."
    )
    sees_itself: bool = Field(
        True, description="A mask's token sees itself beside the patches; false: patches only."
    )

    @model_validator(mode="after")
    def _features_rise(self) -> Self:
        chosen = self.features_after
        if chosen is not None and (not chosen or list(chosen) != sorted(set(chosen))):
            raise ValueError(f"features_after {chosen}: allowed are rising numbers, at least one")
        return self

    def feature_blocks(self, num_blocks: int, num_features: int) -> tuple[int, ...]:
        """Return after how many blocks CLIP is read.

        Args:
            num_blocks: Blocks of the image tower.
            num_features: Fusions of the side adapter, which take one feature each.

        Raises:
            SettingsError: The numbers do not fit each other, or no block is left to recognize.

        Example:
            >>> ClipSettings().feature_blocks(24, 4)
            (0, 6, 12, 18)
        """
        chosen = self.features_after
        if chosen is None:
            last = 3 * num_blocks // 4
            steps = max(num_features - 1, 1)
            chosen = tuple(round(index * last / steps) for index in range(num_features))
        if len(set(chosen)) != num_features or chosen[-1] >= num_blocks:
            raise SettingsError(
                f"CLIP with {num_blocks} blocks is read after {chosen} of them for {num_features} "
                "fusions; allowed are as many different numbers as there are fusions, the last one "
                f"below {num_blocks}: set clip.features_after or adapter.fusion_layers"
            )
        return chosen
