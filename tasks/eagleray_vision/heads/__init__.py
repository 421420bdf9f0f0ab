"""Prediction heads that the panoptic systems share: RPN, Mask R-CNN, Mini-DL."""
