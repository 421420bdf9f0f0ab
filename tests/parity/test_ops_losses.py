"""Matching, losses and their gradients against the original's numbers."""

import pytest
import torch
from tests.parity.cases import cases
from tests.parity.every_key import every_key_is_read  # noqa: F401
from tests.parity.golden import Case, close

from eagleray_ops.losses import MATCHING, RANDOM, proposal_losses
from eagleray_ops.matching import Segments, match_queries, matching_costs
from eagleray_ops.model.network import Proposals
from eagleray_ops.settings import LossSettings

CASES = {"ids": lambda path: path.stem}
FIRST_LAYER = 7
"""The adapter layer of level 0; the last level is the last layer."""
NAMES = {"class": "loss_cls_ce", "mask": "loss_mask_ce", "dice": "loss_mask_dice"}


class Golden(Case):
    module = __name__


class Recorded:
    """Gives the draws of the original: per level matching points of each image, then random and
    fresh points of all masks of the batch.
    """

    def __init__(self, case, counts, batch):
        self.case, self.counts, self.batch = case, counts, batch

    def matching(self, level, image):
        return self.case[f"rand{level * (self.batch + 2) + image}"]

    def __call__(self, sample, purpose, shape):
        layer, kind = purpose.removeprefix("layer").split("/")
        level = int(layer) - FIRST_LAYER
        if kind == MATCHING:
            drawn = self.matching(level, sample)
        else:
            number = level * (self.batch + 2) + self.batch + (kind != RANDOM)
            drawn = self.case[f"rand{number}"].split(self.counts)[sample]
        assert tuple(drawn.shape) == shape
        return drawn


@pytest.mark.parametrize("path", cases("ops", "losses"), **CASES)
def test_losses(path):
    case = Golden(path)
    settings, labels = LossSettings(points=int(case["num_points"])), case["gt"]
    background = int(case["num_classes"])
    levels = [
        Proposals(
            FIRST_LAYER + k,
            case[f"cls_logits{k}"].requires_grad_(),
            case[f"mask_logits{k}"].requires_grad_(),
            torch.empty(0),
        )
        for k in range(case.numbers("cls_logits"))
    ]
    segments = [Segments.of(one) for one in labels]
    queries = levels[0].class_logits.shape[1]
    matched = [min(len(one.classes), queries) for one in segments]
    draw = Recorded(case, matched, len(labels))

    for k, level in enumerate(levels):
        for image, own in enumerate(segments):
            one = (level.class_logits[image], level.mask_logits[image], own)
            points = draw.matching(k, image)
            costs = matching_costs(*one, points, settings)
            close(costs, case[f"cost{k * len(labels) + image}_cls_bce_dice"])
            found, chosen = match_queries(*one, points, settings)
            expected = torch.full((queries,), background)
            expected[found] = own.classes[chosen]
            assert torch.equal(expected, case[f"matched_labels{k}"][image])
            chosen_mask = case[f"matched_query_mask{k}"][image]
            assert torch.equal(found, chosen_mask.nonzero()[:, 0])

    terms = proposal_losses(levels, labels, settings, draw)
    values = {name: t.factor * t.sum / t.weight for name, t in terms.items()}
    assert len(values) == len(NAMES) * len(levels)
    for name, value in values.items():
        layer, _, kind = name.rpartition("_")
        prefix = f"d{layer.removeprefix('layer')}." if layer else ""
        close(value, case[f"loss.{prefix}{NAMES[kind]}"].reshape(()))
    total = sum(values.values())
    close(total, case["total"].reshape(()))
    total.backward()
    for k, level in enumerate(levels):
        close(level.class_logits.grad, case[f"grad_cls{k}"])
        close(level.mask_logits.grad, case[f"grad_mask{k}"])
