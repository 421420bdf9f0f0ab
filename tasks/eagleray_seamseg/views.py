"""Inference on samples: as they are, or through several views of each (``settings.test_time``)."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from eagleray.task import InputError
from eagleray_seamseg.model.multi_view import View, infer_views
from eagleray_seamseg.model.network import SeamlessNetwork
from eagleray_seamseg.model.prediction import PanopticInference
from eagleray_seamseg.settings import SeamlessSettings
from eagleray_vision.samples.placement import ImageNormalization, Placement, place_image
from eagleray_vision.samples.sample import PanopticSample, pad_images


def infer_samples(
    network: SeamlessNetwork, samples: Sequence[PanopticSample], settings: SeamlessSettings
) -> list[PanopticInference]:
    """Run the network on samples, the way of evaluation and prediction alike.

    Args:
        network: The network, on any device.
        samples: Images, with or without labels.
        settings: Settings of the experiment; ``test_time`` says which views are taken.

    Returns:
        One prediction per sample in pixels of its network input, on the network's device. With the
        scale 1 alone and no mirroring this is ``SeamlessNetwork.infer`` on the whole batch; else
        every sample is predicted alone.

    Raises:
        InputError: Another scale is asked for and a sample comes without its photograph.
    """
    if not settings.test_time.is_on:
        device = next(network.parameters()).device
        images, sizes = pad_images([sample.image for sample in samples])
        return network.infer(images.to(device), sizes)
    return [
        infer_views(network, sample_views(sample, settings), sample.network_hw)
        for sample in samples
    ]


def sample_views(sample: PanopticSample, settings: SeamlessSettings) -> list[View]:
    """Return the views of one sample.

    Scale 1 is the network input itself; other scales are resized from the photograph, so that
    larger ones show more of its detail.

    Args:
        sample: The image.
        settings: Settings of the experiment.

    Raises:
        InputError: Another scale is asked for and the sample has no photograph.
    """
    views = []
    for scale in settings.test_time.scales:
        image = sample.image if scale == 1 else _resized(sample, scale, settings)
        views.append(View(image, is_mirrored=False))
        if settings.test_time.flip:
            views.append(View(image.flip(-1), is_mirrored=True))
    return views


def image_normalization(settings: SeamlessSettings) -> ImageNormalization:
    """Return the colors that the network expects: the backbone's, else the data's."""
    body, given = settings.network.body, settings.input
    return ImageNormalization(body.rgb_mean or given.rgb_mean, body.rgb_std or given.rgb_std)


def _resized(sample: PanopticSample, scale: float, settings: SeamlessSettings) -> torch.Tensor:
    if sample.photo is None:
        raise InputError(
            f"{sample.key}: test_time.scales needs the photograph to resize it, and the sample "
            "comes without; use the scale 1 alone"
        )
    height, width = sample.network_hw
    size = (max(1, round(scale * height)), max(1, round(scale * width)))
    return place_image(sample.photo, Placement(size), image_normalization(settings))
