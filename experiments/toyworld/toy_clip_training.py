"""Trains the toy CLIP: crops against captions, and the regions of crops against theirs.

Two kinds of picture vectors meet the text: the pooled one of a whole crop, and, as in RegionCLIP
(arXiv 2112.09106), the mean of the last block's value path over the patches of a region. A caption
is positive for all that it is true of, so that a batch of few words has no false negatives.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor
from toy_clip_captions import Caption, caption, may_be_said, truth
from toy_clip_crops import STUFF, Crop, CropSource
from toy_clip_frames import NO_COLOR

from eagleray_vision.clip.architecture import ClipArchitecture, build_clip
from eagleray_vision.clip.embedding import encode_text
from eagleray_vision.clip.tokenizer import WordTokenizer
from eagleray_vision.clip.tower import ClipImageTower, normalized

_OTHER_WORDS = 10
"""Words of no crop whose captions a batch has, too, at most."""
_COLOR_SHARE = 0.6
"""Share of regions of a known color whose caption says it."""
_SEEN_SHARE = 0.1
"""What covers more of a crop than this may be what the crop is a picture of."""
_LOST_SHARE = 0.02
"""A crop of which its own region covers less may be a picture of anything that it shows."""
_LOGIT_SCALE = (math.log(1 / 0.07), math.log(100.0))
"""CLIP's start and limit."""
_REGION_WEIGHT = 1.0
_TEXT_WEIGHT = 0.5
"""Weights of the loss of regions, and of captions that look for their picture."""


_MASKED_BLOCKS = 2
"""Last blocks in which class tokens are shown one region."""
_REGION_EDGE = 0.3
"""Share of a patch, in that of the fullest one, from which on it belongs to a region."""
_HIDDEN = -100.0


@dataclass(frozen=True, kw_only=True)
class Cycle:
    """Steps under one cosine of the learning rate.

    Attributes:
        steps: How many.
        lr: Learning rate at its start.
        sizes: Side of the crops, pixels, with the share of the steps at which each begins.
    """

    steps: int
    lr: float
    sizes: tuple[tuple[float, int], ...]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How the toy CLIP is trained.

    Attributes:
        cycles: Restarts of the learning rate; small crops come first, since they are cheap.
        batch: Crops per step and worker.
        workers: Processes of one thread each, whose gradients are averaged.
        strict_from: Step from which on a crop is a picture of its own region first of all; before,
            captions of all that it shows are left out.
        large_from: Step from which on crops are cut around regions of `least_px` pixels at least;
            before, around all.
        least_px: Pixels of a frame.
        warmup: Steps of rising learning rate.
        weight_decay: Of matrices.
        seed: Of weights, crops and captions.
        save_every: Steps between checkpoints.
    """

    cycles: tuple[Cycle, ...] = (
        Cycle(steps=1800, lr=1.0e-3, sizes=((0.0, 32), (0.6, 48))),
        Cycle(steps=1200, lr=7.0e-4, sizes=((0.0, 48), (0.5, 64))),
        Cycle(steps=800, lr=5.0e-4, sizes=((0.0, 64),)),
        Cycle(steps=600, lr=4.0e-4, sizes=((0.0, 64),)),
    )
    batch: int = 24
    workers: int = 2
    strict_from: int = 1000
    large_from: int = 1850
    least_px: int = 150
    warmup: int = 100
    weight_decay: float = 0.1
    seed: int = 0
    save_every: int = 50

    @property
    def steps(self) -> int:
        """Steps of all cycles."""
        return sum(cycle.steps for cycle in self.cycles)

    def at(self, step: int) -> tuple[int, int, float]:
        """Return the side of a step's crops, the smallest region of theirs, the learning rate."""
        begun, first = self.cycles[0], 0
        for cycle, start in zip(self.cycles, self._starts(), strict=True):
            if step >= start:
                begun, first = cycle, start
        inside = step - first
        px = next(px for share, px in reversed(begun.sizes) if inside >= share * begun.steps)
        least_px = self.least_px if step >= self.large_from else 0
        if step < self.warmup:
            return px, least_px, begun.lr * (step + 1) / self.warmup
        skipped = self.warmup if first == 0 else 0
        done = (inside - skipped) / (begun.steps - skipped)
        return px, least_px, begun.lr * 0.5 * (1.0 + math.cos(math.pi * done))

    def _starts(self) -> list[int]:
        return [sum(one.steps for one in self.cycles[:k]) for k in range(len(self.cycles))]


def toy_architecture(words: list[str]) -> ClipArchitecture:
    """Return the form of the toy CLIP for a vocabulary."""
    return ClipArchitecture(
        image_size=64,
        patch_size=8,
        width=192,
        layers=6,
        heads=3,
        embed_dim=128,
        text_width=128,
        text_layers=3,
        text_heads=2,
        context_length=24,
        vocab_size=len(words) + 3,
        quick_gelu=True,
    )


