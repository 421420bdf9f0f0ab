"""The network, its losses and the fusion learn two pictures together."""

import pytest
import torch
from tests.eagleray_seamseg.small_network import small_network
from tests.eagleray_vision.small_batch import NUM_STUFF, SIZES, target

from eagleray_seamseg.losses import panoptic_losses
from eagleray_vision.panoptic.fusion import FusionThresholds, fuse_panoptic

COLORS = {255: (0.0, 0.0, 0.0), 1: (1.0, -1.0, 0.5), 4: (-1.0, 1.0, 1.0)}


@pytest.mark.slow
def test_two_pictures_are_learned_in_two_hundred_steps() -> None:
    torch.set_num_threads(1)
    network = small_network().train()
    targets = [target(size) for size in SIZES]
    images = 0.1 * torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    for image, truth in zip(images, targets, strict=True):
        classes = truth.classes[truth.ids]
        for value, color in COLORS.items():
            painted = (classes == value) * torch.tensor(color)[:, None, None]
            image[:, : classes.shape[0], : classes.shape[1]] += painted
    optimizer = torch.optim.SGD(network.parameters(), lr=0.02, momentum=0.9, nesterov=True)
    for step in range(200):
        generators = [torch.Generator().manual_seed(2 * step + k) for k in range(2)]
        terms = panoptic_losses(network, images, SIZES, targets, generators=generators)
        loss = sum(t.sum / max(float(t.weight), 1) for t in terms.values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    for found, truth in zip(network.eval().infer(images, SIZES), targets, strict=True):
        best = int(found.scores.argmax())
        assert found.scores[best] > 0.9
        square = torch.tensor([10.0, 20.0, 40.0, 50.0])
        assert (found.boxes_yxyx[best] - square).abs().max() < 2
        fused = fuse_panoptic(
            found.semantic_classes.numpy(),
            found.boxes_yxyx,
            found.classes,
            found.scores,
            found.mask_logits,
            num_stuff=NUM_STUFF,
            thresholds=FusionThresholds(min_stuff_area_px=50),
        )
        predicted = torch.from_numpy(fused.categories[fused.id_map])
        known = truth.ids > 0
        assert (predicted == truth.classes[truth.ids])[known].float().mean() > 0.95
