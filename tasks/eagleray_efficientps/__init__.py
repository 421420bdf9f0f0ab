"""EfficientPS: Efficient Panoptic Segmentation (Mohan & Valada, IJCV 2021)."""
