"""Words to token ids: CLIP's byte pairs, or a short list of words; nothing is ever cut off."""

from __future__ import annotations

import difflib
import hashlib
import json
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Protocol

import open_clip
import torch
from torch import Tensor

from eagleray.task import SettingsError

CLIP_VOCAB_SIZE = 49408
"""Tokens of CLIP's byte pair encoding, start and end included."""
_PIECE = re.compile(r"[a-z0-9]+|[^\sa-z0-9]")
"""A word, or a single other sign."""
_NUM_NEAREST = 3


class PromptError(SettingsError):
    """A prompt is empty, too long, or has words that the text tower does not know."""


class Tokenizer(Protocol):
    """Turns prompts into token ids."""

    @property
    def identity(self) -> str:
        """Tells tokenizers apart that give different ids."""

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """Return (n, context_length) int64 ids, zero behind the end; raises `PromptError`."""


class BpeTokenizer:
    """CLIP's byte pair encoding (open_clip's tables, equal to OpenAI's).

    Args:
        context_length: Tokens of a prompt, start and end included.
    """

    identity = "clip-bpe"

    def __init__(self, context_length: int = 77) -> None:
        self.context_length = context_length
        self._encoder = _byte_pairs()

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """Return (n, context_length) int64 ids; a prompt that is too long is refused, not cut."""
        start, end = self._encoder.all_special_ids
        pieces = [[start, *self._encoder.encode(text), end] for text in texts]
        return _padded(texts, pieces, self.context_length)


@lru_cache(maxsize=1)
def _byte_pairs() -> Any:
    return open_clip.SimpleTokenizer()


class WordTokenizer:
    """A tokenizer that knows some words and no others.

    Id 0 fills up; then come the words; the last two ids are start and end, so that the end has the
    largest id of a prompt, which is how CLIP finds it.

    Args:
        words: The words, lower case; single signs such as ``.`` count as words.
        context_length: Tokens of a prompt, start and end included.

    Example:
        >>> WordTokenizer(["a", "red", "car"], context_length=6)(["a red car"]).tolist()
        [[4, 1, 2, 3, 5, 0]]
    """

    def __init__(self, words: Sequence[str], context_length: int) -> None:
        odd = [word for word in words if _PIECE.fullmatch(word) is None]
        if odd or len(set(words)) != len(words):
            raise PromptError(
                f"a tokenizer's words are different, lower case and single (found: {odd[:3]})"
            )
        self.words, self.context_length = tuple(words), context_length
        self._ids = {word: k + 1 for k, word in enumerate(self.words)}

    @property
    def vocab_size(self) -> int:
        """Ids in use: padding, words, start, end."""
        return len(self.words) + 3

    @property
    def identity(self) -> str:
        """A checksum of the words."""
        return f"words-{hashlib.sha256(json.dumps(self.words).encode()).hexdigest()[:16]}"

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """Return (n, context_length) int64 ids; an unknown word is named, never guessed."""
        start, end = len(self.words) + 1, len(self.words) + 2
        pieces = [
            [start, *(self._id(piece, text) for piece in split_words(text)), end] for text in texts
        ]
        return _padded(texts, pieces, self.context_length)

    def _id(self, piece: str, text: str) -> int:
        if piece not in self._ids:
            near = difflib.get_close_matches(piece, self.words, n=_NUM_NEAREST)
            nearest = f"the nearest that it knows: {', '.join(near)}" if near else "none is near"
            raise PromptError(
                f"the word {piece!r} of {text!r} is not among the {len(self.words)} words that "
                f"this CLIP's text tower knows ({nearest}); take another word, or a CLIP with the "
                "whole vocabulary"
            )
        return self._ids[piece]


def split_words(text: str) -> list[str]:
    """Return the words and signs of a text, lower case, as `WordTokenizer` sees them.

    Example:
        >>> split_words("Building-other.")
        ['building', '-', 'other', '.']
    """
    return _PIECE.findall(text.lower())


def _padded(texts: Sequence[str], pieces: Sequence[list[int]], length: int) -> Tensor:
    out = torch.zeros(len(texts), length, dtype=torch.int64)
    for row, (text, ids) in enumerate(zip(texts, pieces, strict=True)):
        if len(ids) > length:
            raise PromptError(
                f"the prompt {text!r:.120} has {len(ids)} tokens, start and end included; this "
                f"CLIP reads {length}: shorten it"
            )
        if len(ids) == 2 and not text.strip():
            raise PromptError("a prompt is empty; give at least one word")
        out[row, : len(ids)] = torch.tensor(ids)
    return out
