"""A toy world with exact truth: street scenes and rooms, rendered by casting rays.

Sub-packages are imported by name; the usual entry points are ``street.street_scene``,
``room.room_scene``, ``render.render``, ``lidar.sweep`` and ``panoptic.street_panoptic_sample``.
"""
