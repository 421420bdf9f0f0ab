"""A CLIP out of a file: OpenAI's TorchScript archives, open_clip's files, safetensors.

Architecture, heads and context length follow from the tensors. What no tensor tells is the
activation: OpenAI's were trained with ``x * sigmoid(1.702 x)``, most others with the exact GELU,
and the wrong one gives plausible, bad numbers. It is taken from what the file says, else asked for.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import open_clip.model
import torch
from safetensors import safe_open
from torch import Tensor

from eagleray.task import SettingsError
from eagleray_vision.clip.architecture import (
    ClipArchitecture,
    build_clip,
    clip_from_tensors,
    read_architecture,
)
from eagleray_vision.clip.tokenizer import (
    CLIP_VOCAB_SIZE,
    BpeTokenizer,
    Tokenizer,
    WordTokenizer,
)
from eagleray_vision.weights.tensors import WeightFileError, read_tensors, require_plain
from eagleray_vision.weights.torchscript import is_torchscript, read_torchscript

QUICK_GELU = "quick_gelu"
"""Entry of a safetensors file's metadata: ``true`` or ``false``."""
TOKENIZER_WORDS = "tokenizer_words"
"""Entry of a safetensors file's metadata: the words of a `WordTokenizer` as a JSON list."""
TOY = "toy"
"""Name of the CLIP of the toy world, which comes with the package."""
_CONFIG_NAME = "open_clip_config.json"
"""What open_clip's published folders have beside their weights."""
_OPENAI_NUMBERS = ("input_resolution", "context_length", "vocab_size")
"""Numbers that OpenAI's archives store beside the weights."""
_IGNORED_ENDING = "attn_mask"
"""The causal mask, which archives store; it follows from the context length."""
_PREFIXES = ("module.", "text.")
"""Beginnings of names: of distributed training; of open_clip's models that nest the text tower."""
_NUM_NAMED = 5
_ACTIVATIONS = ("GELU", "QuickGELU")


@dataclass(frozen=True, kw_only=True)
class CLIP:
    """A CLIP that was read from a file.

    Attributes:
        model: open_clip's network, float32, in evaluation mode, on the CPU.
        tokenizer: Turns prompts into what its text tower reads.
        architecture: Its form.
        path: The file.
        checksum: ``sha256:...`` of the file.
    """

    model: open_clip.model.CLIP
    tokenizer: Tokenizer
    architecture: ClipArchitecture
    path: Path
    checksum: str

    @property
    def visual(self) -> Any:
        """The image tower (open_clip's ``VisionTransformer``)."""
        return self.model.visual

    @property
    def embed_dim(self) -> int:
        """Channels of the common space of images and words."""
        return self.architecture.embed_dim


def clip_path(name: str | Path) -> Path:
    """Return the file that a setting names: ``toy`` comes with the package, else it is a path.

    Raises:
        SettingsError: There is no such file.
    """
    if str(name) == TOY:
        return Path(str(resources.files(__package__))) / "toy" / "toy_clip.safetensors"
    path = Path(name).expanduser()
    if not path.is_file():
        raise SettingsError(
            f"there is no CLIP {str(name)!r}: give {TOY!r} (the CLIP of the toy world, which comes "
            "with this package) or the path of a file: OpenAI's ViT-B-16.pt, open_clip's .pt, "
            "or safetensors"
        )
    return path


def read_clip(name: str | Path, *, quick_gelu: bool | None = None) -> CLIP:
    """Read a CLIP with a vision transformer.

    Args:
        name: ``toy``, or a file: OpenAI's TorchScript archive, open_clip's ``.pt`` or
            ``.safetensors``; also with ``state_dict`` and ``module.`` around the tensors.
        quick_gelu: The activation of a file that does not say it; None: as the file says (OpenAI's
            archives, metadata of safetensors, open_clip's configuration beside the file).

    Returns:
        The CLIP in float32, every tensor of the file accounted for.

    Raises:
        SettingsError: There is no such file, or it says another activation than is asked for.
        WeightFileError: The file is damaged or hostile, no CLIP with a vision transformer, has
            tensors missing, too many or of other shapes, or nobody says which activation it has.
    """
    path = clip_path(name)
    tensors, said, words = _read(path)
    if quick_gelu is not None and said is not None and quick_gelu != said:
        own, asked = (_ACTIVATIONS[one] for one in (said, quick_gelu))
        raise SettingsError(
            f"{path} says that it was trained with {own}, asked for is {asked}, with which its "
            "features mean nothing: leave quick_gelu out, and name an architecture that "
            f"{'ends' if said else 'does not end'} in -quickgelu where one is named"
        )
    activation = quick_gelu if quick_gelu is not None else said
    if activation is None:
        raise WeightFileError(
            f"{path} does not say with which activation it was trained, and no tensor tells: give "
            f"quick_gelu true (OpenAI's weights and those named -quickgelu) or false (all others). "
            f"OpenAI's own archives, safetensors with the metadata {QUICK_GELU!r} and a "
            f"{_CONFIG_NAME} beside the file say it"
        )
    form = read_architecture(tensors, quick_gelu=activation, source=str(path))
    _check_tensors(path, form, tensors)
    return CLIP(
        model=clip_from_tensors(form, tensors),
        tokenizer=_tokenizer(path, form, words),
        architecture=form,
        path=path,
        checksum=_checksum(path),
    )


