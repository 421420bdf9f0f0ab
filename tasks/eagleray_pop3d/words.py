"""Vectors of words: of the classes, and of whatever somebody asks for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated

from pydantic import Field, field_validator
from torch import Tensor
from torch.nn import functional as F

from eagleray.task import OF_USE, InputError, Settings, SettingsError
from eagleray_pop3d.checkpoint_import import read_word_vectors
from eagleray_pop3d.prompts import CLASS_OF_WORD, PROMPT_SET, WORDS
from eagleray_vision.clip.named_rows import NamedRows, read_named_rows
from eagleray_vision.clip.reading import read_clip
from eagleray_vision.clip.vocabulary import ClipWords, WordSource
from eagleray_vision.driving.lidarseg import CLASS_NAMES, CLASS_OF_RAW, NUM_CLASSES

_TORCH_SUFFIXES = (".pth", ".pt")


class TextSettings(Settings):
    """Where vectors of words come from: a CLIP, or a table that was made by one."""

    clip: Annotated[str, OF_USE] = Field(
        "", description="Weights of a CLIP (open_clip, OpenAI's archive, toy); embeds any words."
    )
    vectors: Annotated[str, OF_USE] = Field(
        "",
        description="Vectors instead of a CLIP: zeroshot_weights.pth, or .npy rows with a list of "
        "names beside it. Words that it does not have are refused.",
    )
    words: Annotated[Mapping[str, tuple[str, ...]], OF_USE] = Field(
        {},
        description="Words of each class by its name (car: [car, van]); empty: the 102 of the "
        "original.",
    )
    prompts: Annotated[str | tuple[str, ...], OF_USE] = Field(
        PROMPT_SET, description="Prompt set, or sentences with {} where the word goes."
    )

    @field_validator("words")
    @classmethod
    def _classes_exist(cls, words: Mapping[str, tuple[str, ...]]) -> Mapping[str, tuple[str, ...]]:
        known = CLASS_NAMES[1 : NUM_CLASSES + 1]
        unknown = [name for name in words if name not in known]
        if unknown:
            raise ValueError(f"words names {unknown}; classes are {', '.join(known)}")
        return words


@dataclass(frozen=True)
class ClassVectors:
    """Vectors of the classes' words.

    Attributes:
        vectors: ``(T, D)`` float32, of length 1.
        classes: Class of each, 0 to 16; words of class 0 are not asked.
    """

    vectors: Tensor
    classes: tuple[int, ...]


def class_vectors(settings: TextSettings, feature_channels: int) -> ClassVectors:
    """Return the vectors of the words of all classes.

    Args:
        settings: Where they come from.
        feature_channels: Width of the network's language features.

    Raises:
        SettingsError: Nothing is named that vectors come from.
        InputError: The file is damaged, of another width, or does not have a word.
    """
    path = Path(settings.vectors).expanduser()
    if settings.vectors and path.suffix in _TORCH_SUFFIXES and not settings.words:
        stored = read_word_vectors(path, feature_channels)
        classes = tuple(CLASS_OF_RAW[raw] for raw in stored.raw_classes)
        return ClassVectors(F.normalize(stored.vectors, dim=1), classes)
    words, classes = _words_of_classes(settings)
    return ClassVectors(embed_texts(settings, words, feature_channels), classes)


def embed_texts(settings: TextSettings, texts: Sequence[str], feature_channels: int) -> Tensor:
    """Return vectors of texts, ``(n, D)`` of length 1.

    Args:
        settings: Where they come from.
        texts: Any words for a CLIP, those of the table for a table.
        feature_channels: Width D of the network's language features.

    Raises:
        SettingsError: Nothing is named that vectors come from.
        InputError: A text is empty, too long, or not in the table (the nearest are named).
    """
    source = _source(settings.clip, settings.vectors, feature_channels)
    if source.embed_dim != feature_channels:
        raise InputError(
            f"{settings.vectors or settings.clip} gives vectors of {source.embed_dim} channels, "
            f"the network's language features have {feature_channels}: take the text side of the "
            "network that features were made by"
        )
    return source.embed(texts, settings.prompts).float()


def _words_of_classes(settings: TextSettings) -> tuple[list[str], tuple[int, ...]]:
    if not settings.words:
        return list(WORDS), CLASS_OF_WORD
    pairs = [
        (word, CLASS_NAMES.index(name)) for name, words in settings.words.items() for word in words
    ]
    return [word for word, _ in pairs], tuple(number for _, number in pairs)


@lru_cache(maxsize=2)
def _source(clip: str, vectors: str, feature_channels: int) -> WordSource:
    if vectors:
        path = Path(vectors).expanduser()
        if path.suffix not in _TORCH_SUFFIXES:
            return read_named_rows(path)
        stored = read_word_vectors(path, feature_channels)
        if not stored.words:
            raise InputError(
                f"{path} does not say which words its vectors are of, and they are not the 102 of "
                "the original: give text.clip to ask for other words"
            )
        return NamedRows(stored.words, stored.vectors, path.name)
    if clip:
        return ClipWords(read_clip(clip))
    raise SettingsError(
        "words have no vectors: set text.clip to the weights of the CLIP whose space the features "
        "are in, or text.vectors to zeroshot_weights.pth or a table (.npy)"
    )
