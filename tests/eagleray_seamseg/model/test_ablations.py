"""Variants of the network: other semantic heads, and parts left out or doubled."""

import pytest
import torch
from pydantic import ValidationError
from tests.eagleray_seamseg.small_network import small_settings
from tests.eagleray_vision.small_batch import (
    NUM_STUFF,
    NUM_THING,
    SIZES,
    generators,
    images,
    target,
)

from eagleray.task import LossTerm
from eagleray.train.phase_setup import checkpoint_activations
from eagleray_seamseg.losses import LOSS_NAMES, panoptic_losses
from eagleray_seamseg.model.config import NetworkSettings
from eagleray_seamseg.model.network import SeamlessNetwork
from eagleray_vision.backbones.pretrained import FrozenRandomBackboneError
from eagleray_vision.losses.bootstrapped_ce import bootstrapped_cross_entropy
from eagleray_vision.panoptic.fusion import FusionThresholds, fuse_panoptic

HEADS = ("mini_dl", "fpn", "deeplab", "upernet")
LAYOUTS = {
    "joint": LOSS_NAMES,
    "separate": LOSS_NAMES,
    "semantic": ("sem",),
    "instance": LOSS_NAMES[:-1],
}


def settings(head: str = "mini_dl", layout: str = "joint", **body: object) -> NetworkSettings:
    base = small_settings(**{"normalization_mode": "bn", **body})
    sem = base.sem.model_copy(update={"head": head})
    return base.model_copy(update={"sem": sem, "layout": layout})


def network(head: str = "mini_dl", layout: str = "joint") -> SeamlessNetwork:
    torch.manual_seed(0)
    return SeamlessNetwork(settings(head, layout), num_stuff=NUM_STUFF, num_thing=NUM_THING)


def losses(model: SeamlessNetwork) -> dict[str, LossTerm]:
    targets = [target(SIZES[0]), target(SIZES[1], "stuff")]
    return panoptic_losses(model, images(), SIZES, targets, generators=generators())


def total(terms: dict[str, LossTerm]) -> torch.Tensor:
    return sum((t.factor * t.sum for t in terms.values()), torch.zeros(()))


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_variant_trains_all_its_parameters_and_predicts(head: str, layout: str) -> None:
    model = network(head, layout).train()
    terms = losses(model)
    assert tuple(terms) == LAYOUTS[layout]
    total(terms).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
    for prediction, size in zip(model.eval().infer(images(), SIZES), SIZES, strict=True):
        assert prediction.semantic_classes.shape == size
        assert prediction.semantic_logits.shape == (NUM_STUFF + NUM_THING, 16, 24)
        assert prediction.mask_logits.shape == (len(prediction.scores), 28, 28)
        assert (len(prediction.scores) > 0) == (layout != "semantic")
        assert bool((prediction.semantic_classes == 255).all()) == (layout == "instance")


