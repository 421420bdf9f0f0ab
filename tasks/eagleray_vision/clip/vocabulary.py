"""Classes as a user writes them: synonyms, background words, prompts of their own.

    Vocabulary.parse("road, car|automobile, ice cream van", background="sky, wall")

A class may be several words; background words take pixels away from classes and are no class.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from eagleray_vision.clip.embedding import EmbeddingCache
from eagleray_vision.clip.prompts import prompt_templates
from eagleray_vision.clip.reading import CLIP
from eagleray_vision.clip.tokenizer import PromptError

BETWEEN_SYNONYMS = "|"
BETWEEN_CLASSES = ","

_Prompts = str | tuple[str, ...]
"""A prompt set by its name, or templates."""


class WordSource(Protocol):
    """Gives vectors of words: a CLIP's text tower, or a table that was made with one."""

    @property
    def embed_dim(self) -> int:
        """Channels of a row."""

    def embed(self, words: Sequence[str], prompts: str | Sequence[str]) -> Tensor:
        """Return (len(words), embed_dim) float32 rows of length 1; raises `PromptError`."""


class ClipWords:
    """The text tower of a CLIP as a source of vectors, each computed once.

    Args:
        clip: The CLIP.
        cache: Where vectors are kept; None keeps them in memory.
    """

    def __init__(self, clip: CLIP, cache: EmbeddingCache | None = None) -> None:
        self._clip, self._cache = clip, cache or EmbeddingCache()

    @property
    def embed_dim(self) -> int:
        """Channels of a row."""
        return self._clip.embed_dim

    def embed(self, words: Sequence[str], prompts: str | Sequence[str]) -> Tensor:
        """Return (len(words), embed_dim) float32 rows of length 1; raises `PromptError`."""
        return self._cache.embed(self._clip, words, prompts)


@dataclass(frozen=True, kw_only=True)
class WordClass:
    """One class.

    Attributes:
        words: What it may be called; the first is its name.
        prompts: Prompt set or templates of its own; None: those of the vocabulary.
    """

    words: tuple[str, ...]
    prompts: _Prompts | None = None

    @property
    def name(self) -> str:
        """The first word."""
        return self.words[0]

    @property
    def text(self) -> str:
        """The words as `parse_class` reads them."""
        return BETWEEN_SYNONYMS.join(self.words)


