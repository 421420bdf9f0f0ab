import itertools
from typing import get_args

import pytest
import torch
from tests.eagleray_seamseg.small_network import small_network, small_settings
from tests.eagleray_vision.small_batch import (
    NUM_STUFF,
    NUM_THING,
    SIZES,
    generators,
    images,
    target,
)

from eagleray.train.phase_setup import checkpoint_activations
from eagleray_seamseg.losses import LOSS_NAMES, panoptic_losses
from eagleray_seamseg.model.config import NormalizationMode
from eagleray_seamseg.model.network import SeamlessNetwork
from eagleray_vision.backbones.pretrained import FrozenRandomBackboneError

CONTENTS = ("thing", "stuff", "crowd")


def total_loss(
    network: SeamlessNetwork, contents: tuple[str, ...], dtype: torch.dtype
) -> torch.Tensor:
    terms = panoptic_losses(
        network,
        images(dtype),
        SIZES,
        [target(size, content) for size, content in zip(SIZES, contents, strict=True)],
        generators=generators(),
    )
    assert tuple(terms) == LOSS_NAMES
    weights = [torch.as_tensor(t.weight).clamp(min=1) for t in terms.values()]
    return sum(
        (t.factor * t.sum / w for t, w in zip(terms.values(), weights, strict=True)),
        torch.zeros(()),
    )


@pytest.mark.parametrize("mode", get_args(NormalizationMode))
@pytest.mark.parametrize("contents", [("thing", "stuff"), ("stuff", "stuff")])
def test_every_parameter_gets_a_finite_gradient_in_every_mode(
    mode: str, contents: tuple[str, str]
) -> None:
    network = small_network(normalization_mode=mode).train()
    total_loss(network, contents, torch.float32).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
    assert all(v.isfinite().all() for v in network.state_dict().values())


@pytest.mark.parametrize("contents", itertools.product(CONTENTS, CONTENTS))
def test_gradient_graph_is_the_same_whatever_the_images_hold(contents: tuple[str, str]) -> None:
    network = small_network().train()
    order: list[str] = []
    for name, module in network.named_modules():
        if not list(module.children()):
            module.register_forward_hook(lambda *_, name=name: order.append(name))
    total_loss(network, contents, torch.float32).backward()
    expected = set(dict(network.named_modules()))
    assert set(order) <= expected
    reference: list[str] = []
    other = small_network().train()
    for name, module in other.named_modules():
        if not list(module.children()):
            module.register_forward_hook(lambda *_, name=name: reference.append(name))
    total_loss(other, ("thing", "thing"), torch.float32)
    assert order == reference


@pytest.mark.parametrize("precision", ["float32", "bfloat16 autocast", "float64"])
def test_losses_and_predictions_in_every_precision(precision: str) -> None:
    dtype = torch.float64 if precision == "float64" else torch.float32
    network = small_network().to(dtype).train()
    with torch.autocast("cpu", torch.bfloat16, enabled="autocast" in precision):
        loss = total_loss(network, ("thing", "crowd"), dtype)
    loss.backward()
    assert loss.dtype == dtype
    assert all(p.grad.isfinite().all() for p in network.parameters())
    network.eval()
    with torch.autocast("cpu", torch.bfloat16, enabled="autocast" in precision):
        predictions = network.infer(images(dtype), SIZES)
    for prediction, size in zip(predictions, SIZES, strict=True):
        count = len(prediction.scores)
        assert count > 0
        assert prediction.boxes_yxyx.shape == (count, 4)
        assert prediction.mask_logits.shape == (count, 28, 28)
        assert prediction.mask_logits.dtype == prediction.boxes_yxyx.dtype == dtype
        assert prediction.classes.max() < NUM_THING
        assert prediction.semantic_classes.shape == size
        assert prediction.semantic_classes.max() < NUM_STUFF + NUM_THING
        assert prediction.semantic_logits.shape == (NUM_STUFF + NUM_THING, 16, 24)
        low, high = prediction.boxes_yxyx[:, :2], prediction.boxes_yxyx[:, 2:]
        assert (low >= 0).all()
        assert (high <= torch.tensor(size)).all()
        assert (high > low).all()


def test_no_detection_gives_empty_tensors() -> None:
    network = small_network().eval()
    network.roi_head.roi_cls.bias.data[0] = 100
    for prediction in network.infer(images(), SIZES):
        assert prediction.boxes_yxyx.shape == (0, 4)
        assert prediction.classes.shape == prediction.scores.shape == (0,)
        assert prediction.mask_logits.shape == (0, 28, 28)
        assert prediction.cpu().semantic_classes.device.type == "cpu"


