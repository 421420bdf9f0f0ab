"""Cameras, lidar and the ray caster that turn a scene into pictures with exact truth."""
