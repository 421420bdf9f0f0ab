"""The semantic head that the settings name: the paper's, or one of its ablations."""

from torch import nn

from eagleray_seamseg.model.config import SemSettings
from eagleray_vision.heads.deeplab import DeepLabHead
from eagleray_vision.heads.mini_dl import MiniDeepLabHead
from eagleray_vision.heads.semantic_fpn import SemanticFpnHead
from eagleray_vision.heads.upernet import UperNetHead
from eagleray_vision.layers.activated_norm import NormSpec

AnySemanticHead = MiniDeepLabHead | SemanticFpnHead | DeepLabHead | UperNetHead


def build_semantic_head(
    settings: SemSettings, in_channels: int, num_classes: int, norm: NormSpec
) -> AnySemanticHead:
    """Build a semantic head with random weights; all kinds map levels to logits at the finest one.

    Args:
        settings: Settings of the head.
        in_channels: Channels of the pyramid.
        num_classes: Classes, stuff and things.
        norm: Normalization and activation of the static part.
    """
    width = settings.hidden_channels
    match settings.head:
        case "mini_dl":
            return MiniDeepLabHead(
                in_channels,
                settings.fpn_levels,
                num_classes,
                norm,
                hidden_channels=width,
                pooling_size=settings.pooling_size,
                dilation=settings.dilation,
            )
        case "fpn":
            return SemanticFpnHead(
                in_channels, settings.fpn_levels, num_classes, norm, hidden_channels=width
            )
        case "deeplab":
            return DeepLabHead(
                in_channels,
                settings.fpn_levels,
                num_classes,
                norm,
                hidden_channels=width,
                rates=settings.aspp_rates,
            )
        case "upernet":
            return UperNetHead(
                in_channels,
                settings.fpn_levels,
                num_classes,
                norm,
                hidden_channels=width,
                bins=settings.pooling_bins,
            )


def trained_blocks(head: nn.Module | None) -> list[nn.Module]:
    """Return the blocks of a head whose activations are worth recomputing."""
    return head.checkpoint_blocks() if isinstance(head, AnySemanticHead) else []