def test_no_proposal_at_all_is_no_error() -> None:
    settings = small_settings()
    settings = settings.model_copy(
        update={"rpn": settings.rpn.model_copy(update={"min_size": 1000.0})}
    )
    network = SeamlessNetwork(settings, num_stuff=NUM_STUFF, num_thing=NUM_THING).eval()
    assert all(len(p.scores) == 0 for p in network.infer(images(), SIZES))


def test_padding_changes_no_detection_box_beyond_the_valid_size() -> None:
    network = small_network().eval()
    alone = network.infer(images()[:1], SIZES[:1])[0]
    together = network.infer(images(), SIZES)[0]
    torch.testing.assert_close(alone.boxes_yxyx, together.boxes_yxyx, rtol=1e-4, atol=1e-3)
    assert torch.equal(alone.classes, together.classes)


def test_same_generators_give_the_same_losses_and_others_do_not() -> None:
    network = small_network(normalization_mode="off").train()
    first = total_loss(network, ("thing", "stuff"), torch.float32)
    assert torch.equal(first, total_loss(network, ("thing", "stuff"), torch.float32))
    terms = panoptic_losses(
        network,
        images(),
        SIZES,
        [target(SIZES[0]), target(SIZES[1], "stuff")],
        generators=[torch.Generator().manual_seed(9) for _ in SIZES],
    )
    again = panoptic_losses(
        network,
        images(),
        SIZES,
        [target(SIZES[0]), target(SIZES[1], "stuff")],
        generators=generators(),
    )
    assert terms["obj"].sum.item() != again["obj"].sum.item()


def test_recomputing_blocks_changes_no_gradient_and_no_statistics() -> None:
    plain, saving = small_network().train(), small_network().train()
    assert checkpoint_activations(saving) == 8 + 4  # residual blocks of depth 18, semantic levels
    for network in (plain, saving):
        total_loss(network, ("thing", "stuff"), torch.float32).backward()
    for (name, one), other in zip(plain.named_parameters(), saving.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, msg=lambda text, n=name: f"{n}: {text}")
    for one, other in zip(plain.buffers(), saving.buffers(), strict=True):
        assert torch.equal(one, other)


def test_compiled_parts_trace_without_breaks_and_give_the_same_features() -> None:
    network = small_network(normalization_mode="bn").train()
    x = images()
    expected = network.features(x)[0]
    small = small_network(normalization_mode="bn").train()
    small.compile(backend="eager", fullgraph=True)
    torch.testing.assert_close(small.features(x)[0], expected)


@pytest.mark.parametrize("count", range(6))
def test_frozen_modules_are_counted_from_the_stem(count: int) -> None:
    network = small_network(num_frozen=count)
    frozen = {name.split(".")[2] for name, p in network.named_parameters() if not p.requires_grad}
    assert frozen == {f"mod{k}" for k in range(1, count + 1)}


def test_frozen_random_backbone_is_refused() -> None:
    network = SeamlessNetwork(
        small_settings(num_frozen=2), num_stuff=NUM_STUFF, num_thing=NUM_THING
    )
    with pytest.raises(FrozenRandomBackboneError, match=r"body\.num_frozen = 2"):
        total_loss(network, ("thing", "stuff"), torch.float32)
    assert len(network.infer(images(), SIZES)) == 2  # prediction is not training


def test_frozen_modules_may_come_from_a_checkpoint_or_not_be_frozen() -> None:
    network = small_network(num_frozen=2).train()
    with torch.no_grad():
        for value in network.state_dict().values():
            value.copy_(value + 0.01)
    assert total_loss(network, ("thing", "stuff"), torch.float32).isfinite()
    small_network(num_frozen=0).check_frozen_modules()


def test_norm_parameters_are_the_scales_and_shifts() -> None:
    network = small_network()
    names = network.norm_parameter_names()
    parameters = dict(network.named_parameters())
    assert all(parameters[name].ndim == 1 for name in names)
    assert {name.rsplit(".", 1)[1] for name in names} == {"weight", "bias"}
    others = {n for n in set(parameters) - names if parameters[n].ndim == 1}
    predictors = ("conv_obj", "conv_bbx", "roi_cls", "roi_bbx", "roi_msk", "conv_sem")
    assert {n.split(".")[-2] for n in others} == set(predictors)


def test_declared_input_colors_come_from_the_settings() -> None:
    assert small_network().input_mean is None
    network = small_network(rgb_mean=(0.5, 0.5, 0.5), rgb_std=(0.5, 0.5, 0.5))
    assert network.input_mean == network.input_std == (0.5, 0.5, 0.5)
