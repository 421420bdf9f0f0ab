"""The words that pixels are compared with: classes, their synonyms, and words for the rest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from eagleray.task import SettingsError
from eagleray_ops.settings import OpsSettings
from eagleray_vision.datasets.coco_stuff import COCO_STUFF
from eagleray_vision.panoptic.label_space import VOID_CLASS

SYNONYM = "|"
"""Stands between words of one class."""
SEPARATOR = ","
"""Stands between classes on the command line."""


@dataclass(frozen=True)
class Vocabulary:
    """Classes and the words that stand for them.

    Attributes:
        classes: Names of the classes: the first word of each.
        words: All words, those of the first class first, background words last.
        class_of_word: Class of each word; ``len(classes)`` for background words.
    """

    classes: tuple[str, ...]
    words: tuple[str, ...]
    class_of_word: tuple[int, ...]

    @classmethod
    def of(cls, classes: Sequence[str], background: Sequence[str] = ()) -> Self:
        """Read class names with synonyms.

        Args:
            classes: One per class, words of one class joined by ``|``.
            background: Words whose pixels go to the best of the classes.

        Raises:
            SettingsError: There is no class, one without a word, or a word twice.

        Example:
            >>> Vocabulary.of(["car|automobile", "road"]).class_of_word
            (0, 0, 1)
        """
        if not classes:
            raise SettingsError("no class is given; name at least one, such as --classes road")
        split = [[word.strip() for word in one.split(SYNONYM)] for one in classes]
        groups = [*split, [word.strip() for word in background]] if background else split
        words = [word for group in groups for word in group]
        if not all(words):
            raise SettingsError(
                f"a class has no name in {list(classes)!r}; give words between the separators"
            )
        twice = [word for word, count in Counter(words).items() if count > 1]
        if twice:
            raise SettingsError(
                f"{', '.join(map(repr, twice))} is named twice; a word stands for one class"
            )
        owners = [index for index, group in enumerate(groups) for _ in group]
        return cls(tuple(group[0] for group in split), tuple(words), tuple(owners))

    @classmethod
    def parse(cls, text: str) -> tuple[str, ...]:
        """Split what a command line says: ``"road, car|automobile"``.

        Raises:
            SettingsError: A class is empty or named twice.
        """
        classes = tuple(one.strip() for one in text.split(SEPARATOR))
        cls.of(classes)
        return classes

    def class_scores(self, scores: Tensor) -> Tensor:
        """Turn scores of words ``(n, W, h, w)`` into those of classes ``(n, C, h, w)``.

        A class has the score of its best word; background words are left out.
        """
        count = len(self.classes)
        if self.class_of_word == tuple(range(count)):
            return scores
        owners = torch.tensor(self.class_of_word)
        groups = [(owners == index).nonzero()[:, 0].to(scores.device) for index in range(count)]
        return torch.stack([scores[:, group].amax(dim=1) for group in groups], dim=1)


def training_words(settings: OpsSettings) -> tuple[str, ...]:
    """Return the words of the classes that are trained on, by their numbers in training.

    Raises:
        SettingsError: ``data.words`` names a class that COCO-Stuff has not.
    """
    if not settings.data.words:
        return COCO_STUFF.class_names
    unknown = sorted(set(settings.data.words) - set(COCO_STUFF.class_names))
    if unknown:
        raise SettingsError(
            f"data.words names {', '.join(map(repr, unknown))}, which COCO-Stuff's classes are "
            f"not: they are written as in {', '.join(COCO_STUFF.class_names[91:95])}"
        )
    return tuple(settings.data.words[name] for name in _trained_classes(settings))


def training_classes(settings: OpsSettings) -> npt.NDArray[np.uint8]:
    """Return the number in training of each of 256 stored classes, 255 for those left out."""
    table = np.full(VOID_CLASS + 1, VOID_CLASS, dtype=np.uint8)
    for number, name in enumerate(_trained_classes(settings)):
        table[COCO_STUFF.class_names.index(name)] = number
    return table


def _trained_classes(settings: OpsSettings) -> list[str]:
    words = settings.data.words
    return [name for name in COCO_STUFF.class_names if not words or name in words]
