"""Truth for evaluation: ids of objects or parts per view."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from eagleray_omniseg3d.errors import MaskError
from eagleray_omniseg3d.masks.run_lengths import decode_masks, read_mask_records
from eagleray_omniseg3d.scenes.scene import Scene, View

IdImage = npt.NDArray[np.int64]


def label_path(root: Path, pattern: str, view: View) -> Path:
    """Return the label file of a view; it may not exist."""
    return root / pattern.split("#")[0].format(name=view.name)


def read_labels(root: Path, pattern: str, scene: Scene, view: View) -> IdImage | None:
    """Read the ids of a view at the scene's size.

    Args:
        root: Folder of the scene.
        pattern: ``path/{name}.png``, or ``path/{name}.json#<key>`` for run lengths whose records
            hold the id under a key; records without the key take no part.
        scene: Gives the size.
        view: Which view.

    Returns:
        (H, W) int64, 0 = none; None where the view has no labels.

    Raises:
        MaskError: The file is no label image, or of other proportions than the scene's images.
    """
    path = label_path(root, pattern, view)
    if not path.is_file():
        return None
    if "#" in pattern:
        ids = _ids_from_records(path, pattern.split("#")[1])
    else:
        pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        if pixels is None or pixels.ndim != 2:
            raise MaskError(f"{path}: an image of ids with one channel is needed")
        ids = pixels.astype(np.int64)
    height, width = scene.size_hw
    factor = ids.shape[0] / height
    if abs(ids.shape[1] - factor * width) > max(factor, 1.0):
        raise MaskError(f"{path}: labels of {ids.shape} pixels for images of {scene.size_hw}")
    shrunk = cv2.resize(ids.astype(np.int32), (width, height), interpolation=cv2.INTER_NEAREST)
    return np.asarray(shrunk, np.int64)


def _ids_from_records(path: Path, key: str) -> IdImage:
    records = read_mask_records(path)
    if not records:
        raise MaskError(f"{path}: there are no masks, so the size of the image is unknown")
    masks = decode_masks([record["segmentation"] for record in records], str(path))
    ids = np.zeros(masks.shape[1:], np.int64)
    for record, mask in zip(records, masks, strict=True):
        if key in record:
            ids[mask] = int(record[key])
    return ids
