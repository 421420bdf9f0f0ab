"""Several views of an image: mirror symmetry, plain averages, a network that sees exactly."""

from collections.abc import Sequence

import pytest
import torch
from tests.eagleray_seamseg.small_network import small_network, small_settings
from tests.eagleray_vision.small_batch import NUM_STUFF, NUM_THING
from torch import Tensor, nn
from torch.nn import functional as F

from eagleray_seamseg.model.network import SeamlessNetwork
from eagleray_vision.detection.detections import DetectionRule, Detections, merge_detections
from eagleray_vision.detection.mask_paste import paste_mask_in_box
from eagleray_vision.inference.multi_view import View, infer_views

SIZE = (50, 81)
"""Odd width, and no multiple of any stride."""


def image(size: tuple[int, int] = SIZE) -> Tensor:
    return torch.randn(3, *size, generator=torch.Generator().manual_seed(5))


def views(x: Tensor, *, scales: Sequence[float] = (1.0,), flip: bool) -> list[View]:
    found = []
    for scale in scales:
        size = (round(scale * x.shape[1]), round(scale * x.shape[2]))
        resized = x if scale == 1 else F.interpolate(x[None], size, mode="bilinear")[0]
        found.append(View(resized, is_mirrored=False))
        if flip:
            found.append(View(resized.flip(-1), is_mirrored=True))
    return found


