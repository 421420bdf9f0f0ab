"""Sliding windows and mean IoU against mmsegmentation's, as the original OPS uses them."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.parity.cases import cases
from tests.parity.every_key import EveryKey, every_key_is_read  # noqa: F401 (a fixture)

from eagleray_vision.inference.windows import slide, sliding_windows
from eagleray_vision.metrics.mean_iou import compute_mean_iou, confusion_matrix, mean_accuracy


@pytest.mark.parametrize("path", cases("ops", "slide_windows"), ids=lambda p: p.stem)
def test_windows(path: Path) -> None:
    case = json.loads(path.read_text())
    assert case["windows"]
    for size, wanted in case["windows"].items():
        height, width = map(int, size.split("x"))
        found = sliding_windows((height, width), case["crop"], case["stride"])
        assert [[one.top, one.left, one.height, one.width] for one in found] == wanted


@pytest.mark.parametrize("path", cases("ops", "slide_average"), ids=lambda p: p.stem)
def test_average_over_windows(path: Path) -> None:
    case = EveryKey(path, __name__)
    _, _, height, width = map(int, case["image_shape"])
    windows = sliding_windows((height, width), int(case["crop"]), int(case["stride"]))
    scores = iter([torch.from_numpy(case[f"window{k}"]) for k in range(len(windows))])
    assert f"window{len(windows)}" not in case

    def predict(images: torch.Tensor) -> torch.Tensor:
        found = next(scores)
        assert images.shape[2:] == found.shape[2:]
        return found

    rows = list(slide(torch.zeros(3, height, width), windows, predict))
    torch.testing.assert_close(
        torch.cat(rows, dim=1), torch.from_numpy(case["result"])[0], rtol=1e-6, atol=1e-6
    )


@pytest.mark.parametrize("path", cases("ops", "iou_metric"), ids=lambda p: p.stem)
def test_mean_iou(path: Path) -> None:
    case = EveryKey(path, __name__)
    count = int(case["num_classes"])
    matrices = [
        confusion_matrix(truth, predicted, count)
        for truth, predicted in zip(case["gt"], case["pred"], strict=True)
    ]
    total = np.sum(matrices, axis=0)
    right, truth, predicted = np.diagonal(total), total.sum(1), total[:, :count].sum(0)
    np.testing.assert_array_equal(right, case["intersect"])
    np.testing.assert_array_equal(truth, case["label_area"])
    np.testing.assert_array_equal(predicted, case["pred_area"])
    np.testing.assert_array_equal(truth + predicted - right, case["union"])
    iou = compute_mean_iou(matrices)
    np.testing.assert_allclose(iou.per_class, case["per_class_iou"], rtol=1e-6)
    with np.errstate(invalid="ignore"):
        np.testing.assert_allclose(right / truth, case["per_class_acc"], rtol=1e-6)
    assert iou.pixel_accuracy == pytest.approx(float(case["aAcc"]), rel=1e-6)
    rounded = json.loads(str(case["rounded_percent"]))
    assert round(100 * iou.mean, 2) == rounded["mIoU"]
    assert round(100 * iou.pixel_accuracy, 2) == rounded["aAcc"]
    assert round(100 * mean_accuracy(total), 2) == rounded["mAcc"]
