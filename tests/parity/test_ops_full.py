"""The whole network at its real size, from an imported checkpoint to scores, against the
original's numbers.

The weights follow a rule by name, so that no file of 640 MB is needed.
"""

import json
import zlib
from math import prod

import numpy as np
import pytest
import torch
from tests.parity.cases import cases, key_list
from tests.parity.every_key import every_key_is_read  # noqa: F401
from tests.parity.golden import Case

from eagleray_ops.checkpoint_import import import_original
from eagleray_ops.model.network import OpsNetwork
from eagleray_ops.model.words import clip_form, word_rows
from eagleray_ops.settings import RGB_MEAN, RGB_STD, OpsSettings

TOLERANCE = 1e-3
"""Largest difference, relative to the largest value; float32 alone makes 1e-5."""
SUPERVISED = 7


class Golden(Case):
    module = __name__


def weights_by_rule(salt: str) -> dict[str, torch.Tensor]:
    shapes = json.loads(key_list("ops", "state_dict_shapes.json").read_text())
    return {name: torch.from_numpy(value(salt + name, name, shapes[name])) for name in shapes}


def value(seed: str, name: str, shape: list[int]) -> np.ndarray:
    draw = np.random.RandomState(zlib.crc32(seed.encode())).standard_normal(shape)
    draw = np.asarray(draw, dtype=np.float32)
    if name.endswith("logit_scale"):
        return np.full(shape, np.log(100), dtype=np.float32)
    if len(shape) <= 1:
        return 1 + np.float32(0.1) * draw if name.endswith("weight") else np.float32(0.05) * draw
    if "embed" in name.rpartition(".")[2] or "cls_token" in name or "token_embedding" in name:
        return np.float32(0.3) * draw
    return draw / np.float32(np.sqrt(prod(shape[1:])))


def near(found, expected):
    assert found.shape == expected.shape
    worst = float((found - expected).abs().max() / expected.abs().max())
    assert worst <= TOLERANCE, worst
    return worst


@pytest.mark.slow
@pytest.mark.parametrize("path", cases("ops", "full_model"), ids=lambda path: path.stem)
def test_whole_network(path, tmp_path, capsys):
    case = Golden(path)
    torch.save({"state_dict": weights_by_rule(case.text("salt"))}, tmp_path / "ops.pth")
    imported = import_original(tmp_path / "ops.pth")
    assert not imported.checkpoint.missing
    settings = OpsSettings.model_validate(imported.experiment["settings"])
    network = OpsNetwork(settings.clip, settings.adapter, clip_form(settings.clip), faithful=True)
    network.load_state_dict(imported.checkpoint.state_dict)
    network.eval()

    low = case["image_lowres_rgb"].movedim(-1, 0).float() / 255
    image = (low - torch.tensor(RGB_MEAN)[:, None, None]) / torch.tensor(RGB_STD)[:, None, None]
    height, width = case["input_hw"].tolist()
    image = image.repeat_interleave(height // image.shape[1], dim=1)
    image = image.repeat_interleave(width // image.shape[2], dim=2)[None]
    errors = {}
    with torch.inference_mode():
        words = [str(word) for word in case._array("vocabulary")]
        rows = word_rows(network, settings.clip, words)
        scaled = network.classify(torch.eye(rows.shape[1]), rows).T
        errors["text"] = near(scaled, case["text_embeds_scaled"])
        for number, feature in enumerate(network.features(image)):
            near(feature.map[:, :8], case[f"F{number}_map_ch0_7"])
            errors[f"F{number}"] = near(feature.token, case[f"F{number}_cls"])
        before, last = network(image, rows, supervised=True)
        assert before.layer == SUPERVISED
        errors["mask7"] = near(before.mask_logits[:, :10], case["mask_logits_layer7_q0_9"])
        errors["logits7"] = near(before.class_logits, case["class_logits_layer7"])
        errors["mask"] = near(last.mask_logits, case["mask_logits"])
        errors["logits"] = near(last.class_logits, case["class_logits"])
        errors["bias"] = near(last.biases[:, :3, :5], case["attn_bias_head0_2_q0_4"])
        scores = network.scores(image, rows)
    errors["seg"] = near(scores[..., ::8, ::8], case["seg_scores_stride8"])
    same = (scores.argmax(1)[..., ::4, ::4] == case["seg_argmax_stride4"]).double().mean()
    assert same > 0.999
    with capsys.disabled():
        print({name: f"{error:.1e}" for name, error in errors.items()}, f"labels {same:.5f}")
        print("of the original in float32:", case.text("rel_err_f32_vs_f64"))
