"""The CLIP that comes with the package knows the toy world, and says which words it does not."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from eagleray_vision.clip.embedding import embed_words
from eagleray_vision.clip.prompts import PROMPT_SETS
from eagleray_vision.clip.reading import clip_path, read_clip
from eagleray_vision.clip.tokenizer import PromptError
from eagleray_vision.clip.tower import ClipImageTower

RECIPE = Path(__file__).resolve().parents[2] / "experiments" / "toyworld"
MAX_BYTES = 8_000_000


@pytest.fixture(scope="module")
def clip():
    return read_clip("toy")


@pytest.fixture(scope="module")
def recipe():
    """The modules of the recipe, which are no package."""
    sys.path.insert(0, str(RECIPE))
    import toy_clip_frames
    import toy_clip_measure

    yield toy_clip_frames, toy_clip_measure
    sys.path.remove(str(RECIPE))


@pytest.fixture(scope="module")
def frames(recipe):
    """Frames of scenes that neither training nor the recorded tests have seen."""
    make, home, street = recipe[0].make_frame, recipe[0].home_scene, recipe[0].street_scene
    rng = np.random.default_rng(0)
    out = []
    for k in range(36):
        scene = recipe[0].dressed(home(77, k), rng, only_held_out=False)
        out.append(make(scene, recipe[0].home_camera(scene, size_hw=(192, 288), view_idx=k)))
    for k in range(5):
        scene = recipe[0].dressed(street(77, k), rng, only_held_out=False)
        out.append(make(scene, recipe[0].street_camera(scene, size_hw=(208, 416))))
    return out


def test_weights_are_small_and_whole(clip):
    assert clip.path.stat().st_size <= MAX_BYTES
    assert sum(p.numel() for p in clip.model.parameters()) == pytest.approx(3.3e6, rel=0.05)
    form = clip.architecture
    assert (form.width, form.layers, form.patch_size, form.image_size) == (192, 6, 8, 64)
    assert form.quick_gelu


@pytest.mark.parametrize("prompts", PROMPT_SETS)
def test_every_prompt_set_and_the_names_of_the_data_sets_can_be_said(clip, prompts):
    words = [
        *("car", "truck", "bus", "road", "sidewalk", "person", "curb", "crosswalk"),
        *("wall", "floor", "chair", "door", "table", "picture", "furniture", "objects", "window"),
        *("sofa", "bed", "sink", "stairs", "ceiling", "toilet", "mirror", "shower", "bathtub"),
        *("counter", "shelving", "beam", "board", "bookcase", "clutter", "column"),
    ]
    assert embed_words(clip, words, prompts).shape == (len(words), clip.embed_dim)


def test_word_that_it_does_not_know_is_named(clip):
    with pytest.raises(PromptError, match=r"'giraffe'.*knows"):
        embed_words(clip, ["car", "giraffe"], "vild")


def test_it_tells_classes_of_unseen_scenes(clip, recipe, frames):
    crops = recipe[1].crops_of(frames, pairs=False)
    result = recipe[1].class_accuracy(clip, crops, least=4)
    assert result["classes"] >= 12 and result["crops"] >= 100
    assert result["accuracy"] >= 0.65, result
    assert result["accuracy"] >= 8 * result["chance"]


def test_its_patches_tell_classes_of_unseen_scenes(clip, recipe, frames):
    streets = [frame for frame in frames if recipe[1].is_street(frame)]
    assert recipe[1].dense_quality(clip, streets, 1.0)["pixel_accuracy"] >= 0.5


def test_tower_takes_grids_of_any_size(clip):
    tower = ClipImageTower(clip.visual)
    with torch.no_grad():
        assert tower.dense(torch.zeros(1, 3, 40, 96)).shape == (1, 128, 5, 12)


def test_record_says_what_the_card_promises():
    record = json.loads((clip_path("toy").with_suffix(".json")).read_text())
    assert record["zero_shot"]["accuracy"] >= 0.8 and record["zero_shot"]["classes"] >= 12
    colors = record["colors_of_unseen_pairs"]
    assert colors["accuracy"] >= 0.6 and colors["colors"] >= 6
    assert colors["chance"] <= 1 / 6
