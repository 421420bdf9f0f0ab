"""Every key of the original's ``.ini`` files with its type and its packaged default.

The original has three kinds of configuration, each with a default file of its own: panoptic,
instance_seg and detection. A user's file is read on top of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["panoptic", "instance_seg", "detection"]
Getter = Literal["int", "float", "boolean", "struct", "text"]

NUM_LOSSES: Mapping[int, Kind] = {6: "panoptic", 5: "instance_seg", 4: "detection"}
"""Kind by the number of ``loss_weights``."""


@dataclass(frozen=True, slots=True)
class Key:
    """One key of a section.

    Attributes:
        getter: How its text is read; ``struct`` is a Python literal.
        default: Packaged default; None where the package leaves the key empty.
        kinds: Kinds of configuration that have it.
    """

    getter: Getter
    default: Any
    kinds: tuple[Kind, ...] = ("panoptic", "instance_seg", "detection")


def _panoptic(getter: Getter, default: Any) -> Key:
    return Key(getter, default, ("panoptic",))


SECTIONS: Mapping[str, Mapping[str, Key]] = {
    "general": {
        "val_interval": Key("int", 1),
        "log_interval": Key("int", 10),
        "cudnn_benchmark": Key("boolean", False),
        "score_threshold": _panoptic("float", 0.5),
        "overlap_threshold": _panoptic("float", 0.5),
        "min_stuff_area": _panoptic("int", 4096),
        "eval_mode": _panoptic("text", "panoptic"),
        "eval_coco": _panoptic("boolean", False),
    },
    "body": {
        "body": Key("text", "resnet50"),
        "weights": Key("text", None),
        "normalization_mode": Key("text", "syncbn"),
        "activation": Key("text", "leaky_relu"),
        "activation_slope": Key("float", 0.01),
        "gn_groups": Key("int", 16),
        "body_params": Key("struct", {}),
        "num_frozen": Key("int", 2),
        "bn_frozen": Key("boolean", True),
        "out_channels": Key(
            "struct", {"mod1": 64, "mod2": 256, "mod3": 512, "mod4": 1024, "mod5": 2048}
        ),
        "out_strides": Key("struct", {"mod1": 4, "mod2": 4, "mod3": 8, "mod4": 16, "mod5": 32}),
    },
    "fpn": {
        "out_channels": Key("int", 256),
        "extra_scales": Key("int", 0),
        "interpolation": Key("text", "nearest"),
        "inputs": Key("struct", ["mod2", "mod3", "mod4", "mod5"]),
        "out_strides": Key("struct", (4, 8, 16, 32)),
    },
    "rpn": {
        "hidden_channels": Key("int", 256),
        "stride": Key("int", 1),
        "anchor_ratios": Key("struct", (1.0, 0.5, 2.0)),
        "anchor_scale": Key("float", 8.0),
        "nms_threshold": Key("float", 0.7),
        "num_pre_nms_train": Key("int", 12000),
        "num_post_nms_train": Key("int", 2000),
        "num_pre_nms_val": Key("int", 6000),
        "num_post_nms_val": Key("int", 300),
        "min_size": Key("float", 16.0),
        "num_samples": Key("int", 256),
        "pos_ratio": Key("float", 0.5),
        "pos_threshold": Key("float", 0.7),
        "neg_threshold": Key("float", 0.3),
        "void_threshold": Key("float", 0.7),
        "sigma": Key("float", 3.0),
        "fpn_min_level": Key("int", 0),
        "fpn_levels": Key("int", 4),
    },
    "roi": {
        "roi_size": Key("struct", (14, 14)),
        "num_samples": Key("int", 128),
        "pos_ratio": Key("float", 0.25),
        "pos_threshold": Key("float", 0.5),
        "neg_threshold_hi": Key("float", 0.5),
        "neg_threshold_lo": Key("float", 0.0),
        "void_threshold": Key("float", 0.7),
        "void_is_background": Key("boolean", False, ("panoptic", "instance_seg")),
        "nms_threshold": Key("float", 0.3),
        "score_threshold": Key("float", 0.05),
        "max_predictions": Key("int", 100),
        "fpn_canonical_scale": Key("float", 224.0),
        "fpn_canonical_level": Key("int", 2),
        "fpn_min_level": Key("int", 0),
        "fpn_levels": Key("int", 4),
        "sigma": Key("float", 1.0),
        "bbx_reg_weights": Key("struct", (10.0, 10.0, 5.0, 5.0)),
    },
    "sem": {
        "fpn_min_level": _panoptic("int", 0),
        "fpn_levels": _panoptic("int", 4),
        "pooling_size": _panoptic("struct", (64, 64)),
        "ohem": _panoptic("struct", 0.25),
    },
    "optimizer": {
        "lr": Key("float", 0.01),
        "weight_decay": Key("float", 1e-4),
        "weight_decay_norm": Key("boolean", True),
        "momentum": Key("float", 0.9),
        "nesterov": Key("boolean", True),
        "loss_weights": Key("struct", None),
    },
    "scheduler": {
        "epochs": Key("int", 90),
        "type": Key("text", "poly"),
        "update_mode": Key("text", "batch"),
        "params": Key("struct", {"gamma": 0.9}),
        "burn_in_steps": Key("int", 500),
        "burn_in_start": Key("float", 0.333),
    },
    "dataloader": {
        "shortest_size": Key("int", 1024),
        "longest_max_size": Key("int", 2048),
        "random_scale": Key("struct", (0.8, 1.0)),
        "random_flip": Key("boolean", True),
        "train_batch_size": Key("int", None),
        "val_batch_size": Key("int", None),
        "rgb_mean": Key("struct", (0.485, 0.456, 0.406)),
        "rgb_std": Key("struct", (0.229, 0.224, 0.225)),
        "num_workers": Key("int", 8),
        "train_set": Key("text", None),
        "val_set": Key("text", None),
        "coco_gt": Key("text", None),
    },
}
"""Keys by section."""


def keys_of(kind: Kind) -> dict[str, dict[str, Key]]:
    """Return the sections and keys that one kind of configuration has.

    Example:
        >>> "sem" in keys_of("detection"), "void_is_background" in keys_of("detection")["roi"]
        (False, False)
    """
    chosen = {
        section: {name: key for name, key in keys.items() if kind in key.kinds}
        for section, keys in SECTIONS.items()
    }
    return {section: keys for section, keys in chosen.items() if keys}
