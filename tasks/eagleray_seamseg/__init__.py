"""Seamless Scene Segmentation (Porzi et al., CVPR 2019): one network with panoptic output."""
