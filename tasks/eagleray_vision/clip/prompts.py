"""Sets of sentences that a class name is put into, by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from open_clip.zero_shot_metadata import OPENAI_IMAGENET_TEMPLATES

from eagleray_vision.clip.tokenizer import PromptError

PLACE = "{}"
"""Where the word goes."""

_VILD = (
    *("a photo of a {}.", "This is a photo of a {}", "There is a {} in the scene"),
    *("There is the {} in the scene", "a photo of a {} in the scene"),
    *("a photo of a small {}.", "a photo of a medium {}.", "a photo of a large {}."),
    *("This is a photo of a small {}.", "This is a photo of a medium {}."),
    *("This is a photo of a large {}.", "There is a small {} in the scene."),
    *("There is a medium {} in the scene.", "There is a large {} in the scene."),
)
"""Gu et al. (ViLD), as SAN and OPS write them; that two lack the full stop is part of them."""
_IMAGENET = tuple(template(PLACE) for template in OPENAI_IMAGENET_TEMPLATES)
"""The 80 sentences of CLIP's ImageNet results."""
_IN_SCENES = (
    *("there is a {} in the scene.", "there is the {} in the scene.", "this is a {} in the scene."),
    *("this is the {} in the scene.", "this is one {} in the scene."),
)
"""What MaskCLIP adds to them."""

PROMPT_SETS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "vild": _VILD,
        "simple": ("a photo of a {}.",),
        "imagenet": _IMAGENET,
        "imagenet_scenes": (*_IMAGENET, *_IN_SCENES),
        "word": (PLACE,),
    }
)
"""``vild`` 14 sentences (OPS), ``simple`` one, ``imagenet`` 80, ``imagenet_scenes`` 85 (MaskCLIP,
POP-3D), ``word`` the bare word."""


def prompt_templates(prompts: str | Sequence[str]) -> tuple[str, ...]:
    """Return the templates that a setting names.

    Args:
        prompts: Name of a set, or templates with one ``{}`` each.

    Raises:
        PromptError: There is no such set, no template, or one without its place for the word.
    """
    if isinstance(prompts, str):
        if prompts not in PROMPT_SETS:
            raise PromptError(
                f"there is no prompt set {prompts!r}; known are {', '.join(PROMPT_SETS)}, or give "
                "a list of sentences with {} where the word goes"
            )
        return PROMPT_SETS[prompts]
    templates = tuple(prompts)
    odd = [one for one in templates if one.count(PLACE) != 1]
    if odd or not templates:
        raise PromptError(
            f"a prompt has one {PLACE} where the word goes; found {odd[:3] or 'no prompt at all'}"
        )
    return templates


def fill(template: str, word: str) -> str:
    """Return a template with its word; braces within the word stay."""
    return template.replace(PLACE, word)
