"""Network layers that the panoptic systems share: normalization, residual blocks, pyramid."""
