"""A CLIP of a few thousand random numbers, written as the world writes its CLIPs."""

from __future__ import annotations

import json
from pathlib import Path

import safetensors.torch
import torch

from eagleray_vision.clip.architecture import ClipArchitecture, build_clip

WORDS = (
    *("a", "photo", "of", "the", "red", "blue", "car", "tree", "road", ".", "this", "is"),
    *("there", "in", "scene", "small"),
)
SMALL = ClipArchitecture(
    image_size=32,
    patch_size=8,
    width=64,
    layers=2,
    heads=1,
    embed_dim=24,
    text_width=64,
    text_layers=1,
    text_heads=1,
    context_length=12,
    vocab_size=len(WORDS) + 3,
    quick_gelu=True,
)


def small_model(form=SMALL, seed=0):
    torch.manual_seed(seed)
    return build_clip(form).eval()


def save_small(path: Path, form=SMALL, seed=0, **metadata) -> Path:
    tensors = small_model(form, seed).state_dict()
    said = {"quick_gelu": "true", "tokenizer_words": json.dumps(WORDS)} | metadata
    safetensors.torch.save_file(tensors, path, {k: v for k, v in said.items() if v is not None})
    return path
