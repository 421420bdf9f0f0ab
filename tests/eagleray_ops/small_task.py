"""The whole task on a few small images, beside a CLIP of random weights that stands in for one."""

from pathlib import Path

from tests.eagleray_ops.small_data import CLASSES, small_settings, write_coco
from tests.eagleray_ops.small_network import ADAPTER, write_small_clip

from eagleray.api import Experiment
from eagleray_ops.task import OPSTask
from eagleray_vision.datasets.coco_stuff import COCO_STUFF

WORDS = dict(
    zip(
        [COCO_STUFF.class_names[index] for index in CLASSES],
        ("person", "car", "road", "tree"),
        strict=True,
    )
)
"""Words that the small CLIP knows, for the classes that the images show."""


def task_settings(root: Path, **changed):
    """Write images and a CLIP, and return settings for them."""
    for split, count in (("train2017", 6), ("val2017", 3)):
        write_coco(root / "coco", split, count)
    values = {
        "data": {"words": WORDS},
        "clip": {
            "weights": str(write_small_clip(root / "clip.safetensors")),
            "model": "",
            "prompts": "simple",
            "image_scale": 1.0,
        },
        "adapter": ADAPTER,
        "loss": {"points": 64},
        "vocabulary": (),
    }
    for name, value in changed.items():
        both = isinstance(value, dict) and isinstance(values.get(name), dict)
        values[name] = {**values[name], **value} if both else value
    return small_settings(root, **values)


def small_task(root: Path, **changed) -> OPSTask:
    return OPSTask(task_settings(root, **changed))


def small_experiment(root: Path, **changed) -> Experiment:
    return Experiment.from_values(small_values(root, **changed), inline=True)


def small_values(root: Path, *, steps=4, train=None, phase=None, **changed):
    """Write images and a CLIP, and return an experiment as its YAML would have it."""
    settings = task_settings(root, **changed).model_dump(mode="json", exclude_unset=True)
    return {
        "task": "ops",
        "settings": settings,
        "storage": str(root / "storage"),
        "train": {
            "phases": [
                {"name": "main", "steps": steps, "batch_size": 2, "lr": 3e-3, "precision": "fp32"}
                | (phase or {})
            ],
            **(train or {}),
        },
    }
