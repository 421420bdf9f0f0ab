"""What a surface is made of: a pattern, its colors and how it treats light."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

Color = tuple[float, float, float]
"""Linear RGB reflectance in [0, 1]."""


class Pattern(Enum):
    """The procedural textures; each is one function in ``texture.py``."""

    PLAIN = "plain"
    GROUND = "ground"
    PAVING = "paving"
    GRASS = "grass"
    FACADE = "facade"
    BRICK = "brick"
    TILES = "tiles"
    FOLIAGE = "foliage"
    BARK = "bark"
    PAINT = "paint"
    GLASS = "glass"
    WHEEL = "wheel"
    SIGN = "sign"
    SIGNAL = "signal"
    CARGO = "cargo"
    CLOTH = "cloth"
    SLATS = "slats"


@dataclass(frozen=True, kw_only=True)
class Material:
    """Appearance of a part.

    Attributes:
        pattern: Which procedural texture.
        color: Main reflectance, linear RGB.
        accent: Second reflectance: joints, window panes, stripes, hubs.
        scale_m: Size of the pattern's repeat, meters; its meaning is the pattern's.
        contrast: Strength of the noise, 0 to 1.
        gloss: Share of mirrored sky at grazing sight, 0 to 1.
        glow: Emitted light added to the reflected, for lamps.
        lidar_reflectance: Diffuse reflectance at the lidar's wavelength, 0 to 1.
    """

    pattern: Pattern = Pattern.PLAIN
    color: Color
    accent: Color = (0.1, 0.1, 0.1)
    scale_m: float = 1.0
    contrast: float = 0.15
    gloss: float = 0.0
    glow: float = 0.0
    lidar_reflectance: float = 0.3