@dataclass(frozen=True, kw_only=True)
class _Batch:
    """Crops as tensors, with all of their regions in one list."""

    images: Tensor
    shares: Tensor
    crop_of: Tensor
    is_own: Tensor
    words: np.ndarray
    colors: np.ndarray


def _joined(crops: list[Crop]) -> _Batch:
    counts = [len(crop.words) for crop in crops]
    starts = np.cumsum([0, *counts[:-1]])
    own = np.zeros(sum(counts), bool)
    own[starts] = True
    images = torch.from_numpy(np.stack([crop.rgb for crop in crops])).permute(0, 3, 1, 2)
    return _Batch(
        images=normalized(images),
        shares=torch.from_numpy(np.concatenate([crop.shares for crop in crops])),
        crop_of=torch.from_numpy(np.repeat(np.arange(len(crops)), counts)),
        is_own=torch.from_numpy(own),
        words=np.concatenate([crop.words for crop in crops]),
        colors=np.concatenate([crop.colors for crop in crops]),
    )


def _captions(batch: _Batch, all_words: list[int], rng: np.random.Generator) -> list[Caption]:
    """Return one plain caption per word of the batch and of some others, and colored ones."""
    some = {*batch.words.tolist(), *rng.permutation(all_words)[:_OTHER_WORDS].tolist()}
    out = {word: caption(word, NO_COLOR, rng) for word in sorted(some)}
    colored: dict[tuple[int, int], Caption] = {}
    for word, color in zip(batch.words.tolist(), batch.colors.tolist(), strict=True):
        if color != NO_COLOR and may_be_said(word, color) and rng.random() < _COLOR_SHARE:
            colored.setdefault((word, color), caption(word, color, rng))
    return [*out.values(), *colored.values()]


def _match_loss(logits: Tensor, known: Tensor) -> Tensor:
    """Return the cross-entropy of rows against all that is true of them.

    Args:
        logits: (n, m) similarities.
        known: (n, m) 1 true, 0 false, -1 left out.
    """
    true = (known == 1).float()
    has = true.sum(1) > 0
    logp = logits.masked_fill(known < 0, float("-inf"))[has].log_softmax(1)
    target = true[has] / true[has].sum(1, keepdim=True)
    return -(target * logp.masked_fill(target == 0, 0.0)).sum(1).mean()


def _other_subjects(batch: _Batch, *, strict: bool) -> Tensor:
    """Return which regions a crop might as well be a picture of, (regions,) bool.

    Their captions are neither right nor wrong for the whole crop. Strictly, a thing in front of
    stuff is the subject, else the largest region; and a class token that sees one region has no
    other subject.
    """
    share = batch.shares.mean(1)
    present = share > _SEEN_SHARE
    if not strict:
        return present
    own_share = share[batch.is_own][batch.crop_of]
    is_stuff = torch.from_numpy(np.isin(batch.words, sorted(STUFF)))
    before_stuff = is_stuff & ~is_stuff[batch.is_own][batch.crop_of]
    larger = (share > own_share) & ~before_stuff
    sees_all = batch.crop_of % 2 == 1
    return present & sees_all & (larger | (own_share < _LOST_SHARE))


def _region_mask(batch: _Batch, heads: int) -> Tensor:
    """Return (crops * heads, tokens, tokens): in every other crop, the class token of the last
    blocks sees itself and the patches of the crop's own region only, as OPS will ask of it.
    """
    own = batch.shares[batch.is_own]
    own = own / own.amax(1, keepdim=True)
    mask = torch.zeros(len(own), own.shape[1] + 1, own.shape[1] + 1)
    mask[::2, 0, 1:] = torch.where(own[::2] < _REGION_EDGE, _HIDDEN, 0.0)
    return mask.repeat_interleave(heads, dim=0)


def _loss(
    tower: ClipImageTower,
    model: torch.nn.Module,
    batch: _Batch,
    ids: Tensor,
    known: Tensor,
    *,
    strict: bool,
) -> Tensor:
    tokens, _ = tower.tokens(batch.images)
    for block in tower.blocks[:-_MASKED_BLOCKS]:
        tokens = block(tokens)
    mask = _region_mask(batch, tower.heads)
    for block in tower.blocks[-_MASKED_BLOCKS:-1]:
        tokens = block(tokens, attn_mask=mask)
    last = tower.blocks[-1](tokens, attn_mask=mask)
    pooled = tower.ln_post(last[:, 0]) @ tower.proj
    values = tower.values(tokens[:, 1:])
    weights = batch.shares / batch.shares.sum(1, keepdim=True)
    regions = (weights[:, :, None] * F.normalize(values, dim=-1)[batch.crop_of]).sum(1)
    text = F.normalize(encode_text(model, ids), dim=-1)
    scale = model.logit_scale.exp()  # type: ignore[operator]
    by_region = scale * F.normalize(regions, dim=-1) @ text.T
    by_crop = scale * F.normalize(pooled, dim=-1) @ text.T
    own = known[batch.is_own].clone()
    other = _other_subjects(batch, strict=strict)
    seen = torch.zeros_like(own).index_put_(
        (batch.crop_of[other],), (known[other] != 0).to(own.dtype), accumulate=True
    )
    own[(own == 0) & (seen > 0)] = -1
    loss = _match_loss(by_crop, own) + _REGION_WEIGHT * _match_loss(by_region, known)
    return loss + _TEXT_WEIGHT * (
        _match_loss(by_crop.T, own.T) + _REGION_WEIGHT * _match_loss(by_region.T, known.T)
    )


