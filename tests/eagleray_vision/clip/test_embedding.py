"""Words become rows of length 1, once; what cannot be embedded is named."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from tests.eagleray_vision.clip.small_clip import SMALL, save_small, small_model

from eagleray_vision.clip import embedding
from eagleray_vision.clip.embedding import EmbeddingCache, embed_words, encode_text
from eagleray_vision.clip.prompts import PROMPT_SETS, prompt_templates
from eagleray_vision.clip.reading import read_clip
from eagleray_vision.clip.tokenizer import BpeTokenizer, PromptError, WordTokenizer


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return read_clip(save_small(tmp_path_factory.mktemp("clip") / "clip.safetensors"))


def test_rows_are_means_of_unit_prompts(clip):
    templates = ["a photo of a {}.", "the {}"]
    rows = embed_words(clip, ["car", "red car"], templates)
    with torch.no_grad():
        ids = clip.tokenizer(["a photo of a red car.", "the red car"])
        each = clip.model.encode_text(ids)
    mean = (each / each.norm(dim=1, keepdim=True)).mean(0)
    torch.testing.assert_close(rows[1], mean / mean.norm())
    torch.testing.assert_close(rows.norm(dim=1), torch.ones(2))


def test_text_without_padding_equals_open_clips(clip):
    ids = clip.tokenizer(["car", "a photo of the small red car.", "tree"])
    with torch.no_grad():
        expected = clip.model.encode_text(ids)
        torch.testing.assert_close(encode_text(clip.model, ids), expected)


def test_exclamation_mark_has_the_id_of_padding_and_still_counts():
    """The first token of CLIP's byte pairs is "!", so ids that are 0 are no sign of an end."""
    form = dataclasses.replace(SMALL, vocab_size=49408, context_length=16)
    model = small_model(form)
    ids = BpeTokenizer(16)(["car !-!", "car"])
    assert (ids[0, : int(ids[0].argmax())] == 0).any()
    with torch.no_grad():
        torch.testing.assert_close(encode_text(model, ids), model.encode_text(ids))


def test_prompt_sets_are_those_of_the_papers():
    assert {name: len(ones) for name, ones in PROMPT_SETS.items()} == {
        "vild": 14, "simple": 1, "imagenet": 80, "imagenet_scenes": 85, "word": 1,
    }  # fmt: skip
    assert sum(not one.endswith(".") for one in PROMPT_SETS["vild"]) == 4
    for name, ones in PROMPT_SETS.items():
        assert prompt_templates(ones) == ones == prompt_templates(name)
        assert len(set(ones)) == len(ones)


@pytest.mark.parametrize(
    ("words", "prompts", "reason"),
    [
        ([], "simple", "no word is given"),
        (["car", " "], "simple", "class name is empty"),
        (["zebra"], "simple", r"'zebra'.*16 words.*none is near"),
        (["cat"], "simple", r"'cat'.*nearest that it knows: car"),
        (["car"], "poems", "no prompt set 'poems'; known are vild"),
        (["car"], ["a photo"], "has one {} where"),
        (["car"], [], "no prompt at all"),
        (["car " * 12], "simple", r"has 19 tokens.*this CLIP reads 12"),
    ],
)
def test_what_cannot_be_embedded_is_named(clip, words, prompts, reason):
    with pytest.raises(PromptError, match=reason):
        embed_words(clip, words, prompts)


def test_prompt_over_77_tokens_is_refused_not_cut():
    tokenizer = BpeTokenizer()
    assert tokenizer(["car " * 75]).shape == (1, 77)
    with pytest.raises(PromptError, match="has 78 tokens"):
        tokenizer(["car " * 76])


def test_words_know_signs_and_case():
    tokenizer = WordTokenizer(["a", "car", ".", "-"], context_length=8)
    assert tokenizer(["A car-car."]).tolist() == [[5, 1, 2, 4, 2, 3, 6, 0]]
    with pytest.raises(PromptError, match="different, lower case"):
        WordTokenizer(["Car"], context_length=8)


def test_cache_computes_once_and_survives_damage(clip, tmp_path, monkeypatch):
    calls = []

    def counted(*arguments):
        calls.append(arguments[1])
        return embed_words(*arguments)

    monkeypatch.setattr(embedding, "embed_words", counted)
    cache = EmbeddingCache(tmp_path / "words")
    first = cache.embed(clip, ["car", "tree"], "simple")
    again = EmbeddingCache(tmp_path / "words").embed(clip, ["car", "tree"], "simple")
    assert torch.equal(first, again) and len(calls) == 1
    cache.embed(clip, ["car", "road"], "simple")
    cache.embed(clip, ["car", "tree"], "word")
    assert len(calls) == 3
    for path in (tmp_path / "words").iterdir():
        path.write_bytes(path.read_bytes()[:50])
    assert torch.equal(
        EmbeddingCache(tmp_path / "words").embed(clip, ["car", "tree"], "simple"), first
    )
    assert len(calls) == 4
