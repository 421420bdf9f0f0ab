"""Read one photograph and place it on the network's input."""

from __future__ import annotations

from collections.abc import Callable

from eagleray.task import Item
from eagleray_vision.images.errors import UnreadableImageError, UnsupportedImageError
from eagleray_vision.images.reading import read_rgb
from eagleray_vision.inputs.listing import PROBLEM, input_path
from eagleray_vision.samples.placement import ImageNormalization, Placement, place_image
from eagleray_vision.samples.sample import PanopticSample


def load_input(
    item: Item,
    place: Callable[[tuple[int, int]], Placement],
    normalization: ImageNormalization,
    *,
    max_network_px: int,
    hint: str,
) -> PanopticSample:
    """Read one of a user's photographs; it is turned upright by its EXIF tag.

    Args:
        item: One item of `list_inputs`.
        place: How a photograph of a size enters the network.
        normalization: Colors that the network expects.
        max_network_px: Largest network input in pixels.
        hint: What to do where a photograph would need more, for the message.

    Returns:
        The sample.

    Raises:
        UnreadableImageError: The file is damaged, missing, no image or no file.
        UnsupportedImageError: The image has floating-point pixels, too many of them, or sides so
            unequal that the network input would be too large.
    """
    if PROBLEM in item.payload:
        raise UnreadableImageError(f"{item.payload['path']}: {item.payload[PROBLEM]}")
    photo = read_rgb(input_path(item), apply_orientation=True)
    placement = place((photo.shape[0], photo.shape[1]))
    height, width = placement.placed_hw
    if height * width > max_network_px:
        raise UnsupportedImageError(
            f"{item.payload['path']}: {photo.shape[1]} x {photo.shape[0]} pixels would be enlarged "
            f"or reduced to a network input of {width} x {height} = {height * width}, at most "
            f"{max_network_px} are allowed; {hint}"
        )
    return PanopticSample(item.key, place_image(photo, placement, normalization), photo)
