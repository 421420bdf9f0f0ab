"""A user's own photographs: find them, give each one a name, read them."""

from eagleray_vision.inputs.listing import INPUT_SUFFIXES, input_path, list_inputs
from eagleray_vision.inputs.reading import load_input

__all__ = ["INPUT_SUFFIXES", "input_path", "list_inputs", "load_input"]
