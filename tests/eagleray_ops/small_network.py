"""A network of OPS beside a small CLIP of random weights, which stands in for a real one."""

import json

import safetensors.torch
import torch

from eagleray_ops.model.config import AdapterSettings, ClipSettings
from eagleray_ops.model.network import OpsNetwork
from eagleray_vision.clip.architecture import ClipArchitecture, build_clip
from eagleray_vision.clip.reading import QUICK_GELU, TOKENIZER_WORDS

WORDS = ("a", "photo", "of", ".", "car", "road", "tree", "sky", "person", "red")
FORM = ClipArchitecture(
    image_size=16,
    patch_size=8,
    width=64,
    layers=4,
    heads=1,
    embed_dim=16,
    text_width=64,
    text_layers=1,
    text_heads=1,
    context_length=10,
    vocab_size=len(WORDS) + 3,
    quick_gelu=True,
)
ADAPTER = {
    "width": 24,
    "layers": 4,
    "heads": 2,
    "mlp_ratio": 2.0,
    "queries": 6,
    "patch_px": 8,
    "grid": (4, 4),
    "fusion_heads": 4,
    "decoder_width": 16,
    "supervised_layers": (3,),
    "dao": {"groups": 3},
}


def small_network(*, faithful=True, clip=None, **adapter):
    """Return a network of random weights; ``adapter`` changes ``ADAPTER``."""
    torch.manual_seed(0)
    clip = ClipSettings(model="", image_scale=1.0, prompts="simple", **(clip or {}))
    settings = AdapterSettings.model_validate({**ADAPTER, **adapter})
    return OpsNetwork(clip, settings, FORM, faithful=faithful)


def random_rows(num_words, seed=0):
    """Return unit rows that stand for words, ``(num_words, embed_dim)``."""
    rows = torch.randn(num_words, FORM.embed_dim, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(rows, dim=-1)


def write_small_clip(path):
    """Write a CLIP of random weights that knows ``WORDS``, and return the path."""
    torch.manual_seed(1)
    tensors = {name: value.contiguous() for name, value in build_clip(FORM).state_dict().items()}
    metadata = {QUICK_GELU: "true", TOKENIZER_WORDS: json.dumps(WORDS)}
    safetensors.torch.save_file(tensors, path, metadata=metadata)
    return path
