"""A scene as frozen data: classes, materials, poses, solids, objects with their motion."""
