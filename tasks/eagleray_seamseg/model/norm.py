"""Which normalization each part of the network uses (the original's ``normalization_mode``)."""

from eagleray_seamseg.model.config import BodySettings
from eagleray_vision.layers.activated_norm import NormKind, NormSpec

_KINDS: dict[str, tuple[NormKind, NormKind]] = {
    "bn": ("batch", "batch"),
    "syncbn": ("synced_batch", "synced_batch"),
    "syncbn+bn": ("synced_batch", "batch"),
    "gn": ("group", "group"),
    "syncbn+gn": ("synced_batch", "group"),
    "off": ("frozen", "frozen"),
}
"""Mode to (static, dynamic) kinds (docs/originals/seamseg.md, 1.1)."""


def norm_specs(body: BodySettings) -> tuple[NormSpec, NormSpec]:
    """Return the norms of the static part (backbone, FPN, semantic head) and the dynamic part.

    The dynamic part (RPN and RoI heads) sees another number of values in every step.
    """
    static, dynamic = (
        NormSpec(
            kind=kind,
            activation=body.activation,
            slope=body.activation_slope,
            groups=body.gn_groups,
        )
        for kind in _KINDS[body.normalization_mode]
    )
    return static, dynamic
