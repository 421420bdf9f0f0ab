"""Classes with synonyms, background and prompts of their own; what has no meaning is refused."""

from __future__ import annotations

import pytest
import torch
from tests.eagleray_vision.clip.small_clip import save_small

from eagleray_vision.clip.embedding import embed_words
from eagleray_vision.clip.reading import read_clip
from eagleray_vision.clip.tokenizer import PromptError
from eagleray_vision.clip.vocabulary import ClipWords, Vocabulary, parse_class


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return read_clip(save_small(tmp_path_factory.mktemp("clip") / "clip.safetensors"))


def test_text_and_list_mean_the_same():
    text = Vocabulary.parse(" road, car | red  car ,tree", background="scene")
    assert text == Vocabulary.parse(["road", "car|red car", "tree"], background=["scene"])
    assert text.names == ("road", "car", "tree")
    assert text.classes[1].words == ("car", "red car")
    assert [one.text for one in text.classes] == ["road", "car|red car", "tree"]


def test_max_takes_the_best_word_and_mean_one_row(clip):
    words = ClipWords(clip)
    best = Vocabulary.parse("road, car|red car", prompts="simple").embed(words)
    mean = Vocabulary.parse("road, car|red car", prompts="simple", synonyms="mean").embed(words)
    own = embed_words(clip, ["road", "car", "red car"], "simple")
    assert torch.equal(best.rows, own)
    assert best.owner.tolist() == [0, 1, 1]
    scores = torch.tensor([[1.0, 0.0, 3.0], [2.0, 1.0, 0.0]])
    assert best.per_class(scores).tolist() == [[1.0, 3.0], [2.0, 1.0]]
    assert best.per_class(scores.T, dim=0).tolist() == [[1.0, 2.0], [3.0, 1.0]]
    both = own[1:].mean(0)
    torch.testing.assert_close(mean.rows, torch.stack([own[0], both / both.norm()]))
    assert best.classify(own).tolist() == [0, 1, 1]


def test_background_is_one_column_behind_the_classes(clip):
    rows = Vocabulary.parse("road, car", background="tree, scene", prompts="word").embed(
        ClipWords(clip)
    )
    assert rows.num_columns == 3 and rows.owner.tolist() == [0, 1, 2, 2]
    pictures = embed_words(clip, ["scene", "car", "tree", "road"], "word") * 7.5
    assert rows.classify(pictures).tolist() == [2, 1, 2, 0]
    assert rows.per_class(torch.tensor([0.0, 1.0, 5.0, 2.0])).tolist() == [0.0, 1.0, 5.0]
    scores = torch.tensor([[0.0, 1.0, 5.0, 2.0]]).T
    assert rows.class_scores(scores, dim=0).tolist() == [[0.0], [1.0]]
    with pytest.raises(ValueError, match="expected 4 scores, found 3"):
        rows.per_class(torch.zeros(3))


def test_class_may_have_prompts_of_its_own(clip):
    rows = Vocabulary.parse(
        "road, car|red car", class_prompts={"car": ["the small {}"]}, prompts="simple"
    ).embed(ClipWords(clip))
    torch.testing.assert_close(rows.rows[:1], embed_words(clip, ["road"], "simple"))
    own = embed_words(clip, ["car", "red car"], ["the small {}"])
    torch.testing.assert_close(rows.rows[1:], own)


def test_words_of_the_same_prompts_are_embedded_together(clip):
    calls = []

    class Counting(ClipWords):
        def embed(self, words, prompts):
            calls.append((tuple(words), prompts))
            return super().embed(words, prompts)

    vocabulary = Vocabulary.parse(
        "road, car|red car, tree",
        background="scene",
        class_prompts={"car": ["the small {}"]},
        prompts="simple",
    )
    vocabulary.embed(Counting(clip))
    together = (("road", "tree", "scene"), "simple")
    assert calls == [together, (("car", "red car"), ("the small {}",))]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"classes": ""}, "no class is given"),
        ({"classes": []}, "no class is given"),
        ({"classes": "car,,road"}, "empty word"),
        ({"classes": "car|"}, "empty word"),
        ({"classes": "car, road, Car"}, r"'Car' stands for two classes \(car and Car\)"),
        ({"classes": "car|automobile, road|automobile"}, "'automobile' stands for two classes"),
        ({"classes": "car|car"}, "names a word twice"),
        ({"classes": "car", "background": "Car"}, "background word 'Car' is a word of the class"),
        ({"classes": "car", "background": "sky, sky"}, "is a word of the class the background"),
        ({"classes": "car", "class_prompts": {"bus": "simple"}}, "prompts for 'bus', which is no"),
        ({"classes": "car", "class_prompts": {"car": ["a car"]}}, "has one {} where"),
        ({"classes": "car", "prompts": "vilt"}, "no prompt set 'vilt'"),
    ],
)
def test_what_has_no_meaning_is_refused(arguments, reason):
    with pytest.raises(PromptError, match=reason):
        Vocabulary.parse(**arguments)


def test_pictures_of_another_clip_are_refused(clip):
    rows = Vocabulary.parse("road, car", prompts="simple").embed(ClipWords(clip))
    with pytest.raises(PromptError, match=r"have 512 channels, those of words 24"):
        rows.classify(torch.zeros(2, 512))


def test_words_of_a_class_keep_inner_spaces():
    assert parse_class(" ice  cream van ").words == ("ice cream van",)
