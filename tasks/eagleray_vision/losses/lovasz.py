"""Lovasz-softmax (Berman et al., "The Lovasz-Softmax Loss", CVPR 2018), a surrogate of the IoU."""

from __future__ import annotations

import torch
from torch import Tensor


def lovasz_softmax(probabilities: Tensor, labels: Tensor, ignore_label: int = 255) -> Tensor:
    """Return the mean of the classes' surrogates over the classes that occur.

    Args:
        probabilities: ``(N, C, ...)`` in 0..1.
        labels: ``(N, ...)`` integers, 0..C-1 or ``ignore_label``.
        ignore_label: Places that count nowhere.

    Returns:
        A scalar; zero (with a gradient of zero) where nothing is labeled.
    """
    num_classes = probabilities.shape[1]
    labels = labels.reshape(-1)
    counted = labels != ignore_label
    labels = labels[counted]
    flat = probabilities.movedim(1, -1).reshape(-1, num_classes)[counted].float()
    losses = []
    for c in torch.unique(labels).tolist():
        truth = (labels == c).to(flat.dtype)
        errors, order = (truth - flat[:, c]).abs().sort(descending=True)
        losses.append(errors @ _jaccard_differences(truth[order]))
    if not losses:
        return probabilities.sum() * 0
    return torch.stack(losses).mean()


def _jaccard_differences(truth: Tensor) -> Tensor:
    """Return by how much each further error, largest first, lowers the Jaccard index, ``(n,)``."""
    count = truth.sum()
    intersection = count - truth.cumsum(0)
    union = count + (1 - truth).cumsum(0)
    lost = 1 - intersection / union
    return torch.cat((lost[:1], lost.diff()))