def parse_class(text: str, prompts: str | Sequence[str] | None = None) -> WordClass:
    """Return the class that a text such as ``car|automobile`` names.

    Raises:
        PromptError: A word is empty or given twice.

    Example:
        >>> parse_class("car | automobile").words
        ('car', 'automobile')
    """
    words = tuple(" ".join(word.split()) for word in text.split(BETWEEN_SYNONYMS))
    if not all(words):
        raise PromptError(f"the class {text!r} has an empty word; write it as 'car|automobile'")
    if len({word.lower() for word in words}) != len(words):
        raise PromptError(f"the class {text!r} names a word twice")
    own = prompts if prompts is None or isinstance(prompts, str) else tuple(prompts)
    return WordClass(words=words, prompts=own)


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """What can be found in a picture.

    Attributes:
        classes: The classes, in the order of their ids.
        background: Words that are no class of their own; together they are one more column.
        prompts: Prompt set or templates of classes without their own.
        synonyms: ``max``: a class is as likely as its best word; ``mean``: its words' vectors are
            averaged before anything is compared.
    """

    classes: tuple[WordClass, ...]
    background: tuple[str, ...] = ()
    prompts: _Prompts = "vild"
    synonyms: Literal["max", "mean"] = "max"

    @classmethod
    def parse(
        cls,
        classes: str | Sequence[str],
        *,
        background: str | Sequence[str] = (),
        class_prompts: Mapping[str, str | Sequence[str]] | None = None,
        prompts: str | Sequence[str] = "vild",
        synonyms: Literal["max", "mean"] = "max",
    ) -> Vocabulary:
        """Read a vocabulary as settings and command lines write it.

        Args:
            classes: A list, or one text with commas; ``|`` stands between synonyms.
            background: Words that take pixels from classes, likewise.
            class_prompts: Prompt set or templates by class name, for classes that need their own.
            prompts: Those of all others.
            synonyms: How the words of a class are joined.

        Raises:
            PromptError: No class, an empty or repeated one, a word that is both class and
                background, prompts of a class that there is not, or a prompt that is none.
        """
        own = dict(class_prompts or {})
        listed = [parse_class(text) for text in _listed(classes)]
        parsed = tuple(replace(one, prompts=_frozen(own.pop(one.name, None))) for one in listed)
        if own:
            raise PromptError(
                f"there are prompts for {', '.join(map(repr, own))}, which is no class; classes "
                f"are {', '.join(one.name for one in parsed)}"
            )
        behind = tuple(word for text in _listed(background) for word in parse_class(text).words)
        out = cls(
            classes=parsed, background=behind, prompts=_frozen(prompts) or "vild", synonyms=synonyms
        )
        out.check()
        return out

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the classes, in the order of their ids."""
        return tuple(one.name for one in self.classes)

    def check(self) -> None:
        """Refuse what has no meaning; words are compared without case.

        Raises:
            PromptError: As `parse` says.
        """
        if not self.classes:
            raise PromptError(
                "no class is given; name at least one, such as 'road, car|automobile'"
            )
        seen: dict[str, str] = {}
        for one in self.classes:
            for word in one.words:
                if word.lower() in seen:
                    raise PromptError(
                        f"the word {word!r} stands for two classes ({seen[word.lower()]} and "
                        f"{one.name}); give it to one of them"
                    )
                seen[word.lower()] = one.name
            prompt_templates(self.prompts if one.prompts is None else one.prompts)
        for word in self.background:
            if word.lower() in seen:
                raise PromptError(
                    f"the background word {word!r} is a word of the class {seen[word.lower()]}; "
                    "take it out of one of the two lists"
                )
            seen[word.lower()] = "the background"
        prompt_templates(self.prompts)

    def embed(self, source: WordSource) -> ClassRows:
        """Return the vectors of all words, in the order of classes, then background.

        Raises:
            PromptError: A word that the source does not know, a prompt that is too long.
        """
        groups = [(number, one.words, one.prompts) for number, one in enumerate(self.classes)]
        if self.background:
            groups.append((len(self.classes), self.background, None))
        known = self._embed_by_prompts(source)
        rows, owners = [], []
        for number, words, prompts in groups:
            own = torch.stack([known[prompts, word] for word in words])
            if self.synonyms == "mean" and number < len(self.classes):
                own = F.normalize(own.mean(0, keepdim=True), dim=-1)
            rows.append(own)
            owners += [number] * len(own)
        return ClassRows(rows=torch.cat(rows), owner=torch.tensor(owners), names=self.names)

    def _embed_by_prompts(self, source: WordSource) -> dict[tuple[_Prompts | None, str], Tensor]:
        """Return the vector of each word by its prompts; words of the same go together."""
        asked: dict[_Prompts | None, list[str]] = {}
        for one in self.classes:
            asked.setdefault(one.prompts, []).extend(one.words)
        if self.background:
            asked.setdefault(None, []).extend(self.background)
        known: dict[tuple[_Prompts | None, str], Tensor] = {}
        for prompts, words in asked.items():
            rows = source.embed(words, self.prompts if prompts is None else prompts)
            known |= {(prompts, word): row for word, row in zip(words, rows, strict=True)}
        return known


@dataclass(frozen=True, kw_only=True)
class ClassRows:
    """The vectors of a vocabulary.

    Attributes:
        rows: (n, D) float32 rows of length 1, one or more per class, then those of the background.
        owner: (n,) int64 class of each row; ``len(names)`` for the background.
        names: Names of the classes.
    """

    rows: Tensor
    owner: Tensor
    names: tuple[str, ...]

    @property
    def num_columns(self) -> int:
        """Classes, and one for the background where there is one."""
        return int(self.owner.max()) + 1

    def per_class(self, scores: Tensor, dim: int = -1) -> Tensor:
        """Return the best score among the words of each class.

        Args:
            scores: Scores of each row along a dimension (similarities, logits, probabilities).
            dim: That dimension.

        Returns:
            The same with `num_columns` there: the classes, then the background, if there is one.

        Raises:
            ValueError: There are not as many scores as rows.
        """
        if scores.shape[dim] != len(self.rows):
            raise ValueError(f"expected {len(self.rows)} scores, found {scores.shape[dim]}")
        if self.num_columns == len(self.rows):
            return scores
        owner = self.owner.to(scores.device)
        columns = [
            scores.index_select(dim, (owner == one).nonzero()[:, 0]).amax(dim)
            for one in range(self.num_columns)
        ]
        return torch.stack(columns, dim)

    def class_scores(self, scores: Tensor, dim: int = -1) -> Tensor:
        """Return `per_class` without the background, whose words take no pixel from classes.

        Args:
            scores: Scores of each row along a dimension.
            dim: That dimension.

        Returns:
            The same with ``len(names)`` there.
        """
        return self.per_class(scores, dim).narrow(dim, 0, len(self.names))

    def classify(self, vectors: Tensor) -> Tensor:
        """Return the class of each vector by cosine; ``len(names)`` where it is the background.

        Args:
            vectors: (..., D); their length does not matter.

        Returns:
            (...) int64.

        Raises:
            PromptError: The vectors have another width, so they are of another CLIP.
        """
        if vectors.shape[-1] != self.rows.shape[1]:
            raise PromptError(
                f"the vectors of pictures have {vectors.shape[-1]} channels, those of words "
                f"{self.rows.shape[1]}: they are of different CLIPs; take both from one"
            )
        rows = self.rows.to(vectors.device, vectors.dtype)
        return self.per_class(F.normalize(vectors, dim=-1) @ rows.T).argmax(-1)


def _listed(texts: str | Sequence[str]) -> list[str]:
    if isinstance(texts, str):
        return texts.split(BETWEEN_CLASSES) if texts.strip() else []
    return list(texts)


def _frozen(prompts: str | Sequence[str] | None) -> _Prompts | None:
    return prompts if prompts is None or isinstance(prompts, str) else tuple(prompts)
