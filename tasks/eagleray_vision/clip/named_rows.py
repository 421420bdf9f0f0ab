"""Vectors of words that were computed elsewhere: a table of rows and a list of names.

Such a table knows its own words and no others, and its prompts were chosen when it was made.
"""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from eagleray.task import InputError
from eagleray_vision.clip.tokenizer import PromptError
from eagleray_vision.json_file import read_json

_NUM_NEAREST = 3


class NamedRowsError(InputError):
    """A table of word vectors is missing, damaged, or of another CLIP."""


class NamedRows:
    """Word vectors by name; a source of vectors like a text tower.

    Args:
        names: The words, in the order of the rows.
        rows: (n, D) vectors of any length but 0.
        origin: What the table is, for messages.

    Raises:
        NamedRowsError: Names and rows do not belong together, a name occurs twice, a vector is 0 or
            not finite.
    """

    def __init__(self, names: Sequence[str], rows: Tensor, origin: str = "the table") -> None:
        if rows.dim() != 2 or len(rows) != len(names) or not len(names):
            raise NamedRowsError(
                f"{origin} has rows of shape {tuple(rows.shape)} and {len(names)} names; expected "
                "is one row per name"
            )
        lengths = rows.float().norm(dim=1)
        bad = [
            n for n, one in zip(names, lengths.tolist(), strict=True) if not 0 < one < float("inf")
        ]
        if bad:
            raise NamedRowsError(f"{origin}: the row of {bad[0]!r} is 0 or not finite")
        self._place = {_plain(name): k for k, name in enumerate(names)}
        if len(self._place) != len(names):
            raise NamedRowsError(f"{origin} has a name twice; one row per name is read")
        self.names, self.rows, self._origin = tuple(names), F.normalize(rows.float(), dim=1), origin

    @property
    def embed_dim(self) -> int:
        """Channels of a row."""
        return self.rows.shape[1]

    @property
    def checksum(self) -> str:
        """``sha256:...`` of names and rows."""
        digest = hashlib.sha256("\n".join(self.names).encode())
        digest.update(self.rows.numpy().tobytes())
        return f"sha256:{digest.hexdigest()}"

    def embed(self, words: Sequence[str], prompts: str | Sequence[str] = ()) -> Tensor:
        """Return the rows of some words.

        Args:
            words: Words of the table; case and spaces at the ends do not matter.
            prompts: Not used: they were chosen when the table was made.

        Returns:
            (len(words), embed_dim) float32 rows of length 1.

        Raises:
            PromptError: No word is given, or the table does not have one; the nearest are named.
        """
        if not words:
            raise PromptError("no word is given; give at least one class")
        return self.rows[[self._row(word) for word in words]]

    def _row(self, word: str) -> int:
        if _plain(word) not in self._place:
            near = difflib.get_close_matches(_plain(word), self._place, n=_NUM_NEAREST)
            within = [name for name in self._place if _plain(word) in name]
            nearest = ", ".join(dict.fromkeys([*near, *within[:_NUM_NEAREST]])) or "none is near"
            raise PromptError(
                f"{self._origin} has no vector of {word!r} (the nearest of its {len(self.names)} "
                f"words: {nearest}); it was made without a text tower, so other words need a CLIP"
            )
        return self._place[_plain(word)]

    def require_width(self, embed_dim: int, of: str) -> None:
        """Refuse to be compared with vectors of another width.

        Args:
            embed_dim: Channels of the other vectors.
            of: Whose they are, for the message.

        Raises:
            NamedRowsError: The widths differ.
        """
        if embed_dim != self.embed_dim:
            raise NamedRowsError(
                f"{self._origin} has vectors of {self.embed_dim} channels, {of} of {embed_dim}: "
                "they are of different CLIPs; take words and pictures from one"
            )


def read_named_rows(rows: Path, names: Path | None = None) -> NamedRows:
    """Read a table of word vectors.

    Args:
        rows: ``.npy`` with (n, D) floating-point numbers.
        names: JSON list of n words; None: ``<beginning of the rows' name>_names.json`` beside it.

    Raises:
        NamedRowsError: A file is missing or damaged, or they do not belong together.
    """
    beside = names or _names_beside(rows)
    listed = read_json(beside, NamedRowsError)
    if not isinstance(listed, list) or not all(isinstance(one, str) for one in listed):
        raise NamedRowsError(f"{beside} is no list of words")
    try:
        values = np.load(rows, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise NamedRowsError(f"{rows} cannot be read as an .npy of vectors ({error})") from error
    if not isinstance(values, np.ndarray) or not np.issubdtype(values.dtype, np.floating):
        raise NamedRowsError(f"{rows} holds no floating-point numbers")
    return NamedRows(listed, torch.from_numpy(values.astype(np.float32)), origin=rows.name)


def _names_beside(rows: Path) -> Path:
    """Return the list of names that begins like a file of rows does."""
    fitting = [
        path
        for path in sorted(rows.parent.glob("*_names.json"))
        if rows.name.startswith(path.name.removesuffix("_names.json"))
    ]
    if len(fitting) != 1:
        raise NamedRowsError(
            f"beside {rows} lie {len(fitting)} lists of names that begin like it "
            f"({', '.join(path.name for path in fitting) or 'expected: NAME_names.json'}); name one"
        )
    return fitting[0]


def _plain(word: str) -> str:
    return " ".join(word.split()).lower()
