"""From a configuration of the original to an experiment of ours, and what has no place in it.

The written values are the differences to the preset that needs the fewest: a configuration of the
paper becomes little more than ``preset: vistas_r50``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from pydantic import ValidationError

from eagleray.task import Phase, SettingsError
from eagleray_seamseg.model.config import RESNET_DEPTHS
from eagleray_seamseg.original_config.ini import OriginalConfig
from eagleray_seamseg.original_config.schedule import phase_of
from eagleray_seamseg.settings import PAPER_WORKERS, Preset, SeamlessSettings, paper_phase

_OTHER_NAME: Mapping[str, tuple[str, ...]] = {
    "body": ("body", "body_params", "out_channels", "out_strides"),
    "fpn": ("out_strides",),
    "rpn": ("stride",),
    "roi": (),
    "sem": (),
}
"""Sections of the network, and their keys that ``settings.network`` does not have under the same
section and name."""

_BODY_PARAMS: Mapping[str, str] = {
    "dilation": "dilation",
    "dropout": "dropout",
    "caffe_mode": "stem_bias",
}
"""Options of the backbone and their names in ``network.body``."""

_NO_COUNTERPART: Mapping[tuple[str, str], str] = {
    ("general", "val_interval"): "it counts epochs; train.validate_on.every counts optimizer steps",
    ("general", "cudnn_benchmark"): "the engine leaves the choice of algorithms to PyTorch",
    ("body", "out_channels"): "they follow from the backbone",
    ("body", "out_strides"): "they follow from the backbone",
    ("fpn", "out_strides"): "they follow from fpn.inputs and fpn.extra_scales",
    ("rpn", "stride"): "the original ignores it, the RPN has stride 1",
    ("dataloader", "coco_gt"): "AP is computed from the labels, no COCO file is read",
}
"""Keys that no setting stands for, and why."""

_FLIP_PROBABILITY = 0.5
"""Probability of a flip where ``random_flip`` is on."""

ConfigNotes = tuple[dict[str, Any], tuple[str, ...]]


def experiment_of(config: OriginalConfig, root: str, metadata: str = "") -> ConfigNotes:
    """Translate a configuration.

    Args:
        config: What the file says.
        root: Folder of the converted data set (the original takes it on its command line).
        metadata: A ``metadata.bin`` with the class list, where the data set may be absent.

    Returns:
        Values of an experiment's YAML, and what was not carried over.

    Raises:
        SettingsError: A value is impossible.
    """
    try:
        wanted = SeamlessSettings.model_validate(_settings_of(config, root, metadata))
        phase = Phase.model_validate(phase_of(config, batch_size=_batch_size(config)))
    except ValidationError as error:
        raise SettingsError(f"{config.name}: {_explained(error)}") from error
    preset = min(get_args(Preset), key=lambda name: _num_leaves(_beyond(wanted, name)))
    settings = {"preset": preset, **_beyond(wanted, preset)}
    train: dict[str, Any] = {}
    if ("dataloader", "num_workers") in config.stated:
        train["loader_workers"] = config.get("dataloader", "num_workers")
    if ("general", "log_interval") in config.stated:
        train["log_every"] = config.get("general", "log_interval")
    changed = difference(_plain(phase), _plain(paper_phase(preset)))
    if changed:
        train["phases"] = [changed]
    experiment: dict[str, Any] = {"task": "seamseg", "settings": settings}
    if train:
        experiment["train"] = train
    if config.get("dataloader", "val_batch_size"):
        experiment["evaluate"] = {"batch_size": config.get("dataloader", "val_batch_size")}
    return experiment, _notes(config)


def network_values(config: OriginalConfig) -> dict[str, Any]:
    """Return the values of ``settings.network``."""
    values: dict[str, Any] = {
        section: {k: v for k, v in config.values[section].items() if k not in others}
        for section, others in _OTHER_NAME.items()
        if section in config.values
    }
    backbone = config.get("body", "body")
    if backbone not in RESNET_DEPTHS:
        raise SettingsError(
            f"{config.name}: [body] body = {backbone!r}; known are {', '.join(RESNET_DEPTHS)}"
        )
    values["body"].update(backbone=backbone, **_body_params(config))
    values["loss_weights"] = _loss_weights(config)
    if config.kind != "panoptic":
        values["layout"] = "instance"
    return values


def difference(values: Mapping[str, Any], base: Mapping[str, Any]) -> dict[str, Any]:
    """Return the nested values that a base does not have already.

    Example:
        >>> difference({"a": 1, "b": {"c": 2, "d": 3}}, {"a": 1, "b": {"c": 2, "d": 4}})
        {'b': {'d': 3}}
    """
    differing: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping) and isinstance(base.get(key), Mapping):
            deeper = difference(value, base[key])
            if deeper:
                differing[key] = deeper
        elif key not in base or value != base[key]:
            differing[key] = value
    return differing


def _settings_of(config: OriginalConfig, root: str, metadata: str) -> dict[str, Any]:
    get = config.get
    data = {"format": "seamless", "root": root, "metadata": metadata}
    for key, name in (("train_set", "train_split"), ("val_set", "val_split")):
        if get("dataloader", key):
            data[name] = get("dataloader", key)
    settings: dict[str, Any] = {
        "preset": "package",
        "data": data,
        "input": {
            "shortest_px": get("dataloader", "shortest_size"),
            "longest_max_px": get("dataloader", "longest_max_size"),
            "random_scale": get("dataloader", "random_scale") or None,
            "flip_probability": _FLIP_PROBABILITY if get("dataloader", "random_flip") else 0.0,
            "rgb_mean": get("dataloader", "rgb_mean"),
            "rgb_std": get("dataloader", "rgb_std"),
        },
        "network": network_values(config),
        "norm_weight_decay": get("optimizer", "weight_decay_norm"),
    }
    if config.kind == "panoptic":
        settings["fusion"] = {
            "score_threshold": get("general", "score_threshold"),
            "overlap_threshold": get("general", "overlap_threshold"),
            "min_stuff_area_px": get("general", "min_stuff_area"),
        }
        settings["evaluation"] = {
            "mode": get("general", "eval_mode"),
            "coco_ap": get("general", "eval_coco"),
        }
    else:
        settings["evaluation"] = {"mode": "separate", "coco_ap": True}
    return settings


def _body_params(config: OriginalConfig) -> dict[str, Any]:
    given = config.get("body", "body_params") or {}
    unknown = set(given) - set(_BODY_PARAMS) if isinstance(given, Mapping) else {repr(given)}
    if unknown:
        raise SettingsError(
            f"{config.name}: [body] body_params: {', '.join(sorted(map(str, unknown)))} cannot be "
            f"carried over; a dictionary with {', '.join(_BODY_PARAMS)} can"
        )
    values = {_BODY_PARAMS[name]: value for name, value in given.items()}
    for name, missing in (("dilation", 1), ("dropout", 0.0)):
        if name in values:
            value = values[name]
            each = value if isinstance(value, list | tuple) else [value] * 4
            values[name] = tuple(missing if one is None else one for one in each)
    return values


def _loss_weights(config: OriginalConfig) -> tuple[float, ...]:
    """Return six weights: losses that the kind does not have weigh nothing."""
    given = config.get("optimizer", "loss_weights")
    count = {"panoptic": 6, "instance_seg": 5, "detection": 4}[config.kind]
    weights = tuple(given) if given is not None else (1.0,) * count
    if len(weights) != count:
        raise SettingsError(
            f"{config.name}: [optimizer] loss_weights has {len(weights)} numbers, a {config.kind} "
            f"configuration has {count}"
        )
    return weights + (0.0,) * (6 - count)


def _batch_size(config: OriginalConfig) -> int:
    """Return the samples per step of the paper's eight workers; the file counts those of one."""
    return PAPER_WORKERS * (config.get("dataloader", "train_batch_size") or 1)


