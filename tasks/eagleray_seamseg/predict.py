"""Inference: network output to fused maps, a user's own files, and export formats."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from eagleray.task import InputError, Item, Record
from eagleray_seamseg.data import PanopticSample, pad_images
from eagleray_seamseg.evaluation import resize_panoptic, scaled_boxes, without_crowds
from eagleray_seamseg.model.network import SeamlessNetwork
from eagleray_seamseg.model.prediction import PanopticInference
from eagleray_seamseg.picture import panoptic_picture
from eagleray_seamseg.settings import InputSettings, SeamlessSettings
from eagleray_seamseg.transforms import ImageNormalization, evaluation_placement, place_image
from eagleray_vision.images.reading import read_rgb
from eagleray_vision.images.resizing import resize_nearest
from eagleray_vision.panoptic.coco_panoptic import segments_info
from eagleray_vision.panoptic.fusion import FusionThresholds, fuse_panoptic
from eagleray_vision.panoptic.label_image import deep_ids_png, rgb_ids_png
from eagleray_vision.panoptic.label_space import LabelSpace
from eagleray_vision.panoptic.panoptic_map import IndexedPanoptic

INPUT_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp"})
"""Files that are read from a folder, in any case (the original takes three of them, lower case
only)."""

EXPORT_FORMATS = ("overlay", "coco_panoptic", "cityscapes_instance_ids", "raw")
_JPEG_QUALITY = 90
_INSTANCES_PER_LABEL = 1000
_MAX_DEEP_ID = 65535


@dataclass(frozen=True, slots=True)
class PanopticPrediction:
    """What is known about one image.

    Attributes:
        fused: Panoptic map; at the network input's size where the original's defects are kept, else
            at the size at which results are reported.
        semantic_classes: ``(H, W)`` int64 class per pixel of the semantic head, at the size of
            ``fused``.
        inference: The network's output on the CPU, in pixels of its input.
    """

    fused: IndexedPanoptic
    semantic_classes: npt.NDArray[np.int64]
    inference: PanopticInference


def predict_panoptic(
    network: SeamlessNetwork, samples: Sequence[PanopticSample], settings: SeamlessSettings
) -> list[PanopticPrediction]:
    """Run the network on a batch and fuse its output.

    Args:
        network: The network, on any device.
        samples: Images, with or without labels.
        settings: Settings of the experiment.

    Returns:
        One prediction per sample.
    """
    device = next(network.parameters()).device
    images, sizes = pad_images([sample.image for sample in samples])
    inferences = network.infer(images.to(device), sizes)
    return [
        fuse_inference(
            inference.cpu(),
            sample.network_hw,
            sample.network_hw if settings.faithful else sample.output_hw,
            settings,
            network.num_stuff,
        )
        for inference, sample in zip(inferences, samples, strict=True)
    ]


def fuse_inference(
    inference: PanopticInference,
    network_hw: tuple[int, int],
    fused_hw: tuple[int, int],
    settings: SeamlessSettings,
    num_stuff: int,
) -> PanopticPrediction:
    """Fuse detections and semantic classes at a size of choice.

    At another size than the network's, boxes are scaled and their masks pasted at that size;
    semantic classes are enlarged by nearest neighbor.

    Args:
        inference: Output of the network, on the CPU.
        network_hw: Size of the network input in pixels.
        fused_hw: Size of the fused map in pixels.
        settings: Settings of the experiment.
        num_stuff: Number of stuff classes.

    Returns:
        The prediction.
    """
    semantic = resize_nearest(inference.semantic_classes.numpy(), fused_hw)
    fused = fuse_panoptic(
        semantic,
        scaled_boxes(inference.boxes_yxyx, network_hw, fused_hw),
        inference.classes,
        inference.scores,
        inference.mask_logits,
        num_stuff=num_stuff,
        thresholds=fusion_thresholds(settings, network_hw, fused_hw),
    )
    return PanopticPrediction(fused, semantic, inference)


def fusion_thresholds(
    settings: SeamlessSettings, network_hw: tuple[int, int], fused_hw: tuple[int, ...]
) -> FusionThresholds:
    """Return the thresholds of the fusion at a size; the least area is one of the network input.

    Args:
        settings: Settings of the experiment.
        network_hw: Size of the network input in pixels.
        fused_hw: Size at which maps are fused.

    Returns:
        Thresholds with the least area converted to pixels of the fused map.
    """
    share = fused_hw[0] * fused_hw[1] / (network_hw[0] * network_hw[1])
    fusion = settings.fusion
    return FusionThresholds(
        fusion.score_threshold, fusion.overlap_threshold, round(fusion.min_stuff_area_px * share)
    )


def list_inputs(paths: Sequence[Path]) -> Iterator[Item]:
    """List a user's files; folders are searched recursively.

    Args:
        paths: Files and folders.

    Yields:
        One item per image; keys are paths without suffix, relative to the folder given. Of two
        files that differ in their suffix alone, the second one keeps it.

    Raises:
        InputError: A path does not exist.
    """
    seen: set[str] = set()
    for path in paths:
        if not path.exists():
            raise InputError(f"{path} does not exist; give image files or folders")
        base = path if path.is_dir() else path.parent
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if path.is_dir() and (not file.is_file() or file.suffix.lower() not in INPUT_SUFFIXES):
                continue
            relative = file.relative_to(base)
            key = relative.with_suffix("").as_posix()
            key = relative.as_posix() if key in seen else key
            seen.add(key)
            found = file.stat()
            yield Item(key, f"{found.st_size}-{found.st_mtime_ns}", {"path": str(file)})


def load_input(
    item: Item, settings: InputSettings, normalization: ImageNormalization, *, faithful: bool
) -> PanopticSample:
    """Read one of a user's files.

    Args:
        item: One item of `list_inputs`.
        settings: Sizes of the network input.
        normalization: Colors that the network expects.
        faithful: Ignore the largest length of the longer side, as the original does.

    Returns:
        The sample.

    Raises:
        ImageError: The file is damaged or no image.
    """
    photo = read_rgb(item.payload["path"], apply_orientation=True)
    placement = evaluation_placement(
        (photo.shape[0], photo.shape[1]),
        shortest_px=settings.shortest_px,
        longest_max_px=None if faithful else settings.longest_max_px,
    )
    return PanopticSample(item.key, place_image(photo, placement, normalization), photo)


def export_prediction(
    item: Item,
    sample: PanopticSample,
    prediction: PanopticPrediction,
    format: str,
    space: LabelSpace,
    settings: SeamlessSettings,
) -> Record:
    """Write one prediction in one of `EXPORT_FORMATS`.

    Args:
        item: The user's file.
        sample: It, as read.
        prediction: What was predicted.
        format: ``overlay`` (JPEG), ``coco_panoptic`` (PNG of ids, JSON over all),
            ``cityscapes_instance_ids`` (16-bit PNG) or ``raw`` (a file for ``torch.load`` with the
            original's keys and the sizes that it lacks).
        space: Class list.
        settings: Settings of the experiment.

    Returns:
        Files, and a row of JSON values for `export_index`.

    Raises:
        InputError: The format is unknown.
    """
    if format == "raw":
        content = _raw_file(sample, prediction, space)
        return Record(item.key, {}, {f"raw/{item.key}.pt": content})
    size_hw = sample.output_hw
    if format == "overlay":
        if sample.photo is None:
            raise InputError(f"{item.key}: an overlay needs the photograph")
        picture = panoptic_picture(
            sample.photo,
            prediction.fused,
            space.colors,
            space.num_stuff,
            faithful=settings.faithful,
        )
        return Record(item.key, {}, {f"overlay/{item.key}.jpg": _jpeg(picture)})
    visible = resize_panoptic(without_crowds(prediction.fused), size_hw)
    if format == "coco_panoptic":
        return _coco_record(item, visible, space)
    if format == "cityscapes_instance_ids":
        values = _instance_values(visible, space)
        return Record(
            item.key, {}, {f"instance_ids/{item.key}_instanceIds.png": deep_ids_png(values)}
        )
    raise InputError(f"unknown export format {format!r}; allowed are {', '.join(EXPORT_FORMATS)}")


def export_index(
    format: str, rows: Sequence[Mapping[str, Any]], space: LabelSpace
) -> dict[str, bytes]:
    """Write what a format has once for all predictions.

    Args:
        format: Name of the format.
        rows: Rows of `export_prediction`.
        space: Class list.

    Returns:
        Content by file name; the JSON of ``coco_panoptic``, nothing for the others.
    """
    if format != "coco_panoptic":
        return {}
    categories = [
        {
            "id": space.original_ids[index],
            "name": name,
            "isthing": int(index >= space.num_stuff),
            "color": list(space.palette[index]),
        }
        for index, name in enumerate(space.class_names)
    ]
    content = {
        "images": [row["image"] for row in rows],
        "annotations": [row["annotation"] for row in rows],
        "categories": categories,
    }
    return {"coco_panoptic.json": json.dumps(content).encode()}


def _coco_record(item: Item, panoptic: IndexedPanoptic, space: LabelSpace) -> Record:
    ids, entries = segments_info(panoptic, lambda index: index, space.original_ids)
    height, width = panoptic.id_map.shape
    name = f"{item.key}.png"
    row = {
        "image": {
            "id": item.key,
            "file_name": Path(item.payload["path"]).name,
            "height": height,
            "width": width,
        },
        "annotation": {"image_id": item.key, "file_name": name, "segments_info": entries},
    }
    return Record(item.key, row, {f"coco_panoptic/{name}": rgb_ids_png(ids)})


def _instance_values(panoptic: IndexedPanoptic, space: LabelSpace) -> npt.NDArray[np.int64]:
    """Encode a map as Cityscapes does: label id, or label id * 1000 + number for things."""
    numbers: dict[int, int] = {}
    table = np.zeros(len(panoptic.categories), dtype=np.int64)
    for index in np.flatnonzero(panoptic.areas()).tolist():
        if index == 0:
            continue
        category = int(panoptic.categories[index])
        label = space.original_ids[category]
        if category < space.num_stuff:
            table[index] = label
            continue
        table[index] = label * _INSTANCES_PER_LABEL + numbers.get(category, 0)
        numbers[category] = numbers.get(category, 0) + 1
    if table.max(initial=0) > _MAX_DEEP_ID:
        raise InputError(
            f"class ids of {space.name} are too large for 16-bit instance ids (at most 65); "
            "export coco_panoptic instead"
        )
    values: npt.NDArray[np.int64] = table[panoptic.id_map]
    return values


def _raw_file(sample: PanopticSample, prediction: PanopticPrediction, space: LabelSpace) -> bytes:
    inference = prediction.inference
    has_detections = len(inference.scores) > 0
    content = {
        "sem_pred": inference.semantic_classes,
        "bbx_pred": inference.boxes_yxyx if has_detections else None,
        "cls_pred": inference.classes if has_detections else None,
        "obj_pred": inference.scores if has_detections else None,
        "msk_pred": inference.mask_logits if has_detections else None,
        "original_size": list(sample.output_hw),
        "input_size": list(sample.network_hw),
        "num_stuff": space.num_stuff,
        "num_thing": space.num_things,
        "original_ids": list(space.original_ids),
    }
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def _jpeg(picture: npt.NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=_JPEG_QUALITY)
    return buffer.getvalue()
