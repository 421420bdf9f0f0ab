"""Typed errors for panoptic labels that contradict themselves or their images."""

from __future__ import annotations

from eagleray.task import InputError


class PanopticError(InputError):
    """Base of everything that can be wrong with a panoptic label or prediction."""


class MissingLabelFileError(PanopticError):
    """A JSON names a file that does not exist, or an image has no label."""


class LabelSizeError(PanopticError):
    """A label map and its image, or two label maps, have different sizes."""


class UnknownCategoryError(PanopticError):
    """A segment's category is not in the class list."""


class UnlistedSegmentError(PanopticError):
    """Pixels carry a segment id that the segment list does not name."""


class EmptySegmentError(PanopticError):
    """A listed segment has no pixels."""


class SegmentListError(PanopticError):
    """A segment list is malformed: an id is doubled or out of range, or a key is missing."""


class LabelFormatError(PanopticError):
    """A label file is of another kind than its format asks for."""
