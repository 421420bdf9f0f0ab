"""The words that POP-3D asks for every class, spelled as its authors did.

Every word stands in the prompt set ``imagenet_scenes``. Of the 102 words, 28 belong to raw classes
that are not evaluated; 74 remain.
"""

from __future__ import annotations

from typing import Final

from eagleray_vision.driving.lidarseg import CLASS_OF_RAW

PROMPT_SET: Final = "imagenet_scenes"
"""CLIP's 80 templates and five more."""

WORDS_OF_RAW: Final[tuple[tuple[str, ...], ...]] = (
    (
        "Any lidar return that does not correspond to a physical object, such as dust, vapor, "
        "noise, fog, raindrops, smoke and reflections.",
    ),
    ("animal", "cat", "dog", "rat", "deer", "bird"),
    ("Adult.",),
    ("Child.",),
    ("Construction worker",),
    ("skateboard", "segway"),
    ("Police officer.",),
    ("Stroller",),
    ("Wheelchair",),
    (
        "Temporary road barrier to redirect traffic.",
        "concrete barrier",
        "metal barrier",
        "water barrier",
    ),
    ("Movable object that is left on the driveable surface.", "tree branch", "full trash bag"),
    (
        "Object that a pedestrian may push or pull.",
        "dolley",
        "wheel barrow",
        "garbage-bin",
        "shopping cart",
    ),
    ("traffic cone.",),
    ("Area or device intended to park or secure the bicycles in a row.",),
    ("Bicycle",),
    ("Bendy bus",),
    ("Rigid bus",),
    (
        "Vehicle designed primarily for personal use.",
        "car",
        "vehicle",
        "sedan",
        "hatch-back",
        "wagon",
        "van",
        "mini-van",
        "SUV",
        "jeep",
    ),
    ("Vehicle designed for construction.", "crane"),
    ("ambulance", "ambulance vehicle"),
    ("police vehicle", "police car", "police bicycle", "police motorcycle"),
    ("motorcycle", "vespa", "scooter"),
    ("trailer", "truck trailer", "car trailer", "bike trailer"),
    ("Vehicle primarily designed to haul cargo.", "pick-up", "lorry", "truck", "semi-tractor"),
    ("Paved surface that a car can drive.", "Unpaved surface that a car can drive."),
    ("traffic island", "delimiter", "rail track", "small stairs", "lake", "river"),
    ("sidewalk", "pedestrian walkway", "bike path"),
    ("grass", "rolling hill", "soil", "sand", "gravel"),
    (
        "man-made structure",
        "building",
        "wall",
        "guard rail",
        "fence",
        "pole",
        "drainage",
        "hydrant",
        "flag",
        "banner",
        "street sign",
        "electric circuit box",
        "traffic light",
        "parking meter",
        "stairs",
    ),
    (
        "Points in the background that are not distinguishable, or objects that do not match any "
        "of the above labels.",
    ),
    ("bushes", "bush", "plants", "plant", "potted plant", "tree", "trees"),
    (
        "The vehicle on which the cameras, radar and lidar are mounted, that is sometimes visible "
        "at the bottom of the image.",
    ),
)
"""Words of the 32 raw classes."""

WORDS: Final = tuple(word for words in WORDS_OF_RAW for word in words)
"""All 102, in the order of the raw classes."""
RAW_CLASS_OF_WORD: Final = tuple(raw for raw, words in enumerate(WORDS_OF_RAW) for _ in words)
"""Raw class of each word."""
CLASS_OF_WORD: Final = tuple(CLASS_OF_RAW[raw] for raw in RAW_CLASS_OF_WORD)
"""Evaluated class of each word; words of class 0 are not asked."""
