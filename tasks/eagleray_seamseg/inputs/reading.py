"""Read one photograph and place it on the network's input."""

from __future__ import annotations

from eagleray.task import Item
from eagleray_seamseg.data import PanopticSample
from eagleray_seamseg.inputs.listing import PROBLEM, input_path
from eagleray_seamseg.settings import InputSettings
from eagleray_seamseg.transforms import ImageNormalization, evaluation_placement, place_image
from eagleray_vision.images.errors import UnreadableImageError, UnsupportedImageError
from eagleray_vision.images.reading import read_rgb


def load_input(
    item: Item, settings: InputSettings, normalization: ImageNormalization, *, faithful: bool
) -> PanopticSample:
    """Read one of a user's photographs; it is turned upright by its EXIF tag.

    Args:
        item: One item of `list_inputs`.
        settings: Sizes of the network input.
        normalization: Colors that the network expects.
        faithful: Ignore the largest length of the longer side, as the original does.

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
    placement = evaluation_placement(
        (photo.shape[0], photo.shape[1]),
        shortest_px=settings.shortest_px,
        longest_max_px=None if faithful else settings.longest_max_px,
    )
    height, width = placement.size_hw
    if height * width > settings.max_network_px:
        raise UnsupportedImageError(
            f"{item.payload['path']}: {photo.shape[1]} x {photo.shape[0]} pixels would be enlarged "
            f"or reduced to a network input of {width} x {height} = {height * width}, at most "
            f"{settings.max_network_px} are allowed; set faithful to false, so that "
            f"input.longest_max_px holds, or raise input.max_network_px"
        )
    return PanopticSample(item.key, place_image(photo, placement, normalization), photo)
