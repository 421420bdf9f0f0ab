"""CLIP's text tower inside of the network: which tokenizer it needs, and the rows of words."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from eagleray.task import SettingsError
from eagleray_ops.model.config import ClipSettings
from eagleray_ops.model.network import OpsNetwork, named_architecture
from eagleray_vision.clip.architecture import ClipArchitecture
from eagleray_vision.clip.embedding import embed_words
from eagleray_vision.clip.reading import CLIP, clip_path, read_clip
from eagleray_vision.clip.tokenizer import CLIP_VOCAB_SIZE, BpeTokenizer, Tokenizer


@lru_cache(maxsize=4)
def _form_in(weights: str, quick_gelu: bool | None) -> tuple[ClipArchitecture, Tokenizer]:
    clip = read_clip(weights, quick_gelu=quick_gelu)
    return clip.architecture, clip.tokenizer


def clip_form(settings: ClipSettings) -> ClipArchitecture:
    """Return the architecture that the settings name, or that of their file of weights.

    Raises:
        SettingsError: The name is unknown; without one, there is no such file or it is no CLIP.
    """
    if settings.model:
        return named_architecture(settings.model)
    return _form_in(settings.weights, settings.quick_gelu)[0]


def clip_tokenizer(settings: ClipSettings, form: ClipArchitecture) -> Tokenizer:
    """Return the tokenizer of a text tower: CLIP's own, or that of the file of weights.

    Raises:
        SettingsError: The tower has a vocabulary of its own, and the file that says which one is
            not there.
    """
    if form.vocab_size == CLIP_VOCAB_SIZE:
        return BpeTokenizer(form.context_length)
    return _form_in(settings.weights, settings.quick_gelu)[1]


def read_clip_for(settings: ClipSettings, form: ClipArchitecture, path: Path) -> CLIP:
    """Read CLIP's weights for a network.

    Args:
        settings: How CLIP is used.
        form: Architecture of the network's CLIP.
        path: The file.

    Raises:
        SettingsError: The file has another architecture.
        WeightFileError: It is damaged or no CLIP.
    """
    known = form.quick_gelu if settings.model else settings.quick_gelu
    clip = read_clip(path, quick_gelu=known)
    if clip.architecture != form:
        own, asked = (
            f"{one.layers} blocks of {one.width} channels, patches of {one.patch_size} px, "
            f"{one.image_size} px, {one.embed_dim} common channels"
            for one in (clip.architecture, form)
        )
        raise SettingsError(
            f"{path} is a CLIP with {own}; clip.model {settings.model!r} has {asked}: set "
            "clip.model to its name, or to nothing, so that it is read from the file"
        )
    return clip


class NetworkWords:
    """The text tower inside of a network as a source of vectors for a vocabulary.

    Args:
        network: The network.
        settings: Tokenizer.
    """

    def __init__(self, network: OpsNetwork, settings: ClipSettings) -> None:
        self._network, self._settings = network, settings

    @property
    def embed_dim(self) -> int:
        """Channels of a row."""
        return self._network.form.embed_dim

    def embed(self, words: Sequence[str], prompts: str | Sequence[str]) -> Tensor:
        """Return (len(words), embed_dim) float32 rows of length 1; raises `PromptError`."""
        return word_rows(self._network, self._settings, words, prompts)


def word_rows(
    network: OpsNetwork,
    settings: ClipSettings,
    words: Sequence[str],
    prompts: str | Sequence[str] = "",
) -> Tensor:
    """Return the vectors of words by the network's own text tower, computed once per network.

    The text tower must have its final weights when words are asked for first. It runs in float32
    whatever the precision around is.

    Args:
        network: The network.
        settings: Prompts and tokenizer.
        words: Names of classes.
        prompts: Other prompts than those of the settings.

    Returns:
        ``(len(words), D)`` float32 rows of length 1 on the network's device.

    Raises:
        PromptError: There is no word, or one that cannot be embedded.
    """
    device = network.background.device
    said = prompts or settings.prompts
    key = (said if isinstance(said, str) else tuple(said), tuple(words))
    if key not in network.known_words:
        clip = CLIP(
            model=network.clip,
            tokenizer=clip_tokenizer(settings, network.form),
            architecture=network.form,
            path=Path(settings.weights),
            checksum="",
        )
        was_training = network.clip.training
        network.clip.eval()
        with torch.autocast(device.type, enabled=False):
            rows = embed_words(clip, words, said)
            network.known_words[key] = rows.to(device)
        network.clip.train(was_training)
    return network.known_words[key].to(device)


def clip_file(settings: ClipSettings) -> Path:
    """Return where CLIP's weights are, whether they are there or not."""
    try:
        return clip_path(settings.weights)
    except SettingsError:
        return Path(settings.weights).expanduser()
