"""The surface of a trained scene as a mesh."""
