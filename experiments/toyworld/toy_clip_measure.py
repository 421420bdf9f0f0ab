"""What the toy CLIP knows of scenes that it has never seen: classes, colors, patches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from toy_clip_captions import name_of
from toy_clip_crops import Crop, cut, places_of
from toy_clip_frames import COLORS, HELD_OUT, NO_COLOR, Frame

from eagleray_toyworld.scene.paint import PAINTS
from eagleray_toyworld.scene.words import SURFACE_WORDS
from eagleray_vision.clip.embedding import embed_words
from eagleray_vision.clip.reading import CLIP
from eagleray_vision.clip.tower import ClipImageTower, normalized
from eagleray_vision.metrics.mean_iou import compute_mean_iou, confusion_matrix

PROMPTS = "vild"
CROPS_PER_CLASS = 40
_LEAST_PX = 400
"""Smallest region of a frame that is asked about, pixels."""
_BATCH = 64


def crops_of(frames: Sequence[Frame], *, pairs: bool, seed: int = 7) -> list[Crop]:
    """Cut the crops of a test, as many of each class (or held-out pair) as there are, up to 40."""
    rng = np.random.default_rng(seed)
    out: list[Crop] = []
    for word, places in sorted(places_of(frames, _LEAST_PX).items()):
        groups: dict[int, list[Any]] = {}
        for place in places:
            color = int(frames[place.frame].color[place.region])
            if not pairs:
                groups.setdefault(NO_COLOR, []).append(place)
            elif color != NO_COLOR and (SURFACE_WORDS[word], COLORS[color]) in HELD_OUT:
                groups.setdefault(color, []).append(place)
        for ones in groups.values():
            chosen = [ones[k] for k in rng.permutation(len(ones))[:CROPS_PER_CLASS]]
            crops = [cut(frames[one.frame], one, rng, augment=False) for one in chosen]
            out += [crop for crop in crops if crop is not None]
    return out


@torch.no_grad()
def pooled_rows(clip: CLIP, pictures: Sequence[np.ndarray]) -> Tensor:
    """Return (n, D) rows of length 1 of some 64 x 64 pictures."""
    tower = ClipImageTower(clip.visual)
    parts = []
    for start in range(0, len(pictures), _BATCH):
        some = np.stack(pictures[start : start + _BATCH])
        images = torch.from_numpy(some).permute(0, 3, 1, 2)
        parts.append(F.normalize(tower.pooled(normalized(images)), dim=-1))
    return torch.cat(parts)


def class_accuracy(clip: CLIP, crops: Sequence[Crop], least: int = 15) -> dict[str, Any]:
    """Tell each crop's class among all classes of which there are enough crops."""
    own = np.array([int(crop.words[0]) for crop in crops])
    classes = [w for w in sorted(set(own.tolist())) if (own == w).sum() >= least]
    rows = embed_words(clip, [name_of(w) for w in classes], PROMPTS)
    found = (pooled_rows(clip, [crop.rgb for crop in crops]) @ rows.T).argmax(1).numpy()
    asked = np.isin(own, classes)
    told = np.array(classes)[found]
    per_class = {name_of(w): round(float((told[own == w] == w).mean()), 3) for w in classes}
    top = {name_of(w): name_of(int(np.bincount(told[(own == w)]).argmax())) for w in classes}
    return {
        "classes": len(classes),
        "crops": int(asked.sum()),
        "chance": round(1 / len(classes), 3),
        "accuracy": round(float((told == own)[asked].mean()), 4),
        "mean_of_classes": round(float(np.mean(list(per_class.values()))), 4),
        "per_class": per_class,
        "taken_for": {name: one for name, one in top.items() if one != name},
    }


def color_accuracy(clip: CLIP, crops: Sequence[Crop]) -> dict[str, Any]:
    """Tell the color of things whose pair of class and color was never seen, among all paints."""
    names = list(PAINTS)
    pictures = pooled_rows(clip, [crop.rgb for crop in crops])
    right: dict[str, list[bool]] = {}
    for word in sorted({int(crop.words[0]) for crop in crops}):
        kind = name_of(word)
        rows = embed_words(clip, [f"{name} {kind}" for name in names], PROMPTS)
        for k, crop in enumerate(crops):
            if int(crop.words[0]) == word:
                told = names[int((pictures[k] @ rows.T).argmax())]
                color = COLORS[int(crop.colors[0])]
                right.setdefault(f"{color} {kind}", []).append(told == color)
    every = [one for ones in right.values() for one in ones]
    return {
        "colors": len(names),
        "pairs": len(right),
        "crops": len(every),
        "chance": round(1 / len(names), 3),
        "accuracy": round(float(np.mean(every)), 4),
        "per_pair": {name: round(float(np.mean(ones)), 3) for name, ones in sorted(right.items())},
    }


@torch.no_grad()
def dense_quality(clip: CLIP, frames: Sequence[Frame], scale: float = 1.0) -> dict[str, Any]:
    """Label whole frames by their patches' value path, and score the labels.

    Args:
        clip: The CLIP.
        frames: Frames of one kind of scene; classes are those that they show.
        scale: Size at which the tower sees them.
    """
    shown = np.zeros(len(SURFACE_WORDS), np.int64)
    for frame in frames:
        shown += np.bincount(frame.word[frame.region].ravel(), minlength=len(SURFACE_WORDS))
    classes = np.flatnonzero(shown > 0.0005 * shown.sum())
    place = np.full(len(SURFACE_WORDS), 255, np.uint8)
    place[classes] = np.arange(len(classes))
    rows = embed_words(clip, [name_of(int(w)) for w in classes], PROMPTS)
    tower = ClipImageTower(clip.visual)
    counts = []
    for frame in frames:
        images = normalized(torch.from_numpy(frame.rgb).permute(2, 0, 1)[None])
        size = images.shape[-2:]
        patch = tower.patch_size
        goal = [max(patch, round(n * scale / patch) * patch) for n in size]
        seen = F.interpolate(images, size=goal, mode="bilinear", align_corners=False)
        scores = torch.einsum("bdhw,kd->bkhw", F.normalize(tower.dense(seen), dim=1), rows)
        full = F.interpolate(scores, size=size, mode="bilinear", align_corners=False)
        truth = place[frame.word[frame.region]]
        told = full.argmax(1)[0].numpy().astype(np.uint8)
        counts.append(confusion_matrix(truth, told, num_classes=len(classes)))
    iou = compute_mean_iou(counts)
    return {
        "frames": len(frames),
        "classes": len(classes),
        "scale": scale,
        "mean_iou": round(float(iou.mean), 4),
        "pixel_accuracy": round(float(iou.pixel_accuracy), 4),
        "per_class": {
            name_of(int(w)): round(float(value), 3)
            for w, value in zip(classes, iou.per_class, strict=True)
        },
    }


def is_street(frame: Frame) -> bool:
    """Return whether a frame is of a street and no panorama."""
    return "road" in {SURFACE_WORDS[int(w)] for w in frame.word} and frame.rgb.shape[1] != 448
