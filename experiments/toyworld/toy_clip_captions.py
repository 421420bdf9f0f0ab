"""Captions of regions: which sentences are true of what, and the words that all of them need."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from toy_clip_frames import COLORS, HELD_OUT, NO_COLOR

from eagleray_toyworld.scene.words import SURFACE_WORDS
from eagleray_vision.clip.prompts import PROMPT_SETS, fill
from eagleray_vision.clip.tokenizer import split_words

SYNONYMS: dict[str, tuple[str, ...]] = {
    "bathtub": ("bathtub", "bath"),
    "beam": ("beam",),
    "bed": ("bed",),
    "bicycle": ("bicycle", "bike"),
    "board": ("board", "blackboard"),
    "box": ("box", "crate"),
    "building": ("building", "house", "building-other", "man-made structure"),
    "bus": ("bus",),
    "bush": ("bush", "hedge"),
    "car": ("car", "automobile"),
    "ceiling": ("ceiling", "ceiling-other"),
    "chair": ("chair",),
    "column": ("column", "pillar"),
    "counter": ("counter", "kitchen counter"),
    "crosswalk": ("crosswalk", "zebra crossing", "pedestrian crossing"),
    "curb": ("curb",),
    "door": ("door", "door-stuff"),
    "fence": ("fence",),
    "floor": ("floor", "floor-other"),
    "grass": ("grass", "terrain"),
    "lamp": ("lamp",),
    "mirror": ("mirror", "mirror-stuff"),
    "person": ("pedestrian",),
    "picture": ("picture", "painting"),
    "pole": ("pole", "post"),
    "potted plant": ("potted plant",),
    "rider": ("rider", "cyclist"),
    "road": ("road", "street"),
    "shelving": ("shelving", "shelf", "bookcase"),
    "shower": ("shower",),
    "sidewalk": ("sidewalk", "pavement"),
    "sink": ("sink",),
    "sky": ("sky", "sky-other"),
    "sofa": ("sofa", "couch"),
    "stairs": ("stairs",),
    "table": ("table", "dining table", "desk-stuff"),
    "toilet": ("toilet",),
    "traffic light": ("traffic light",),
    "traffic sign": ("traffic sign", "street sign"),
    "trash bin": ("trash bin", "garbage bin"),
    "tree": ("tree",),
    "truck": ("truck", "lorry"),
    "wall": ("wall", "wall-other"),
    "window": ("window", "window-other"),
}
"""What each surface is called; the first is the name in tables."""
BROADER: dict[str, tuple[str, ...]] = {
    "person": ("person", "rider"),
    "vegetation": ("tree", "bush", "potted plant"),
    "plant": ("tree", "bush", "potted plant"),
    "vehicle": ("car", "truck", "bus"),
    "furniture": ("chair", "table", "sofa", "bed", "shelving", "counter"),
    "furniture-other": ("chair", "table", "sofa", "bed", "shelving", "counter"),
    "objects": ("lamp", "box", "trash bin", "potted plant"),
    "clutter": ("lamp", "box", "trash bin", "potted plant"),
}
"""Words that are true of several surfaces."""
_BROADER_SHARE = 0.2
_VILD_SHARE = 0.4
"""Share of captions in OPS' sentences, and in none but the word; others are drawn from all sets."""
_BARE_SHARE = 0.1


@dataclass(frozen=True, kw_only=True)
class Caption:
    """A sentence and what it says.

    Attributes:
        text: The sentence.
        words: Places in `SURFACE_WORDS` of which it is true.
        color: Place in `COLORS`, or `NO_COLOR`.
    """

    text: str
    words: tuple[int, ...]
    color: int


def name_of(word: int) -> str:
    """Return the name of a surface in tables."""
    return "person" if SURFACE_WORDS[word] == "person" else SYNONYMS[SURFACE_WORDS[word]][0]


def caption(word: int, color: int, rng: np.random.Generator) -> Caption:
    """Draw a sentence about a surface, with its color where one is given."""
    surface = SURFACE_WORDS[word]
    names = SYNONYMS[surface]
    meaning: tuple[str, ...] = (surface,)
    said = names[int(rng.integers(len(names)))]
    broader = [name for name, ones in BROADER.items() if surface in ones]
    share = 0.5 if surface in ("person", "rider") else _BROADER_SHARE
    if broader and color == NO_COLOR and rng.random() < share:
        said = broader[int(rng.integers(len(broader)))]
        meaning = BROADER[said]
    elif surface == "person" and color != NO_COLOR:
        said = "person"
    if color != NO_COLOR:
        said = f"{COLORS[color]} {said}"
    words = tuple(SURFACE_WORDS.index(one) for one in meaning)
    return Caption(text=fill(_template(rng), said), words=words, color=color)


def _template(rng: np.random.Generator) -> str:
    kind = rng.random()
    name = "imagenet_scenes" if kind > _VILD_SHARE + _BARE_SHARE else "vild"
    name = "word" if kind < _BARE_SHARE else name
    ones = PROMPT_SETS[name]
    return ones[int(rng.integers(len(ones)))]


def truth(
    captions: Sequence[Caption], word: NDArray[np.integer], color: NDArray[np.integer]
) -> NDArray[np.int8]:
    """Return (regions, captions): 1 true, 0 false, -1 where a region's color is not known."""
    of_word = np.zeros((len(captions), len(SURFACE_WORDS)), bool)
    for row, one in enumerate(captions):
        of_word[row, list(one.words)] = True
    says = np.array([one.color for one in captions])
    fits = of_word[:, word].T
    same = (says[None] == NO_COLOR) | (says[None] == color[:, None])
    unknown = fits & (says[None] != NO_COLOR) & (color[:, None] == NO_COLOR)
    return np.where(unknown, -1, (fits & same).astype(np.int8)).astype(np.int8)


def vocabulary() -> list[str]:
    """Return all words of all captions that can be drawn, sorted."""
    texts = {one for ones in PROMPT_SETS.values() for one in ones}
    texts |= {one for ones in SYNONYMS.values() for one in ones} | set(BROADER) | set(COLORS)
    return sorted({word for text in texts for word in split_words(text.replace("{}", " "))})


def may_be_said(word: int, color: int) -> bool:
    """Return whether training may say this pair."""
    return color == NO_COLOR or (SURFACE_WORDS[word], COLORS[color]) not in HELD_OUT
