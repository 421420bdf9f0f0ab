"""Read pretrained EfficientNet weights in timm's names (``tf_efficientnet_b5`` and its like).

The ImageNet weights were trained with squeeze-and-excitation, swish and signed scales, so they are
only partly meaningful here; the released code accepts that, and so does this.
"""

from pathlib import Path

from eagleray_efficientps.model.efficientnet import EfficientNet
from eagleray_efficientps.model.original_names import our_name
from eagleray_vision.weights.tensors import WeightFileError, read_tensors, require_plain

CLASSIFIER = "classifier."
EXCITATION = ".excite."
"""Parts of an ImageNet network that this one may lack."""

_PREFIX = "backbone."
_NUM_NAMED = 5


def load_backbone_weights(backbone: EfficientNet, path: Path) -> None:
    """Copy pretrained weights into a backbone, every tensor of it.

    The classifier, counters of batches and, where the backbone has none, squeeze-and-excitation
    units are left out; anything else that is not the backbone's is refused.

    Args:
        backbone: The backbone.
        path: File of tensors by timm's names.

    Raises:
        WeightFileError: The file cannot be read, or tensors are missing, unknown or of another
            shape.
    """
    wanted = backbone.state_dict()
    found, unknown = {}, []
    for name, value in read_tensors(path).items():
        ours = our_name(_PREFIX + name)
        if name.startswith(CLASSIFIER) or ours is None:
            continue
        ours = ours.removeprefix(_PREFIX)
        if ours in wanted:
            found[ours] = value
        elif EXCITATION not in ours:
            unknown.append(name)
    missing = sorted(set(wanted) - set(found))
    wrong = sorted(
        name for name, value in found.items() if getattr(value, "shape", None) != wanted[name].shape
    )
    if missing or wrong or unknown:
        raise WeightFileError(
            f"{path} does not fit network.backbone: of {len(wanted)} tensors {len(missing)} are "
            f"missing (first: {missing[:_NUM_NAMED]}), {len(wrong)} have another shape (first: "
            f"{wrong[:_NUM_NAMED]}), {len(unknown)} are unknown (first: {unknown[:_NUM_NAMED]}); "
            "network.backbone.name and the file must belong together (timm's "
            "tf_efficientnet_b0, _b4, _b5)"
        )
    require_plain(path, found)
    backbone.load_state_dict(found)