def test_one_view_is_what_the_network_says() -> None:
    network = small_network().eval()
    (plain,) = network.infer(image()[None], [SIZE])
    found = infer_views(network, views(image(), flip=False), SIZE)
    assert len(plain.scores) > 1
    assert torch.equal(found.semantic_classes, plain.semantic_classes)
    torch.testing.assert_close(found.boxes_yxyx, plain.boxes_yxyx)
    torch.testing.assert_close(found.scores, plain.scores)
    torch.testing.assert_close(found.mask_logits, plain.mask_logits, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(found.semantic_logits, plain.semantic_logits, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("layout", ["joint", "separate", "semantic", "instance"])
def test_mirrored_image_gives_the_mirrored_prediction(layout: str) -> None:
    settings = small_settings().model_copy(update={"layout": layout})
    torch.manual_seed(0)
    network = SeamlessNetwork(settings, num_stuff=NUM_STUFF, num_thing=NUM_THING).eval()
    one = infer_views(network, views(image(), flip=True), SIZE)
    other = infer_views(network, views(image().flip(-1), flip=True), SIZE)
    assert (len(one.scores) > 1) == (layout != "semantic")
    assert torch.equal(other.semantic_classes, one.semantic_classes.flip(-1))
    # equal scores come in the order of the views, which differs
    order = [p.scores.argsort(descending=True, stable=True) for p in (one, other)]
    torch.testing.assert_close(other.scores[order[1]], one.scores[order[0]])
    y0, x0, y1, x1 = one.boxes_yxyx[order[0]].unbind(1)
    expected = torch.stack([y0, SIZE[1] - x1, y1, SIZE[1] - x0], dim=1)
    torch.testing.assert_close(other.boxes_yxyx[order[1]], expected, rtol=1e-4, atol=1e-3)
    assert torch.equal(other.classes[order[1]], one.classes[order[0]])
    torch.testing.assert_close(
        other.mask_logits[order[1]], one.mask_logits[order[0]].flip(-1), rtol=1e-3, atol=1e-3
    )


def test_without_mirrored_views_the_symmetry_is_missing() -> None:
    network = small_network().eval()
    one = infer_views(network, views(image(), flip=False), SIZE)
    other = infer_views(network, views(image().flip(-1), flip=False), SIZE)
    assert len(one.scores) != len(other.scores) or not torch.allclose(
        one.scores.sort().values, other.scores.sort().values, rtol=1e-4
    )


@pytest.mark.parametrize("chunk", [1, 700, 1 << 18])
def test_class_probabilities_of_scales_and_mirrors_are_averaged(chunk: int) -> None:
    network = small_network().eval()
    sem = network.settings.sem.model_copy(update={"loss_chunk_pixels": chunk})
    network.settings = network.settings.model_copy(update={"sem": sem})
    chosen = views(image(), scales=(1.0, 0.6, 1.5), flip=True)
    found = infer_views(network, chosen, SIZE)
    total = torch.zeros(NUM_STUFF + NUM_THING, *SIZE)
    with torch.no_grad():
        for view in chosen:
            levels = network.features(view.image[None])
            logits = network.semantic_logits(levels)
            full = F.interpolate(logits, SIZE, mode="bilinear", align_corners=False)[0].softmax(0)
            total += full.flip(-1) if view.is_mirrored else full
    best = total.topk(2, dim=0).values
    clear = best[0] - best[1] > 1e-4
    assert clear.float().mean() > 0.98
    assert torch.equal(found.semantic_classes[clear], total.argmax(0)[clear])


class ShapeFinder(nn.Module):
    """A network that sees exactly: finds the bright shape of a view, its mask and its pixels."""

    num_stuff, num_thing = 1, 2

    def __init__(self, score: float = 0.9) -> None:
        super().__init__()
        self.anchor = nn.Parameter(torch.zeros(1))
        self.score = score

    has_semantics, fuses_logits, semantic_stride, mask_hw = True, False, 4, (28, 28)

    def merge_detections(self, views) -> Detections:
        return merge_detections(views, self.num_thing, DetectionRule(0.05, 0.3, 100))

    def features(self, images: Tensor) -> list[Tensor]:
        return [images]

    def detect(self, levels, image_size, valid_sizes) -> list[Detections]:
        bright = (levels[0][0, 0] > 0.5).nonzero()
        if len(bright) == 0:
            return [Detections(torch.zeros(0, 4), torch.zeros(0).long(), torch.zeros(0))]
        low, high = bright.min(0).values, bright.max(0).values + 1
        scale = levels[0].shape[2] / 100  # a view is sure of what it sees large
        return [
            Detections(
                torch.cat([low, high]).float()[None],
                torch.tensor([1]),
                torch.tensor([self.score * min(scale, 1.0)]),
            )
        ]

    def infer_masks(self, levels, detections, image_size) -> list[Tensor]:
        boxes = detections[0].boxes
        masks = []
        for y0, x0, y1, x1 in boxes.round().long().tolist():
            part = levels[0][:, :1, y0:y1, x0:x1]
            masks.append(F.interpolate(part, (28, 28), mode="area")[0, 0])
        return [torch.logit(torch.stack(masks), eps=1e-4)]

    def infer_semantics(self, images: Tensor, levels) -> Tensor:
        bright = images[:, :1]
        return torch.cat([-9 * bright, 0 * bright - 4.5, 9 * bright - 9], dim=1)


def shape_image() -> Tensor:
    """An L, so that a forgotten mirror would be seen."""
    x = torch.zeros(3, 100, 160)
    x[:, 20:80, 30:50] = 1
    x[:, 60:80, 50:100] = 1
    return x


@pytest.mark.parametrize("scales", [(1.0,), (0.5, 2.0), (1.0, 0.5, 1.5, 2.0)])
@pytest.mark.parametrize("flip", [False, True])
def test_views_of_a_shape_meet_in_one_detection_at_its_place(scales, flip) -> None:
    size = (100, 160)
    chosen = views(shape_image(), scales=scales, flip=flip)
    found = infer_views(ShapeFinder(), chosen, size)
    assert found.classes.tolist() == [1]
    assert found.scores.tolist() == pytest.approx([0.9])
    torch.testing.assert_close(
        found.boxes_yxyx, torch.tensor([[20.0, 30, 80, 100]]), atol=2, rtol=0
    )
    patch, (y0, x0, y1, x1) = paste_mask_in_box(
        found.mask_logits[0].sigmoid(), found.boxes_yxyx[0], size
    )
    pasted = torch.zeros(size, dtype=torch.bool)
    pasted[y0:y1, x0:x1] = patch > 0.5
    truth = shape_image()[0] > 0.5
    assert (pasted & truth).sum() / (pasted | truth).sum() > 0.9
    semantic = found.semantic_classes == 2
    assert (semantic & truth).sum() / (semantic | truth).sum() > 0.9


def test_the_surest_view_gives_box_and_score() -> None:
    found = infer_views(
        ShapeFinder(), views(shape_image(), scales=(0.5, 2.0), flip=False), (100, 160)
    )
    assert found.scores.tolist() == pytest.approx([0.9])
    torch.testing.assert_close(
        found.boxes_yxyx, torch.tensor([[20.0, 30, 80, 100]]), atol=0.6, rtol=0
    )


def test_nothing_found_in_any_view_is_no_error() -> None:
    found = infer_views(ShapeFinder(), views(torch.zeros(3, 40, 60), flip=True), (40, 60))
    assert found.boxes_yxyx.shape == (0, 4)
    assert found.mask_logits.shape == (0, 28, 28)
    assert (found.semantic_classes == 0).all()
