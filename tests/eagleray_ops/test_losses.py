"""Matching and losses at their edges."""

import numpy as np
import pytest
import torch
from tests.eagleray_ops.small_network import random_rows, small_network

from eagleray.task import StepContext
from eagleray_ops.losses import proposal_losses, step_draws
from eagleray_ops.matching import Segments, match_queries, read_masks
from eagleray_ops.model.network import Proposals
from eagleray_ops.recipes import phases
from eagleray_ops.settings import LossSettings

SETTINGS = LossSettings(points=32)


def step(number=0, keys=("a", "b"), seed=0):
    return StepContext(phases()[0], number, 10, seed, keys)


def draws(**values):
    return step_draws(step(**values), torch.device("cpu"))


def proposals(num_classes=3, queries=4, batch=2, layer=8):
    generator = torch.Generator().manual_seed(layer)
    return Proposals(
        layer,
        torch.randn(batch, queries, num_classes + 1, generator=generator).requires_grad_(),
        torch.randn(batch, queries, 4, 4, generator=generator).requires_grad_(),
        torch.empty(0),
    )


def label_image(*rows):
    return torch.tensor(rows).repeat_interleave(4, 0).repeat_interleave(4, 1)


def test_masks_are_read_as_a_network_reads_pictures():
    """The same as bilinear sampling of one picture per class, which is never made here."""
    labels = torch.randint(0, 4, (7, 9), generator=torch.Generator().manual_seed(0))
    labels[labels == 3] = 255
    segments = Segments.of(labels)
    assert segments.classes.tolist() == [0, 1, 2]
    points = torch.rand(3, 50, 2, generator=torch.Generator().manual_seed(1))
    points[:, :2] = torch.tensor([[0.0, 0.0], [1.0, 1.0]])
    pictures = (labels[None] == segments.classes[:, None, None]).float()
    found = segments.at(points, torch.arange(3))
    torch.testing.assert_close(found, read_masks(pictures, points))
    shared = segments.at(points[:1], torch.tensor([2, 0]))
    torch.testing.assert_close(shared, read_masks(pictures[[2, 0]], points[:1]))


def test_a_network_that_is_right_is_matched_and_has_small_losses():
    labels = label_image([0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 2, 2], [255, 255, 255, 255])
    masks = torch.stack([(labels[::4, ::4] == k) * 40.0 - 20 for k in (2, 0, 1)])
    classes = torch.full((3, 4), -20.0)
    classes[torch.arange(3), torch.tensor([2, 0, 1])] = 20
    segments = Segments.of(labels)
    queries, found = match_queries(classes, masks, segments, torch.rand(1, 64, 2), SETTINGS)
    assert queries.tolist() == [0, 1, 2] and found.tolist() == [2, 0, 1]
    level = Proposals(8, classes[None], masks[None], torch.empty(0))
    terms = proposal_losses([level], labels[None], SETTINGS, draws())
    assert float(terms["class"].sum) < 1e-6
    assert float(terms["dice"].sum / terms["dice"].weight) < 0.4  # uncertain points: on borders


def test_images_without_segments_keep_the_graph_and_train_the_background():
    level = proposals()
    void = torch.full((2, 16, 16), 255)
    terms = proposal_losses([level], void, SETTINGS, draws())
    assert terms["mask"].weight == terms["dice"].weight == 0
    assert float(terms["mask"].sum.detach()) == 0 and terms["mask"].sum.requires_grad
    assert float(terms["class"].weight) == pytest.approx(0.1 * 8)
    sum(term.sum for term in terms.values()).backward()
    assert bool(level.class_logits.grad.any()) and not bool(level.mask_logits.grad.any())


def test_more_segments_than_queries_leave_some_unmatched_and_count_all():
    labels = label_image([0, 1], [2, 3])[None]
    level = proposals(num_classes=5, queries=2, batch=1)
    terms = proposal_losses([level], labels, SETTINGS, draws(keys=("a",)))
    assert terms["mask"].weight == 4
    assert float(terms["class"].weight) == 2


def test_numbers_that_are_none_reach_the_loss_instead_of_ending_the_matching():
    level = proposals()
    with torch.no_grad():
        level.mask_logits[0, 1] = float("nan")
        level.class_logits[1, 0] = float("inf")
    terms = proposal_losses([level], label_image([0, 1], [2, 2]).expand(2, 8, 8), SETTINGS, draws())
    assert not all(bool(term.sum.isfinite()) for term in terms.values())


def test_draws_depend_on_step_and_sample_alone():
    labels = label_image([0, 1], [2, 2]).expand(2, 8, 8)
    levels = [proposals(layer=7), proposals(layer=8)]

    def values(order, **context):
        keys = tuple("ab"[k] for k in order)
        chosen = [
            Proposals(p.layer, p.class_logits[order], p.mask_logits[order], p.biases)
            for p in levels
        ]
        terms = proposal_losses(chosen, labels, SETTINGS, draws(keys=keys, **context))
        return torch.stack([term.sum.detach() for term in terms.values()])

    first = values([0, 1])
    torch.testing.assert_close(values([1, 0]), first)
    assert torch.equal(values([0, 1]), first)
    for other in ({"number": 1}, {"seed": 1}):
        assert not torch.equal(values([0, 1], **other), first)


def test_sums_over_parts_of_a_batch_add_up():
    """What the engine needs to divide over ranks: sums and weights of parts are those of all."""
    labels = torch.stack([label_image([0, 1], [2, 2]), label_image([0, 0], [0, 255])])
    level = proposals()

    def part(index):
        one = Proposals(8, level.class_logits[index], level.mask_logits[index], level.biases)
        keys = tuple(np.array(["a", "b"])[index])
        return proposal_losses([one], labels[index], SETTINGS, draws(keys=keys))

    whole, first, second = part(slice(0, 2)), part(slice(0, 1)), part(slice(1, 2))
    for name, term in whole.items():
        torch.testing.assert_close(term.sum, first[name].sum + second[name].sum)
        assert float(term.weight) == pytest.approx(float(first[name].weight + second[name].weight))


def test_training_fits_one_image():
    network = small_network().train()
    images = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    labels = label_image(*[[0, 0, 0, 0, 1, 1, 1, 1]] * 4, *[[2] * 8] * 4)[None]
    trained = [p for p in network.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, 3e-3)
    totals = []
    for number in range(40):
        found = network(images, random_rows(3), supervised=True)
        terms = proposal_losses(found, labels, SETTINGS, draws(number=number, keys=("a",)))
        total = sum(t.factor * t.sum / t.weight for t in terms.values())
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        totals.append(float(total.detach()))
    assert np.mean(totals[-5:]) < 0.5 * np.mean(totals[:5])
    with torch.inference_mode():
        scores = network.eval().scores(images, random_rows(3))
    assert float((scores.argmax(1) == labels).float().mean()) > 0.9
