"""What training stores beside CLIP's ViT-B/16 at its real size (random weights stand in for it)."""

import pytest
import safetensors.torch
from tests.eagleray_ops.small_task import WORDS, small_experiment

from eagleray_ops.model.config import AdapterSettings
from eagleray_ops.model.network import named_architecture
from eagleray_vision.clip.architecture import build_clip
from eagleray_vision.clip.reading import QUICK_GELU

NAME = "ViT-B-16-quickgelu"
MEGABYTE = 1_000_000


@pytest.mark.slow
def test_a_checkpoint_with_moments_is_small(tmp_path):
    tensors = build_clip(named_architecture(NAME)).half().state_dict()
    weights = tmp_path / "vit_b_16.safetensors"
    content = {name: value.contiguous() for name, value in tensors.items()}
    safetensors.torch.save_file(content, weights, {QUICK_GELU: "true"})
    del content, tensors
    experiment = small_experiment(
        tmp_path,
        steps=1,
        data={"words": {name: word for name, word in WORDS.items() if word in ("car", "tree")}},
        clip={"weights": str(weights), "model": NAME, "prompts": "simple"},
        adapter=AdapterSettings().model_dump(),
        input={"crop_px": 64, "short_edges_px": (64,), "short_edge_px": 64},
    )
    experiment.prepare()
    assert experiment.train().finished
    (model,) = (tmp_path / "storage").rglob("checkpoints/main-00000001*/model.safetensors")
    sizes = {path.name: path.stat().st_size for path in model.parent.iterdir()}
    assert 3 * 4 * 9_169_010 < sum(sizes.values()) < 130 * MEGABYTE, sizes
    assert weights.stat().st_size > 290 * MEGABYTE
