"""Words to vectors: prompts through the text tower, kept by (weights, templates, words)."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
import torch.nn.functional as F
from torch import Tensor

from eagleray_vision.clip.prompts import fill, prompt_templates
from eagleray_vision.clip.reading import CLIP
from eagleray_vision.clip.tokenizer import PromptError

_PROMPTS_PER_BATCH = 256
"""Prompts that go through the text tower at a time."""
_ROWS = "rows"


def embed_words(clip: CLIP, words: Sequence[str], prompts: str | Sequence[str]) -> Tensor:
    """Return the vectors of some words.

    Each prompt of a word is embedded and set to length 1; their mean is set to length 1 again
    (OPS, MaskCLIP and CLIP's own zero-shot classifier do so).

    Args:
        clip: The CLIP; its text tower runs where it is.
        words: Names of classes; anything that the tokenizer reads.
        prompts: Name of a prompt set, or templates with one ``{}`` each.

    Returns:
        (len(words), embed_dim) float32 rows of length 1, on the CPU.

    Raises:
        PromptError: No word, an empty one, a prompt of too many tokens, or a word that the text
            tower does not know.
    """
    templates = prompt_templates(prompts)
    if not words:
        raise PromptError("no word is given; give at least one class")
    if any(not word.strip() for word in words):
        raise PromptError("a class name is empty; give a word for each class")
    sentences = [fill(template, word) for word in words for template in templates]
    rows = _embedded(clip, sentences).reshape(len(words), len(templates), -1)
    return F.normalize(rows.mean(1), dim=-1)


def encode_text(model: Any, ids: Tensor) -> Tensor:
    """Return what open_clip's ``encode_text`` does, in a fraction of the time.

    The mask is causal, so what stands behind the longest prompt's end changes nothing and is left
    out: prompts of ten tokens need no 77.

    Args:
        model: open_clip's network.
        ids: (n, context length) token ids; the end has the largest id of a prompt.

    Returns:
        (n, embed_dim), not normalized.
    """
    ends = ids.argmax(1)
    length = int(ends.max()) + 1
    x = model.token_embedding(ids[:, :length]) + model.positional_embedding[:length]
    x = model.transformer(x, attn_mask=model.attn_mask[:length, :length])
    return model.ln_final(x)[torch.arange(len(ids)), ends] @ model.text_projection


@torch.no_grad()
def _embedded(clip: CLIP, sentences: Sequence[str]) -> Tensor:
    device = clip.model.logit_scale.device
    parts = []
    for start in range(0, len(sentences), _PROMPTS_PER_BATCH):
        ids = clip.tokenizer(sentences[start : start + _PROMPTS_PER_BATCH])
        rows = encode_text(clip.model, ids.to(device))
        parts.append(F.normalize(rows, dim=-1).float().cpu())
    return torch.cat(parts)


class EmbeddingCache:
    """Vectors of words that were embedded before, in memory and, with a folder, on disk.

    Args:
        folder: Where the files lie; None keeps them in memory only. Several processes may share it.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._rows: dict[str, Tensor] = {}

    def embed(self, clip: CLIP, words: Sequence[str], prompts: str | Sequence[str]) -> Tensor:
        """Return `embed_words`, computed once per (weights, templates, words).

        Args:
            clip: The CLIP.
            words: Names of classes.
            prompts: Name of a prompt set, or templates.

        Returns:
            (len(words), embed_dim) float32 rows of length 1.

        Raises:
            PromptError: As `embed_words` does.
        """
        key = _key(clip, words, prompt_templates(prompts))
        if key not in self._rows:
            stored = self._read(key, (len(words), clip.embed_dim))
            if stored is None:
                stored = embed_words(clip, words, prompts)
                self._write(key, stored)
            self._rows[key] = stored
        return self._rows[key].clone()

    def _path(self, key: str) -> Path | None:
        return self._folder / f"{key}.safetensors" if self._folder else None

    def _read(self, key: str, shape: tuple[int, int]) -> Tensor | None:
        """Return stored rows; a file that is damaged is computed again."""
        path = self._path(key)
        if path is None or not path.is_file():
            return None
        try:
            rows = safetensors.torch.load_file(path)[_ROWS]
        except (OSError, KeyError, ValueError, safetensors.SafetensorError):
            return None
        whole = tuple(rows.shape) == shape and bool(torch.isfinite(rows).all())
        return rows.float() if whole else None

    def _write(self, key: str, rows: Tensor) -> None:
        path = self._path(key)
        if path is None:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".part", delete=False) as file:
            file.write(safetensors.torch.save({_ROWS: rows.contiguous()}))
        Path(file.name).replace(path)


def _key(clip: CLIP, words: Sequence[str], templates: Sequence[str]) -> str:
    form = clip.architecture
    said = [clip.checksum, clip.tokenizer.identity, form.quick_gelu, list(templates), list(words)]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()
