"""Seamless Scene Segmentation (Porzi et al., CVPR 2019) as a plugin: one network, panoptic output."""
