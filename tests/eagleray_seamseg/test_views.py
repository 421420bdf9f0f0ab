"""Test-time augmentation as a setting of evaluation and prediction."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from tests.eagleray_seamseg.small_settings import cityscapes_settings
from tests.eagleray_vision.small_data import photo, run_stage, small_cityscapes

from eagleray.task import InputError
from eagleray_seamseg.model.network import SeamlessNetwork
from eagleray_seamseg.predict import image_normalization
from eagleray_seamseg.settings import SeamlessSettings
from eagleray_seamseg.task import SeamlessTask
from eagleray_vision.inference.views import infer_samples, sample_views
from eagleray_vision.samples.placement import Placement, place_image
from eagleray_vision.samples.sample import PanopticSample, pad_images


def settings(tmp_path, **test_time) -> SeamlessSettings:
    return cityscapes_settings(tmp_path, test_time=test_time)


def sample(chosen: SeamlessSettings, image: np.ndarray) -> PanopticSample:
    placed = place_image(image, Placement((48, 72)), image_normalization(chosen))
    return PanopticSample("one", placed, image)


def infer(network, samples, chosen: SeamlessSettings):
    return infer_samples(network, samples, chosen.test_time, image_normalization(chosen))


@pytest.fixture
def network(tmp_path):
    torch.manual_seed(0)
    return SeamlessNetwork(settings(tmp_path).network, num_stuff=11, num_thing=8).eval()


@pytest.mark.parametrize("test_time", [{}, {"scales": [1.0]}, {"scales": [1.0], "flip": False}])
def test_scale_one_without_mirror_changes_no_bit(tmp_path, network, test_time) -> None:
    chosen = settings(tmp_path, **test_time)
    samples = [sample(chosen, photo(seed=k)) for k in range(2)]
    images, sizes = pad_images([one.image for one in samples])
    for found, expected in zip(
        infer(network, samples, chosen), network.infer(images, sizes), strict=True
    ):
        for name in ("boxes_yxyx", "classes", "scores", "mask_logits", "semantic_classes"):
            assert torch.equal(getattr(found, name), getattr(expected, name)), name


def test_mirrored_photograph_gives_the_mirrored_prediction(tmp_path, network) -> None:
    chosen = settings(tmp_path, flip=True)
    one = infer(network, [sample(chosen, photo())], chosen)[0]
    mirrored = sample(chosen, np.ascontiguousarray(photo()[:, ::-1]))
    other = infer(network, [mirrored], chosen)[0]
    same = (other.semantic_classes == one.semantic_classes.flip(-1)).float().mean()
    assert same > 0.999  # the resized photograph is mirrored up to rounding


def test_views_are_scales_of_the_photograph_with_their_mirrors(tmp_path) -> None:
    chosen = settings(tmp_path, scales=[1.0, 0.5, 1.3], flip=True)
    one = sample(chosen, photo())
    views = sample_views(one, chosen.test_time, image_normalization(chosen))
    assert [view.size_hw for view in views] == [(48, 72)] * 2 + [(24, 36)] * 2 + [(62, 94)] * 2
    assert [view.is_mirrored for view in views] == [False, True] * 3
    assert views[0].image is one.image
    for plain, mirrored in zip(views[::2], views[1::2], strict=True):
        assert torch.equal(plain.image.flip(-1), mirrored.image)
    expected = place_image(photo(), Placement((62, 94)), image_normalization(chosen))
    assert torch.equal(views[4].image, expected)


def test_a_sample_without_photograph_has_one_scale(tmp_path) -> None:
    chosen = settings(tmp_path, scales=[1.0, 2.0])
    without = PanopticSample("one", torch.zeros(3, 48, 72))
    with pytest.raises(InputError, match=r"one: test_time\.scales"):
        sample_views(without, chosen.test_time, image_normalization(chosen))


@pytest.mark.parametrize("scales", [[], [0.0], [1.0, 1.0], [5.0], [-1.0]])
def test_impossible_scales_are_refused(scales) -> None:
    with pytest.raises(ValidationError, match="scales"):
        SeamlessSettings(test_time={"scales": scales})


@pytest.mark.parametrize("faithful", [True, False])
def test_evaluation_uses_the_views(tmp_path, faithful) -> None:
    root = small_cityscapes(tmp_path)
    chosen = cityscapes_settings(
        root, test_time={"scales": [1.0, 1.5], "flip": True}, faithful=faithful
    )
    task = SeamlessTask(chosen)
    rows = {stage.label: run_stage(stage)[0] for stage in task.stages()}
    data = task.dataset("val", rows)
    one = data.load(0, np.random.default_rng(0))
    torch.manual_seed(0)
    model = task.build().eval()
    with torch.inference_mode():
        (prediction,) = task.predict(model, [one])
        (expected,) = infer(model, [one], chosen)
    assert torch.equal(prediction.inference.semantic_classes, expected.semantic_classes)
    assert torch.equal(prediction.inference.boxes_yxyx, expected.boxes_yxyx)
    plain = SeamlessTask(chosen.model_copy(update={"test_time": type(chosen.test_time)()}))
    with torch.inference_mode():
        (without,) = plain.predict(model, [one])
    assert not torch.equal(prediction.inference.boxes_yxyx, without.inference.boxes_yxyx)
    benchmark = task.benchmarks()[0]
    row = task.score(benchmark.name, one, prediction)
    assert benchmark.metric in task.compute(benchmark.name, [row]).values
