"""MaskCLIP+ and features at pixels against the original."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tests.parity.cases import cases
from tests.parity.every_key import every_key_is_read  # noqa: F401
from tests.parity.golden import Case, close
from tests.parity.pop3d_case import recipe_tensor

from eagleray_vision.dense_features.maskclip_plus import MaskClipPlus, read_maskclip_plus
from eagleray_vision.dense_features.two_resizes import sample_through_resizes


class FeatureCase(Case):
    module = __name__

    def pair(self, key: str) -> tuple[int, int]:
        first, second = self[key].tolist()
        return first, second


def recipe_file(folder: Path, depth: int) -> Path:
    network = MaskClipPlus(depth)
    state = {
        name: value if "num_batches" in name else recipe_tensor(name, tuple(value.shape))
        for name, value in network.state_dict().items()
    }
    unused = {"decode_head.text_embeddings": torch.zeros(171, 512)}
    path = folder / "maskclip_plus_r101.pth"  # as published: the name does not say the depth
    torch.save({"state_dict": state | unused, "meta": {"CLASSES": ["a"]}}, path)
    return path


@pytest.mark.parametrize("path", cases("pop3d", "two_step_sampling"), ids=lambda p: p.stem)
def test_two_resizes_at_points(path: Path) -> None:
    case = FeatureCase(path)
    sampled = sample_through_resizes(
        case["feature_map"],
        case["pixels_row_col"],
        middle_hw=case.pair("mid_hw"),
        output_hw=case.pair("out_hw"),
    )
    close(sampled, case["point_features"], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("path", cases("pop3d", "maskclip_plus"), ids=lambda p: p.stem)
def test_maskclip_plus(path: Path, tmp_path: Path) -> None:
    case = FeatureCase(path)
    long_px, short_px = case.pair("rescale_long_short")
    weights = recipe_file(tmp_path, 50)
    network = read_maskclip_plus(weights, long_px=long_px, short_px=short_px)
    image = np.ascontiguousarray(case["image_bgr"].numpy()[:, :, ::-1])
    prepared = network.prepare(image)
    assert torch.equal(prepared.permute(1, 2, 0).flip(2), case["resized_bgr"])
    stride = int(case["channel_stride"])
    with torch.no_grad():
        small = network.feature_map(network.normalize(prepared)[None])[0]
    assert tuple(small.shape[1:]) == case.pair("lowres_hw")
    close(small[::stride], case["lowres_features"], rtol=1e-4, atol=2e-3)
    points = network.at_pixels(prepared, case["pixels_row_col"], image.shape[:2])
    close(points[:, ::stride], case["point_features"], rtol=1e-4, atol=2e-3)
