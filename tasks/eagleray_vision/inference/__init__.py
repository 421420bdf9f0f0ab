"""What a panoptic network predicts: from one view of an image or several, fused when asked."""
