"""The network of EfficientPS."""