@pytest.mark.parametrize("head", HEADS)
def test_every_semantic_head_can_recompute_its_activations(head: str) -> None:
    plain, saving = network(head).train(), network(head).train()
    assert checkpoint_activations(saving) > 8
    for model in (plain, saving):
        total(losses(model)).backward()
    for one, other in zip(plain.parameters(), saving.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("head", HEADS)
def test_every_semantic_head_learns_two_images_by_heart(head: str) -> None:
    model = network(head, "semantic").train()
    optimizer = torch.optim.Adam(model.sem_head.parameters(), lr=3e-3)
    with torch.no_grad():
        levels = model.features(images())
    values = []
    for _ in range(25):
        total_loss, count = bootstrapped_cross_entropy(
            model.semantic_logits(levels),
            [one.classes[one.ids] for one in (target(SIZES[0]), target(SIZES[1], "stuff"))],
            (images().shape[2], images().shape[3]),
            0.25,
        )
        optimizer.zero_grad()
        (total_loss / count).backward()
        optimizer.step()
        values.append(float(total_loss))
    assert values[-1] < 0.6 * values[0]


def test_parameters_of_the_joint_network_keep_their_names_and_random_values() -> None:
    joint, separate = network(), network(layout="separate")
    names = set(joint.state_dict())
    assert {name.split(".")[0] for name in names} == {"body", "rpn_head", "roi_head", "sem_head"}
    own = set(separate.state_dict()) - names
    assert {name.split(".")[0] for name in own} == {"sem_body"}
    assert not any("fpn.extra" in name for name in own)
    torch.testing.assert_close(
        joint.state_dict()["body.backbone.mod1.conv1.weight"],
        separate.state_dict()["body.backbone.mod1.conv1.weight"],
    )


def test_separate_bodies_share_no_gradient_and_joint_ones_do() -> None:
    def reached(model: SeamlessNetwork, name: str) -> set[str]:
        model.zero_grad(set_to_none=True)
        losses(model)[name].sum.backward()
        return {
            n.split(".")[0]
            for n, p in model.named_parameters()
            if p.grad is not None and p.grad.abs().sum() > 0
        }

    assert reached(network().train(), "sem") == {"body", "sem_head"}
    separate = network(layout="separate").train()
    assert reached(separate, "sem") == {"sem_body", "sem_head"}
    assert reached(separate, "obj") == {"body", "rpn_head"}


def test_separate_networks_predict_what_either_predicts_alone() -> None:
    both = network(layout="separate").eval()
    state = both.state_dict()
    semantic, instance = network(layout="semantic").eval(), network(layout="instance").eval()
    semantic.load_state_dict(
        {
            name.replace("sem_body.", "body."): value
            for name, value in state.items()
            if name.split(".")[0] in ("sem_body", "sem_head")
        }
    )
    instance.load_state_dict(
        {n: v for n, v in state.items() if n.split(".")[0] in ("body", "rpn_head", "roi_head")}
    )
    together = both.infer(images(), SIZES)
    for one, pixels, boxes in zip(
        together, semantic.infer(images(), SIZES), instance.infer(images(), SIZES), strict=True
    ):
        assert torch.equal(one.semantic_classes, pixels.semantic_classes)
        assert torch.equal(one.boxes_yxyx, boxes.boxes_yxyx)
        assert torch.equal(one.mask_logits, boxes.mask_logits)


def test_instances_alone_leave_the_rest_of_the_fused_map_void() -> None:
    found = network(layout="instance").eval().infer(images(), SIZES)[0]
    fused = fuse_panoptic(
        found.semantic_classes.numpy(),
        found.boxes_yxyx[:1],
        found.classes[:1],
        torch.ones(1),
        torch.full((1, 28, 28), 9.0),
        num_stuff=NUM_STUFF,
        thresholds=FusionThresholds(min_stuff_area_px=1),
    )
    assert len(fused.categories) == 2
    assert (fused.id_map == 0).any()
    assert (fused.id_map == 1).any()


def test_both_bodies_get_the_pretrained_weights_and_are_frozen(tmp_path) -> None:
    weights = network(layout="semantic").body.backbone.state_dict()
    torch.save(weights, tmp_path / "backbone.pt")
    chosen = settings(layout="separate", num_frozen=2, weights=str(tmp_path / "backbone.pt"))
    model = SeamlessNetwork(chosen, num_stuff=NUM_STUFF, num_thing=NUM_THING)
    model.load_pretrained()
    for body in model.bodies():
        assert torch.equal(
            body.backbone.state_dict()["mod1.conv1.weight"], weights["mod1.conv1.weight"]
        )
        assert not body.backbone.mod1.conv1.weight.requires_grad
    model.check_frozen_modules()
    random = settings(layout="separate", num_frozen=2)
    with pytest.raises(FrozenRandomBackboneError):
        SeamlessNetwork(random, num_stuff=NUM_STUFF, num_thing=NUM_THING).check_frozen_modules()


def test_an_extra_level_that_the_semantic_head_reads_is_built_for_it() -> None:
    base = settings(layout="semantic")
    sem = base.sem.model_copy(update={"fpn_min_level": 1})
    model = SeamlessNetwork(
        base.model_copy(update={"sem": sem}), num_stuff=NUM_STUFF, num_thing=NUM_THING
    )
    assert len(model.body.fpn.extra) == 1
    total(losses(model.train())).backward()
    assert all(p.grad.abs().sum() > 0 for p in model.body.fpn.extra.parameters())


@pytest.mark.parametrize(
    "wrong", [{"sem": {"head": "unet"}}, {"layout": "both"}, {"sem": {"aspp_rates": []}}]
)
def test_unknown_variants_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        NetworkSettings.model_validate(wrong)


def test_bootstrapping_off_is_the_mean_over_all_pixels() -> None:
    base = settings(layout="semantic")
    model = network(layout="semantic").eval()
    targets = [target(SIZES[0]), target(SIZES[1], "stuff")]

    def semantic_loss(ohem: float | None) -> float:
        sem = base.sem.model_copy(update={"ohem": ohem})
        model.settings = base.model_copy(update={"sem": sem})
        return float(panoptic_losses(model, images(), SIZES, targets, generators=None)["sem"].sum)

    with torch.no_grad():
        logits = model.infer_semantics(images(), model.features(images()))
        full = torch.nn.functional.interpolate(
            logits, images().shape[2:], mode="bilinear", align_corners=False
        )
        expected = 0.0
        for image, one, (height, width) in zip(full, targets, SIZES, strict=True):
            pixel = torch.nn.functional.cross_entropy(
                image[None, :, :height, :width],
                one.classes[one.ids][None],
                ignore_index=255,
                reduction="none",
            )
            expected += float(pixel.mean())
        assert semantic_loss(None) == pytest.approx(expected, rel=1e-5)
        assert semantic_loss(0.25) > 1.2 * semantic_loss(None)