def _read(path: Path) -> tuple[dict[str, Tensor], bool | None, str | None]:
    """Return a file's tensors by open_clip's names, its activation and its words, if it says so."""
    metadata: Mapping[str, str] = {}
    if is_torchscript(path):
        content: Mapping[str, Any] = read_torchscript(path)
        said: bool | None = True
    else:
        content = read_tensors(path)
        content = content.get("state_dict", content)
        metadata = _metadata(path)
        said = _said_activation(path, content, metadata)
    tensors = {
        _plain_name(name): value
        for name, value in content.items()
        if name not in _OPENAI_NUMBERS and not name.endswith(_IGNORED_ENDING)
    }
    tensors = {name: value for name, value in tensors.items() if isinstance(value, Tensor)}
    return tensors, said, metadata.get(TOKENIZER_WORDS)


def _plain_name(name: str) -> str:
    for prefix in _PREFIXES:
        name = name.removeprefix(prefix)
    return name


def _metadata(path: Path) -> Mapping[str, str]:
    if path.suffix.lower() != ".safetensors":
        return {}
    with safe_open(path, framework="pt") as file:
        return dict(file.metadata() or {})


def _said_activation(
    path: Path, content: Mapping[str, Any], metadata: Mapping[str, str]
) -> bool | None:
    if QUICK_GELU in metadata:
        return metadata[QUICK_GELU].lower() == "true"
    if any(name in content for name in _OPENAI_NUMBERS):
        return True
    beside = path.with_name(_CONFIG_NAME)
    if beside.is_file():
        try:
            config = json.loads(beside.read_text())
            return bool(config["model_cfg"].get(QUICK_GELU, False))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise WeightFileError(f"{beside} is no configuration of open_clip ({error})") from error
    return None


def _check_tensors(path: Path, form: ClipArchitecture, tensors: Mapping[str, Tensor]) -> None:
    """Refuse what does not fit the form, by name."""
    with torch.device("meta"):
        own = build_clip(form).state_dict()
    missing, extra = sorted(set(own) - set(tensors)), sorted(set(tensors) - set(own))
    wrong = [
        f"{name}: file {tuple(tensors[name].shape)}, expected {tuple(own[name].shape)}"
        for name in own
        if name in tensors and tensors[name].shape != own[name].shape
    ]
    if missing or extra or wrong:
        parts = [
            f"{len(names)} {what} ({', '.join(names[:_NUM_NAMED])})"
            for names, what in ((missing, "missing"), (extra, "unknown"), (wrong, "misshapen"))
            if names
        ]
        raise WeightFileError(
            f"{path} is no whole CLIP of {form.layers} layers and width {form.width}: of its "
            f"tensors, {'; '.join(parts)}. Nothing is left at random values: take the file as it "
            "was published"
        )
    require_plain(path, tensors)


def _tokenizer(path: Path, form: ClipArchitecture, words: str | None) -> Tokenizer:
    if words is not None:
        try:
            tokenizer = WordTokenizer(json.loads(words), form.context_length)
        except (ValueError, TypeError) as error:
            raise WeightFileError(f"{path}: {TOKENIZER_WORDS} is no list of words") from error
        if tokenizer.vocab_size == form.vocab_size:
            return tokenizer
        raise WeightFileError(
            f"{path} embeds {form.vocab_size} tokens, its {len(tokenizer.words)} words need "
            f"{tokenizer.vocab_size}"
        )
    if form.vocab_size != CLIP_VOCAB_SIZE:
        raise WeightFileError(
            f"{path} embeds {form.vocab_size} tokens, CLIP's vocabulary has {CLIP_VOCAB_SIZE}; a "
            f"shorter one is read from safetensors with the metadata {TOKENIZER_WORDS!r}"
        )
    return BpeTokenizer(form.context_length)


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
