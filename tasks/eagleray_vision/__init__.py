"""The shared toolbox of the segmentation systems: metrics, geometry, detection, panoptic blocks.

Nothing in here knows one particular system, and nothing imports the engine but its contract module
``eagleray.task``. Sub-packages are imported by name (``eagleray_vision.detection.nms``), so that a
process which only decodes images never loads torch.
"""
