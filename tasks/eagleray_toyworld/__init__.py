"""A toy world with exact truth: street scenes and rooms, rendered by casting rays.

Modules are imported by name; the usual entry points are ``worlds.street.street_scene``,
``worlds.room.room_scene``, ``rendering.render.render``, ``rendering.lidar.sweep`` and
``formats.panoptic.street_panoptic_sample``. The task ``toyworld`` makes whole datasets of it.
"""