def _notes(config: OriginalConfig) -> tuple[str, ...]:
    get = config.get
    notes = [*config.unknown]
    notes += [
        f"[{section}] {key} has no counterpart: {why}"
        for (section, key), why in _NO_COUNTERPART.items()
        if (section, key) in config.stated
    ]
    notes.append(
        f"train.phases.0.batch_size {_batch_size(config)} is that of {PAPER_WORKERS} workers as in "
        "the paper: the original states images per worker "
        f"({get('dataloader', 'train_batch_size') or 'left empty, so 1'}), and its launcher the "
        "number of workers, here train.strategy and train.num_workers"
    )
    strides, levels = (
        get("fpn", "out_strides"),
        len(get("fpn", "inputs")) + get("fpn", "extra_scales"),
    )
    if ("fpn", "out_strides") in config.stated and len(strides) != levels:
        notes.append(
            f"[fpn] out_strides lists {len(strides)} levels, but the pyramid has {levels} "
            "(inputs + extra_scales), which is what counts here"
        )
    if not get("body", "weights") and get("body", "num_frozen") > 0:
        notes.append(
            "[body] weights is empty: the original would train on a frozen random stem; here "
            "training is refused until network.body.weights or train.init_from names weights, or "
            "network.body.num_frozen is 0"
        )
    by_epoch = get("scheduler", "update_mode") == "epoch"
    if by_epoch and get("scheduler", "type") in ("poly", "linear"):
        notes.append(
            "[scheduler] update_mode = epoch: the learning rate changes with every step instead; "
            "set train.phases.0.schedule.hold_steps to the steps of an epoch to have it change by "
            "epochs"
        )
    return (*notes, *_kind_notes(config))


def _kind_notes(config: OriginalConfig) -> tuple[str, ...]:
    """Say what an instance_seg or detection configuration cannot have here."""
    heads = (
        f"a {config.kind} configuration: network.layout instance has no semantic head, so there "
        "are no fused maps, panoptic quality or mean IoU; COCO AP of the detections is scored"
    )
    masks = (
        "a network without mask branch does not exist here: the branch is built, its loss weighs "
        "0, and masks and their AP mean nothing"
    )
    return {"panoptic": (), "instance_seg": (heads,), "detection": (heads, masks)}[config.kind]


def _beyond(wanted: SeamlessSettings, preset: str) -> dict[str, Any]:
    differing = difference(
        _plain(wanted), _plain(SeamlessSettings.model_validate({"preset": preset}))
    )
    differing.pop("preset", None)
    return differing


def _plain(model: SeamlessSettings | Phase) -> dict[str, Any]:
    return model.model_dump(mode="json")


def _num_leaves(values: Mapping[str, Any]) -> int:
    return sum(_num_leaves(v) if isinstance(v, Mapping) else 1 for v in values.values())


def _explained(error: ValidationError) -> str:
    return "; ".join(
        f"{'.'.join(map(str, entry['loc']))}: {entry['msg'].removeprefix('Value error, ')}, "
        f"found {entry['input']!r}"
        for entry in error.errors(include_url=False)
    )
