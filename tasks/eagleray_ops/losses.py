"""Losses of OPS: classes of all queries, masks of the matched ones, for every supervised layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from eagleray.task import LossTerm, StepContext
from eagleray_ops.matching import Segments, match_queries, read_masks
from eagleray_ops.model.network import Proposals
from eagleray_ops.settings import LossSettings

LOSS_NAMES = ("class", "mask", "dice")
"""Losses of the last layer; those of layer n before it are called ``layer<n>_class`` and so on."""

Draw = Callable[[int, str, tuple[int, ...]], Tensor]
"""Uniform numbers in 0..1 of a shape, for a sample of the batch and a purpose."""

MATCHING, RANDOM, FRESH = "matching", "random", "fresh"
"""Purposes of draws: where masks are matched, where uncertain points are looked for, and the
points besides."""


def step_draws(step: StepContext, device: torch.device) -> Draw:
    """Return draws that are keyed by seed, phase, step and sample, made on a device.

    Kinds of devices have generators of their own, so a run on another kind draws other points.
    """

    def draw(sample: int, purpose: str, shape: tuple[int, ...]) -> Tensor:
        seed = step.generator(sample, purpose).initial_seed()
        generator = torch.Generator(device).manual_seed(seed)
        return torch.rand(shape, generator=generator, device=device)

    return draw


def proposal_losses(
    proposals: Sequence[Proposals],
    labels: Tensor,
    settings: LossSettings,
    draw: Draw,
) -> dict[str, LossTerm]:
    """Return the losses of all supervised layers.

    Args:
        proposals: What the network gives behind each of them, the last layer's last.
        labels: ``(B, H, W)`` integer classes of the network's input, 255 = void.
        settings: Weights and numbers of points.
        draw: Gives random points.

    Returns:
        Terms by name, in the order of the layers. Classes are divided by the weights of the labels,
        masks by the number of segments, over all ranks.
    """
    segments = [Segments.of(one) for one in labels]
    terms: dict[str, LossTerm] = {}
    for number, level in enumerate(proposals):
        is_last = number == len(proposals) - 1
        prefix = "" if is_last else f"layer{level.layer}_"
        found = _level_losses(level, segments, settings, draw, f"layer{level.layer}/")
        terms |= {f"{prefix}{name}": term for name, term in found.items()}
    return terms


def _level_losses(
    level: Proposals,
    segments: Sequence[Segments],
    settings: LossSettings,
    draw: Draw,
    salt: str,
) -> Mapping[str, LossTerm]:
    class_logits, mask_logits = level.class_logits.float(), level.mask_logits.float()
    background = class_logits.shape[-1] - 1
    labels = torch.full(class_logits.shape[:2], background, device=class_logits.device)
    masks = dice = 0.0 * mask_logits.sum()  # part of the graph where no image has a segment
    for index, own in enumerate(segments):
        if not len(own.classes):
            continue
        points = draw(index, f"{salt}{MATCHING}", (1, settings.points, 2))
        queries, chosen = match_queries(
            class_logits[index], mask_logits[index], own, points, settings
        )
        labels[index, queries] = own.classes[chosen]
        matched = mask_logits[index, queries]
        points = _uncertain_points(matched.detach(), settings, partial(draw, index), salt)
        crossed, overlap = mask_losses(matched, own, chosen, points)
        masks, dice = masks + crossed, dice + overlap
    num_segments = float(sum(len(own.classes) for own in segments))
    return {
        "class": class_loss(class_logits, labels, settings),
        "mask": LossTerm(masks, num_segments, settings.mask_weight),
        "dice": LossTerm(dice, num_segments, settings.dice_weight),
    }


def class_loss(logits: Tensor, labels: Tensor, settings: LossSettings) -> LossTerm:
    """Return the cross entropy of all queries' classes, weighted by the weights of their labels.

    Args:
        logits: ``(B, Q, K + 1)``, the last one for the background.
        labels: ``(B, Q)`` int64.
        settings: Weight of the background and of the loss.
    """
    weights = logits.new_ones(logits.shape[-1])
    weights[-1] = settings.background_weight
    total = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), weights, reduction="sum")
    return LossTerm(total, weights[labels].sum(), settings.class_weight)


def mask_losses(
    mask_logits: Tensor, segments: Segments, chosen: Tensor, points: Tensor
) -> tuple[Tensor, Tensor]:
    """Return cross entropy (a mean over points) and Dice, summed over the matched masks.

    Args:
        mask_logits: ``(m, h, w)`` of the matched queries.
        segments: Of the image.
        chosen: ``(m,)`` the segment of each query.
        points: ``(m, P, 2)`` where they are compared.
    """
    truth = segments.at(points, chosen)
    logits = read_masks(mask_logits, points)
    crossed = F.binary_cross_entropy_with_logits(logits, truth, reduction="none").mean(-1)
    masks = logits.sigmoid()
    overlap = 2 * (masks * truth).sum(-1) + 1
    dice = 1 - overlap / (masks.sum(-1) + truth.sum(-1) + 1)
    return crossed.sum(), dice.sum()


def _uncertain_points(
    mask_logits: Tensor,
    settings: LossSettings,
    draw: Callable[[str, tuple[int, ...]], Tensor],
    salt: str,
) -> Tensor:
    """Choose points of each mask: most of them where its logit is near 0 (PointRend)."""
    num_masks = len(mask_logits)
    num_uncertain = int(settings.uncertain_share * settings.points)
    num_drawn = int(settings.oversampling * settings.points)
    drawn = draw(f"{salt}{RANDOM}", (num_masks, num_drawn, 2))
    certainty = read_masks(mask_logits, drawn).abs()
    nearest = certainty.topk(num_uncertain, dim=1, largest=False).indices
    points = drawn.gather(1, nearest[..., None].expand(-1, -1, 2))
    fresh = draw(f"{salt}{FRESH}", (num_masks, settings.points - num_uncertain, 2))
    return torch.cat([points, fresh], dim=1)
