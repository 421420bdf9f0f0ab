"""The feature stage: what a tower gives, in half precision; bad photographs are rejects."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from PIL import Image
from tests.eagleray_vision.clip.small_clip import save_small
from tests.eagleray_vision.small_data import photo, run_stage

from eagleray.task import InputError
from eagleray_vision.clip.features import (
    ClipFeatureSettings,
    ClipFeatureStage,
    dense_features,
    half,
    pooled_feature,
)
from eagleray_vision.clip.reading import read_clip
from eagleray_vision.clip.tower import ClipImageTower, normalized


@pytest.fixture
def folder(tmp_path):
    for name, size in (("a", (40, 64)), ("b", (40, 64)), ("c", (96, 64))):
        (tmp_path / "photos").mkdir(exist_ok=True)
        Image.fromarray(photo(size, seed=ord(name))).save(tmp_path / "photos" / f"{name}.png")
    (tmp_path / "photos" / "broken.png").write_bytes(b"no picture")
    save_small(tmp_path / "clip.safetensors")
    return tmp_path


def stage_of(folder, **changes):
    own = ClipFeatureSettings(weights=str(folder / "clip.safetensors"), **changes)
    stage = pickle.loads(pickle.dumps(ClipFeatureStage(own, [folder / "photos"], "train")))
    stage.setup("cpu", {}, {})
    return stage


def test_rows_are_what_the_tower_gives(folder):
    rows, rejects = run_stage(stage_of(folder))
    assert set(rejects) == {"broken"} and rows.keys() == ["a", "b", "c"]
    row = rows["a"]
    assert (row["height"], row["width"]) == (40, 64)
    assert (row["grid_height"], row["grid_width"], row["channels"]) == (4, 6, 24)
    tower = ClipImageTower(read_clip(folder / "clip.safetensors").visual)
    small = np.asarray(Image.open(folder / "photos" / "a.png").resize((48, 32), 2))
    images = normalized(torch.from_numpy(small.copy()).permute(2, 0, 1)[None])
    with torch.no_grad():
        pooled, dense = tower.pooled(images)[0], tower.dense(images)[0]
    np.testing.assert_allclose(pooled_feature(row), pooled.numpy(), rtol=2e-3, atol=2e-3)
    np.testing.assert_allclose(dense_features(row), dense.numpy(), rtol=2e-3, atol=2e-3)


def test_a_batch_of_several_sizes_equals_single_photographs(folder):
    stage = stage_of(folder, batch_size=3)
    items = [item for item in stage.items({}) if item.key != "broken"]
    loaded = [stage.load(item) for item in items]
    for together, sample in zip(stage.process(loaded), loaded, strict=True):
        alone = stage.process([sample])[0]
        assert together[0].key == alone[0].key
        np.testing.assert_allclose(
            dense_features(together[0].row), dense_features(alone[0].row), rtol=2e-3, atol=2e-3
        )


@pytest.mark.parametrize(("kind", "read"), [("pooled", dense_features), ("dense", pooled_feature)])
def test_what_was_not_prepared_is_said(folder, kind, read):
    rows, _ = run_stage(stage_of(folder, kind=kind))
    with pytest.raises(InputError, match=rf"were not prepared; .*it is '{kind}'"):
        read(rows["a"])


def test_fingerprint_is_of_features_and_weights_not_of_batches(folder):
    one, other = stage_of(folder), stage_of(folder, batch_size=4)
    assert one.settings() == other.settings()
    assert one.settings() != stage_of(folder, shortest_px=64).settings()
    assert [path.name for path in one.weights()] == ["clip.safetensors"]


def test_half_precision_stays_finite():
    assert np.isfinite(half(torch.tensor([1e9, -1e9, 0.5]))).all()