def _optimizer(model: torch.nn.Module, recipe: Recipe) -> torch.optim.AdamW:
    flat = [p for n, p in model.named_parameters() if p.dim() < 2 or "embedding" in n]
    deep = [p for n, p in model.named_parameters() if not (p.dim() < 2 or "embedding" in n)]
    groups = [
        {"params": deep, "weight_decay": recipe.weight_decay},
        {"params": flat, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=recipe.cycles[0].lr, betas=(0.9, 0.98))


def train(source: CropSource, words: list[str], recipe: Recipe, checkpoint: Path) -> Any:
    """Train, or go on where a checkpoint is.

    Args:
        source: Crops.
        words: Vocabulary of the text tower.
        recipe: How.
        checkpoint: File that is written every `Recipe.save_every` steps.

    Returns:
        open_clip's network in evaluation mode.
    """
    rendezvous = checkpoint.with_suffix(".rendezvous")
    rendezvous.unlink(missing_ok=True)
    # Forked workers share the frames; threads of operators do not survive a fork: each has one.
    context = torch.multiprocessing.get_context("fork")
    workers = [
        context.Process(target=_work, args=(rank, source, words, recipe, checkpoint, rendezvous))
        for rank in range(recipe.workers)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if any(worker.exitcode for worker in workers):
        raise RuntimeError(f"a worker ended with {[worker.exitcode for worker in workers]}")
    model = build_clip(toy_architecture(words))
    model.load_state_dict(torch.load(checkpoint, weights_only=True)["model"])
    return model.eval()


def _work(
    rank: int,
    source: CropSource,
    words: list[str],
    recipe: Recipe,
    checkpoint: Path,
    rendezvous: Path,
) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=recipe.workers
    )
    torch.manual_seed(recipe.seed)
    form = toy_architecture(words)
    model = build_clip(form)
    tokenizer = WordTokenizer(words, form.context_length)
    optimizer = _optimizer(model, recipe)
    start = 0
    if checkpoint.exists():
        stored = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(stored["model"])
        optimizer.load_state_dict(stored["optimizer"])
        start = int(stored["step"])
    model.train()
    tower = ClipImageTower(model.visual)
    smooth = 0.0
    for step in range(start, recipe.steps):
        rng = np.random.default_rng([recipe.seed, step, rank])
        number = step * recipe.workers + rank
        px, least_px, lr = recipe.at(step)
        batch = _joined(source.batch(number, recipe.batch, px, least_px))
        captions = _captions(batch, source.words, rng)
        known = torch.from_numpy(truth(captions, batch.words, batch.colors))
        ids = tokenizer([one.text for one in captions])
        strict = step >= recipe.strict_from
        loss = _loss(tower, model, batch, ids, known, strict=strict)
        optimizer.zero_grad(set_to_none=False)
        loss.backward()
        _average_gradients(model, recipe.workers)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for group in optimizer.param_groups:
            group["lr"] = lr
        optimizer.step()
        with torch.no_grad():
            model.logit_scale.clamp_(0.0, _LOGIT_SCALE[1])
        smooth = loss.item() if step == start else 0.95 * smooth + 0.05 * loss.item()
        if rank == 0 and ((step + 1) % recipe.save_every == 0 or step + 1 == recipe.steps):
            _save(checkpoint, model, optimizer, step + 1)
            spent = time.process_time()
            print(f"step {step + 1}: loss {smooth:.3f}, {spent:.0f} s of CPU", flush=True)
    dist.barrier()


def _average_gradients(model: torch.nn.Module, workers: int) -> None:
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    flat = torch.cat([one.flatten() for one in gradients])
    dist.all_reduce(flat)
    for one, mean in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        one.copy_(mean.view_as(one) / workers)


def _save(
    checkpoint: Path, model: torch.nn.Module, optimizer: torch.optim.Optimizer, step: int
) -> None:
    content = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step}
    part = checkpoint.with_suffix(".part")
    torch.save(content, part)
    part.replace(checkpoint)
