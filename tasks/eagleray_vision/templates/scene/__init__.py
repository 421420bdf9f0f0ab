"""One scene: a field of color and density, fitted to photographs of it."""
