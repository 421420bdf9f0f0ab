"""OmniSeg3D (CVPR 2024, arXiv 2311.11666): one scene, a radiance field, and features that follow
the hierarchy of 2-D masks.
"""
