"""Cross-entropy over the worst pixels, at full resolution and in bounded memory.

Keeping the largest quarter of the pixel losses and averaging them equals a pixel weight of
4 / (H W) on the worst quarter and 0 elsewhere, a special case of loss max-pooling (Rota Bulò et
al., CVPR 2017), as used by Seamless and EfficientPS.

Logits come at the feature resolution. Their bilinear upsampling to the image's size would hold
classes x H x W numbers (1 GB per Vistas image), so it is made strip by strip and made again in the
backward pass.
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

VOID_ID = 255
"""Class id of pixels without a class."""


def _row_weights(
    rows: tuple[int, int], in_size: int, out_size: int, like: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the two source rows and the fraction between them for some output rows.

    The rule is bilinear without corner alignment: source = (i + 0.5) * in / out - 0.5, not below 0.
    """
    position = torch.arange(*rows, device=like.device, dtype=like.dtype)
    source = ((position + 0.5) * (in_size / out_size) - 0.5).clamp(min=0)
    below = source.long().clamp(max=in_size - 1)
    return below, (below + 1).clamp(max=in_size - 1), source - below


def upsample_rows(logits: Tensor, size: tuple[int, int], rows: tuple[int, int]) -> Tensor:
    """Return some rows of a bilinearly resized map (without corner alignment).

    Args:
        logits: ``(c, h, w)``.
        size: Height and width after resizing.
        rows: First and past-the-last row wanted.

    Returns:
        ``(c, rows, width)``: ``interpolate(logits, size)[:, rows]`` up to rounding.
    """
    below, above, fraction = _row_weights(rows, logits.shape[1], size[0], logits)
    strip = torch.lerp(logits[:, below], logits[:, above], fraction[None, :, None])
    return F.interpolate(
        strip[None], (strip.shape[1], size[1]), mode="bilinear", align_corners=False
    )[0]


def _strips(valid_size: tuple[int, int], chunk_pixels: int) -> Iterator[tuple[int, int]]:
    step = max(1, chunk_pixels // max(1, valid_size[1]))
    for start in range(0, valid_size[0], step):
        yield start, min(start + step, valid_size[0])


def _wide(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()


def _strip_losses(
    logits: Tensor, target: Tensor, size: tuple[int, int], rows: tuple[int, int]
) -> Tensor:
    strip = upsample_rows(logits, size, rows)[:, :, : target.shape[1]]
    return F.cross_entropy(
        strip[None], target[None, rows[0] : rows[1]], ignore_index=VOID_ID, reduction="none"
    )[0]


def pixel_losses(
    logits: Tensor, target: Tensor, size: tuple[int, int], *, chunk_pixels: int = 1 << 18
) -> Tensor:
    """Return the cross-entropy of every pixel of one image, 0 at void pixels.

    Args:
        logits: ``(classes, h, w)`` at the feature resolution of the padded image.
        target: ``(H, W)`` int64 classes of the unpadded image, 255 = void.
        size: Height and width of the padded image.
        chunk_pixels: Pixels whose logits are held at a time; no result depends on it.

    Returns:
        ``(H, W)``, float32 (float64 if the logits are).
    """
    wide = _wide(logits)
    return torch.cat(
        [
            checkpoint(
                _strip_losses,
                wide,
                target,
                size,
                rows,
                use_reentrant=False,
                preserve_rng_state=False,
            )
            if torch.is_grad_enabled() and wide.requires_grad
            else _strip_losses(wide, target, size, rows)
            for rows in _strips((target.shape[0], target.shape[1]), chunk_pixels)
        ]
    )


def worst_mean(losses: Tensor, fraction: float | None) -> Tensor:
    """Average the ``ceil(fraction * n)`` largest of n losses, void included (None or 1: all)."""
    flat = losses.flatten()
    if fraction is None or fraction >= 1:
        return flat.mean()
    return flat.topk(math.ceil(fraction * flat.numel()), sorted=False).values.mean()


def bootstrapped_cross_entropy(
    logits: Tensor,
    targets: list[Tensor],
    size: tuple[int, int],
    fraction: float | None,
    *,
    chunk_pixels: int = 1 << 18,
) -> tuple[Tensor, Tensor]:
    """Return (sum over images of the mean of their worst pixel losses, images).

    Args:
        logits: ``(n, classes, h, w)`` at the feature resolution of the padded images.
        targets: Per image ``(H, W)`` int64 classes of the unpadded image, 255 = void. Void pixels
            have loss 0 and stay in the pixel count.
        size: Height and width of the padded images.
        fraction: Share of the worst pixels; ``None`` or 1 = all.
        chunk_pixels: As in ``pixel_losses``.
    """
    means = [
        worst_mean(pixel_losses(image, target, size, chunk_pixels=chunk_pixels), fraction)
        for image, target in zip(logits, targets, strict=True)
    ]
    return torch.stack(means).sum(), torch.tensor(len(means), device=logits.device)


@torch.no_grad()
def upsampled_argmax(
    logits: Tensor,
    size: tuple[int, int],
    valid_size: tuple[int, int],
    *,
    chunk_pixels: int = 1 << 18,
) -> Tensor:
    """Return the class of highest upsampled logit per pixel, the first one on ties.

    Args:
        logits: ``(classes, h, w)`` at the feature resolution of the padded image.
        size: Height and width of the padded image.
        valid_size: Height and width of the unpadded image.
        chunk_pixels: Pixels whose logits are held at a time; no result depends on it.

    Returns:
        ``(height, width)`` int64 at the unpadded size.
    """
    wide = _wide(logits)
    return torch.cat(
        [
            upsample_rows(wide, size, rows)[:, :, : valid_size[1]].argmax(0)
            for rows in _strips(valid_size, chunk_pixels)
        ]
    )
