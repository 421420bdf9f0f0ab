"""Collects the objects of a scene while it is being furnished."""

from __future__ import annotations

from eagleray_toyworld.scene.classes import StreetClass, street_class
from eagleray_toyworld.scene.pose import Pose
from eagleray_toyworld.scene.scene import Motion, Part, SceneObject


class Collector:
    """Gives out object numbers in the order of placing, from 1.

    Attributes:
        objects: What was placed so far.
    """

    def __init__(self) -> None:
        self.objects: list[SceneObject] = []

    def add(
        self,
        kind: str | StreetClass,
        parts: tuple[Part, ...],
        pose: Pose | None = None,
        motion: Motion | None = None,
    ) -> None:
        """Place one object.

        Args:
            kind: Its class, or the class's name.
            parts: Its pieces.
            pose: World pose at time 0; by default the origin.
            motion: How it moves; by default not at all.

        Raises:
            ValueError: There is no class of that name.
        """
        self.objects.append(
            SceneObject(
                object_id=len(self.objects) + 1,
                street_class=street_class(kind) if isinstance(kind, str) else kind,
                parts=parts,
                pose=pose or Pose(),
                motion=motion or Motion(),
            )
        )
