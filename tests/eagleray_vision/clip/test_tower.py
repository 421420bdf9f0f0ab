"""The tower's maps, its value path, its position table on other grids, and what it refuses."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from open_clip.transformer import VisionTransformer
from tests.eagleray_vision.clip.small_clip import small_model

from eagleray.task import InputError
from eagleray_vision.clip.tower import ClipImageTower, normalized

IMAGES = torch.randn(2, 3, 40, 24, generator=torch.Generator().manual_seed(3))
REAL = Path(os.environ.get("EAGLERAY_DATA", "")) / "clip_text_embeddings"


@pytest.fixture(scope="module")
def tower():
    return ClipImageTower(small_model().visual)


def test_depths_are_those_asked_for_and_chain(tower):
    with torch.no_grad():
        zero, one, two = tower.features(IMAGES, [0, 1, 2])
        assert zero[0].shape == (2, 64, 5, 3) and zero[1].shape == (2, 64)
        tokens = torch.cat([zero[1][:, None], zero[0].flatten(2).transpose(1, 2)], 1)
        for block, (map_, cls) in zip(tower.blocks, (one, two), strict=True):
            tokens = block(tokens)
            torch.testing.assert_close(map_.flatten(2).transpose(1, 2), tokens[:, 1:])
            torch.testing.assert_close(cls, tokens[:, 0])
        torch.testing.assert_close(tower.ln_post(two[1]) @ tower.proj, tower.pooled(IMAGES))


def test_later_blocks_are_not_run(tower, monkeypatch):
    monkeypatch.setattr(tower.blocks[1], "forward", lambda *_: pytest.fail("ran"))
    with torch.no_grad():
        tower.features(IMAGES, [1])


def test_dense_is_attention_to_oneself(tower):
    """A patch that sees nothing but itself has its own value as attention's output."""
    with torch.no_grad():
        dense = tower.dense(IMAGES)
        before, cls = tower.features(IMAGES, [1])[0]
        tokens = torch.cat([cls[:, None], before.flatten(2).transpose(1, 2)], 1)
        block = tower.blocks[1]
        alone = torch.full((16, 16), float("-inf")).fill_diagonal_(0.0)
        value = block.attention(block.ln_1(tokens), attn_mask=alone)
        expected = tower.ln_post(value)[:, 1:] @ tower.proj
    assert dense.shape == (2, 24, 5, 3)
    torch.testing.assert_close(dense.flatten(2).transpose(1, 2), expected)


@pytest.mark.parametrize("after", [[1, 0], [0, 0], [3], [-1]])
def test_depths_that_are_none_are_refused(tower, after):
    with pytest.raises(ValueError, match=r"must ascend within 0\.\.2"):
        tower.features(IMAGES, after)


def test_image_without_a_patch_is_refused(tower):
    with pytest.raises(InputError, match="7 x 40 pixels hold no patch of 8 x 8"):
        tower.pooled(torch.zeros(1, 3, 7, 40))


def test_normalization_is_clips():
    pixel = normalized(torch.tensor([255, 128, 0], dtype=torch.uint8).reshape(1, 3, 1, 1))
    expected = [(1 - 0.48145466) / 0.26862954, (128 / 255 - 0.4578275) / 0.26130258]
    expected.append(-0.40821073 / 0.27577711)
    torch.testing.assert_close(pixel.flatten(), torch.tensor(expected))


def test_freezing_leaves_positions_alone(tower):
    tower.freeze(except_positions=True)
    left = [name for name, one in tower.named_parameters() if one.requires_grad]
    assert left == ["visual.positional_embedding"]
    tower.freeze(except_positions=False)
    assert not any(one.requires_grad for one in tower.parameters())


@pytest.mark.skipif(
    "EAGLERAY_DATA" not in os.environ or not REAL.is_dir(), reason="needs EAGLERAY_DATA"
)
def test_real_position_table_on_another_grid():
    """OpenCV's bicubic filter has the same kernel and pixel centers away from the borders."""
    table = np.load(REAL / "vit-b-16-pos_emb_197x768.npy")
    visual = VisionTransformer(224, 16, 768, 1, 12, 1.0)
    with torch.no_grad():
        visual.positional_embedding.copy_(torch.from_numpy(table))
        tower = ClipImageTower(visual)
        assert torch.equal(tower.positions((14, 14)), visual.positional_embedding)
        resized = tower.positions((20, 40)).numpy()
    assert resized.shape == (801, 768) and np.array_equal(resized[0], table[0])
    patches = table[1:].reshape(14, 14, 768)
    for channel in (0, 100, 767):
        expected = cv2.resize(patches[..., channel], (40, 20), interpolation=cv2.INTER_CUBIC)
        found = resized[1:, channel].reshape(20, 40)
        np.testing.assert_allclose(found[3:-3, 6:-6], expected[3:-3, 6:-6], atol=2e-4)
    again = F.cosine_similarity(torch.from_numpy(resized[1:2]), torch.from_numpy(table[1:2]))
    assert again.item() > 0.95
