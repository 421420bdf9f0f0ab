"""``raw``: what a network says before fusion, as a file for ``torch.load``."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import torch

from eagleray.task import Item, Record
from eagleray_vision.panoptic.label_space import LabelSpace
from eagleray_vision.samples.sample import PanopticSample


def raw_file(
    item: Item, sample: PanopticSample, space: LabelSpace, content: Mapping[str, Any], suffix: str
) -> Record:
    """Write ``raw/<name><suffix>``, which opens with ``weights_only=True``.

    Added to the content are ``original_size`` and ``input_size`` [height, width], ``num_stuff``,
    ``classes`` (names, stuff first) and ``original_ids``.

    Args:
        item: The user's file.
        sample: It, as read.
        space: Class list.
        content: Tensors and plain values. A part of a batch is to be a clone, since it would be
            saved with the whole batch.
        suffix: With its dot.
    """
    around = {
        "original_size": list(sample.output_hw),
        "input_size": list(sample.network_hw),
        "num_stuff": space.num_stuff,
        "classes": list(space.class_names),
        "original_ids": list(space.original_ids),
    }
    buffer = io.BytesIO()
    torch.save({**content, **around}, buffer)
    return Record(item.key, {}, {f"raw/{item.key}{suffix}": buffer.getvalue()})
