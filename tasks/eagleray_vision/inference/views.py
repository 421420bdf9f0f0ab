"""Inference on samples: as they are, or through several views of each (``test_time``)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated

from pydantic import Field, field_validator

from eagleray.task import InputError, Settings
from eagleray_vision.inference.multi_view import CHUNK_PIXELS, View, infer_views
from eagleray_vision.inference.network import PanopticNetwork, Size
from eagleray_vision.inference.prediction import PanopticInference, PanopticPrediction
from eagleray_vision.samples.placement import ImageNormalization, Placement, Resizing, place_image
from eagleray_vision.samples.sample import PanopticSample, pad_images


class TestTimeSettings(Settings):
    """Several views of an image for one prediction; ``multi_view.py`` says how they meet."""

    __test__ = False

    scales: tuple[Annotated[float, Field(gt=0, le=4)], ...] = Field(
        (1.0,),
        min_length=1,
        description="Sizes at which an image is looked at, as multiples of the network input. The "
        "original has 1 alone.",
    )
    flip: bool = Field(False, description="Look at the mirror image too, at every scale.")

    @field_validator("scales")
    @classmethod
    def _different(cls, scales: tuple[float, ...]) -> tuple[float, ...]:
        if len(set(scales)) < len(scales):
            raise ValueError(f"test_time.scales {scales} names a scale twice")
        return scales

    @property
    def is_on(self) -> bool:
        """Whether there is more to look at than the network input."""
        return self.flip or self.scales != (1.0,)


def infer_samples(
    network: PanopticNetwork,
    samples: Sequence[PanopticSample],
    test_time: TestTimeSettings,
    normalization: ImageNormalization,
    *,
    multiple: int = 1,
    resizing: Resizing = "pillow",
    chunk_pixels: int = CHUNK_PIXELS,
) -> list[PanopticInference]:
    """Run a network on samples, the way of evaluation and prediction alike.

    Args:
        network: The network, on any device.
        samples: Images, with or without labels.
        test_time: Which views are taken.
        normalization: Colors that the network expects.
        multiple: Heights and widths that the network reads are multiples of this: batches are
            padded to it, views of other scales resized to it.
        resizing: Rule by which views are resized.
        chunk_pixels: Pixels whose full-size probabilities are held at a time.

    Returns:
        One prediction per sample in pixels of its network input, on the network's device. With the
        scale 1 alone and no mirroring this is ``network.infer`` on the whole batch; else every
        sample is predicted alone.

    Raises:
        InputError: Another scale is asked for and a sample comes without its photograph.
    """
    if not test_time.is_on:
        device = next(network.parameters()).device
        images, sizes = pad_images([sample.image for sample in samples], multiple=multiple)
        return network.infer(images.to(device), sizes)
    return [
        infer_views(
            network,
            sample_views(sample, test_time, normalization, multiple=multiple, resizing=resizing),
            sample.network_hw,
            chunk_pixels=chunk_pixels,
        )
        for sample in samples
    ]


def infer_by_size(
    samples: Sequence[PanopticSample],
    infer: Callable[[Sequence[PanopticSample]], Sequence[PanopticInference]],
    *,
    mixed: bool,
) -> list[PanopticInference]:
    """Give every size of a batch a forward pass of its own.

    What a network without batch statistics predicts for an image then does not depend on the others
    of its batch.

    Args:
        samples: Images.
        infer: Predicts samples that share a forward pass.
        mixed: Let samples of unequal size share one, padded to the largest.

    Returns:
        One prediction per sample, in the order of ``samples``.
    """
    groups: dict[Size | None, list[int]] = {}
    for index, sample in enumerate(samples):
        groups.setdefault(None if mixed else sample.network_hw, []).append(index)
    predicted: dict[int, PanopticInference] = {}
    for group in groups.values():
        predicted.update(zip(group, infer([samples[index] for index in group]), strict=True))
    return [predicted[index] for index in range(len(samples))]


def predict_samples(
    samples: Sequence[PanopticSample],
    infer: Callable[[Sequence[PanopticSample]], Sequence[PanopticInference]],
    fuse: Callable[[PanopticInference, Size, Size], PanopticPrediction],
    *,
    mixed: bool,
    at_network_size: bool,
) -> list[PanopticPrediction]:
    """Run a network on a batch; its output is fused when it is asked for.

    Args:
        samples: Images, with or without labels.
        infer: Predicts samples that share a forward pass.
        fuse: Gives the prediction of an output, the size of its network input, and the size of the
            fused map.
        mixed: As in `infer_by_size`.
        at_network_size: Fuse at the size of the network input, not at that of the results.
    """
    return [
        fuse(one, sample.network_hw, sample.network_hw if at_network_size else sample.output_hw)
        for one, sample in zip(infer_by_size(samples, infer, mixed=mixed), samples, strict=True)
    ]


def sample_views(
    sample: PanopticSample,
    test_time: TestTimeSettings,
    normalization: ImageNormalization,
    *,
    multiple: int = 1,
    resizing: Resizing = "pillow",
) -> list[View]:
    """Return the views of one sample.

    Scale 1 is the network input itself, unless its sides are no multiples; others are resized from
    the photograph, so that larger ones show more of its detail.

    Args:
        sample: The image.
        test_time: Which views are taken.
        normalization: Colors that the network expects.
        multiple: Sides of the views are multiples of this.
        resizing: Rule by which views are resized.

    Raises:
        InputError: Another scale is asked for and the sample has no photograph.
    """
    views = []
    for scale in test_time.scales:
        height, width = (_scaled(side, scale, multiple) for side in sample.network_hw)
        image = sample.image
        if scale != 1 or (height, width) != sample.network_hw:
            if sample.photo is None:
                raise InputError(
                    f"{sample.key}: test_time.scales needs the photograph to resize it, and the "
                    "sample comes without; use the scale 1 alone"
                )
            placement = Placement((height, width), resizing=resizing)
            image = place_image(sample.photo, placement, normalization)
        views.append(View(image, is_mirrored=False))
        if test_time.flip:
            views.append(View(image.flip(-1), is_mirrored=True))
    return views


def _scaled(side: int, scale: float, multiple: int) -> int:
    return max(1, round(scale * side / multiple)) * multiple
