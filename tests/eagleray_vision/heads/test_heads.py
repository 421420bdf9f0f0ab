import pytest
import torch
from torch.nn import functional as F

from eagleray_vision.heads.mask_rcnn import MaskRcnnHead
from eagleray_vision.heads.mini_dl import MiniDeepLabHead
from eagleray_vision.heads.rpn import RpnHead, flatten_levels
from eagleray_vision.layers.activated_norm import NormSpec


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("count", [0, 1, 3])
def test_mask_rcnn_head_runs_on_any_number_of_rois(count: int, training: bool) -> None:
    head = MaskRcnnHead(4, 3, (14, 14), NormSpec(), hidden_channels=8, mask_channels=6)
    rois = torch.randn(count, 4, 14, 14, requires_grad=True)
    logits, codes, masks = head.train(training)(rois)
    assert logits.shape == (count, 4)
    assert codes.shape == (count, 3, 4)
    assert masks.shape == (count, 3, 28, 28)
    (logits.sum() + codes.sum() + masks.sum()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in head.parameters())


def test_box_code_of_class_k_are_rows_4k_to_4k_plus_3() -> None:
    head = MaskRcnnHead(2, 3, (2, 2), NormSpec(), hidden_channels=4, mask_channels=2).eval()
    torch.nn.init.zeros_(head.roi_bbx.weight)
    head.roi_bbx.bias.data = torch.arange(12.0)
    codes = head.boxes(torch.randn(1, 2, 1, 1))[1]
    assert codes[0].tolist() == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]


def test_rpn_head_without_norm_is_a_biased_convolution_and_relu() -> None:
    head = RpnHead(3, 2, None, hidden_channels=5)
    assert set(head.state_dict()) == {
        f"{m}.{p}" for m in ("conv1", "conv_obj", "conv_bbx") for p in ("weight", "bias")
    }
    x = torch.randn(1, 3, 4, 4)
    torch.testing.assert_close(head(x)[0], head.conv_obj(F.relu(head.conv1(x))))


def test_levels_are_flattened_row_column_anchor() -> None:
    codes = torch.arange(2 * 8 * 2 * 3).view(2, 8, 2, 3)
    logits = torch.arange(2 * 2 * 2 * 3).view(2, 2, 2, 3)
    flat_logits, flat_codes = flatten_levels([logits, logits], [codes, codes])
    assert flat_logits.shape == (2, 24)
    for i in range(2):
        for j in range(3):
            for a in range(2):
                k = 12 + (i * 3 + j) * 2 + a
                assert flat_logits[1, k] == logits[1, a, i, j]
                assert torch.equal(flat_codes[1, k], codes[1, 4 * a : 4 * a + 4, i, j])


def test_semantic_head_gives_logits_at_the_finest_level() -> None:
    head = MiniDeepLabHead(3, 2, 5, NormSpec(), hidden_channels=4)
    levels = [torch.randn(2, 3, 9, 13), torch.randn(2, 3, 5, 7)]
    assert head(levels).shape == (2, 5, 9, 13)
