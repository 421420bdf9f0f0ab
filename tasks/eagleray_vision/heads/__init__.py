"""Prediction heads that the panoptic systems share: RPN, Mask R-CNN and semantic heads."""
