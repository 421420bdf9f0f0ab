"""A small Segment Anything network without trained weights, to test what surrounds it."""

from __future__ import annotations

import torch
from segment_anything.modeling import (
    ImageEncoderViT,
    MaskDecoder,
    PromptEncoder,
    Sam,
    TwoWayTransformer,
)
from torch import Tensor, nn

_WIDTH = 32
_PATCH_PX = 16


def random_sam(side_px: int = 128, seed: int = 0) -> Sam:
    """Return a randomly initialized network; its masks all span the image."""
    torch.manual_seed(seed)
    encoder = ImageEncoderViT(
        img_size=side_px,
        patch_size=_PATCH_PX,
        embed_dim=32,
        depth=1,
        num_heads=2,
        out_chans=_WIDTH,
        use_rel_pos=True,
    )
    grid = (side_px // _PATCH_PX, side_px // _PATCH_PX)
    prompts = PromptEncoder(
        embed_dim=_WIDTH,
        image_embedding_size=grid,
        input_image_size=(side_px, side_px),
        mask_in_chans=4,
    )
    decoder = MaskDecoder(
        num_multimask_outputs=3,
        transformer=TwoWayTransformer(depth=2, embedding_dim=_WIDTH, mlp_dim=32, num_heads=2),
        transformer_dim=_WIDTH,
    )
    return Sam(encoder, prompts, decoder).eval()


def local_sam(side_px: int = 128, seed: int = 0) -> Sam:
    """Return a network whose masks lie around their prompts, as those of trained weights do."""
    network = random_sam(side_px, seed)
    network.mask_decoder = LocalDecoder()
    return network


class LocalDecoder(nn.Module):
    """Ragged masks of three sizes around the prompt, from the position encoding alone."""

    def forward(
        self,
        image_embeddings: Tensor,
        image_pe: Tensor,
        sparse_prompt_embeddings: Tensor,
        dense_prompt_embeddings: Tensor,
        multimask_output: bool,
    ) -> tuple[Tensor, Tensor]:
        """Return low-resolution logits (n, 3, h, w) and predicted IoUs (n, 3)."""
        point = nn.functional.normalize(sparse_prompt_embeddings[:, 0], dim=1)
        places = nn.functional.normalize(image_pe[0], dim=0)
        near = torch.einsum("nc,chw->nhw", point, places)
        ragged = 0.1 * torch.sin(9 * image_embeddings[0]).mean(0)
        sizes = torch.tensor([0.3, 0.6, 0.8])
        logits = 12 * (near[:, None] + ragged - sizes[None, :, None, None])
        logits = nn.functional.interpolate(logits, scale_factor=4, mode="nearest")
        noise = torch.randn(logits.shape[1:], generator=torch.Generator().manual_seed(1))
        return logits + 1.5 * noise, 0.8 + 0.2 * near.flatten(1).amax(1, keepdim=True) * sizes
