"""Features at points: composed resizes against whole maps, weights of a student, MaskCLIP."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from eagleray_vision.dense_features.extractor import keep_ratio
from eagleray_vision.dense_features.maskclip_plus import MaskClipPlus, read_maskclip_plus
from eagleray_vision.dense_features.two_resizes import sample_through_resizes
from eagleray_vision.weights.tensors import WeightFileError


@pytest.mark.parametrize(
    ("small", "middle", "output"),
    [
        ((8, 14), (62, 110), (54, 96)),  # as MaskCLIP+: up, then a little down
        ((8, 14), (40, 70), (90, 130)),
        ((30, 20), (7, 5), (60, 44)),  # down, then up
        ((5, 9), (5, 9), (5, 9)),
        ((1, 1), (4, 4), (3, 3)),
    ],
)
def test_every_pixel_as_through_the_whole_maps(small, middle, output):
    generator = torch.Generator().manual_seed(0)
    values = torch.rand((3, *small), generator=generator, dtype=torch.float64)
    whole = values[None]
    for size in (middle, output):
        whole = F.interpolate(whole, size=size, mode="bilinear", align_corners=False)
    grid = torch.meshgrid(*map(torch.arange, output), indexing="ij")
    pixels = torch.stack([axis.flatten() for axis in grid], dim=1)
    sampled = sample_through_resizes(values, pixels, middle_hw=middle, output_hw=output)
    torch.testing.assert_close(sampled, whole[0].flatten(1).T, rtol=1e-9, atol=1e-12)


def test_no_points_and_points_outside():
    values = torch.rand(3, 4, 5)
    sizes = {"middle_hw": (8, 10), "output_hw": (8, 10)}
    assert sample_through_resizes(values, torch.empty(0, 2).long(), **sizes).shape == (0, 3)
    with pytest.raises(ValueError, match="outside of 8 x 10"):
        sample_through_resizes(values, torch.tensor([[0, 10]]), **sizes)


def test_sizes_of_the_original():
    assert keep_ratio((900, 1600), 2048, 1024) == (1024, 1820)
    assert keep_ratio((1600, 900), 2048, 1024) == (1820, 1024)
    assert keep_ratio((54, 96), 124, 62) == (62, 110)


def zeros(depth: int) -> dict[str, torch.Tensor]:
    """One number per tensor, repeated: small files."""
    with torch.device("meta"):
        own = MaskClipPlus(depth).state_dict()
    return {name: torch.zeros(()).expand(value.shape) for name, value in own.items()}


def test_depth_is_read_off_the_file(tmp_path):
    state = zeros(101)
    path = tmp_path / "maskclip_plus_r50.pth"
    torch.save({"module." + name: value for name, value in state.items()}, path)
    assert read_maskclip_plus(path).depth == 101
    shallow = {n: v for n, v in state.items() if not n.startswith("backbone.layer3.22.")}
    torch.save(shallow, path)
    with pytest.raises(WeightFileError, match="22 blocks"):
        read_maskclip_plus(path)


def test_files_that_do_not_fit_are_refused(tmp_path):
    state = zeros(50)
    path = tmp_path / "student.pth"
    name = "decode_head.decode_module.aspp_modules.2.conv.weight"
    for change, said in (
        ({name: None}, "lacks 1 tensors"),
        ({name: torch.zeros(3)}, "does not fit in 1"),
        ({"decode_head.more.weight": torch.zeros(3)}, "has unknown 1"),
        ({name: torch.full((1,), torch.nan).expand(state[name].shape)}, "NaN"),
    ):
        changed = {n: v for n, v in {**state, **change}.items() if v is not None}
        torch.save({"state_dict": changed}, path)
        with pytest.raises(WeightFileError, match=said):
            read_maskclip_plus(path)


def test_student_stays_frozen():
    with torch.device("meta"):
        network = MaskClipPlus(50).train()
    assert not network.training
    assert not any(one.requires_grad for one in network.parameters())


def test_maskclip_in_whole_patches():
    open_clip = pytest.importorskip("open_clip")
    from eagleray_vision.dense_features.maskclip import MaskClip

    torch.manual_seed(0)
    visual = open_clip.model.VisionTransformer(
        image_size=32, patch_size=8, width=32, layers=2, heads=2, mlp_ratio=2.0, output_dim=16
    )
    extractor = MaskClip(visual, long_px=64, short_px=64)
    image = np.random.default_rng(0).integers(0, 255, (45, 80, 3), dtype=np.uint8)
    prepared = extractor.prepare(image)
    assert tuple(prepared.shape) == (3, 32, 64)
    points = extractor.at_pixels(prepared, torch.tensor([[0, 0], [44, 79]]), (45, 80))
    with torch.no_grad():
        dense = extractor.tower.dense(extractor.normalize(prepared)[None])[0]
    torch.testing.assert_close(points[0], dense[:, 0, 0])
    torch.testing.assert_close(points[1], dense[:, -1, -1])
