"""A COLMAP scene of nine tiny views with mask files, and its preparation."""

import json

import numpy as np
from tests.eagleray_omniseg3d.test_scenes import SIZE_WH, orbit_poses, write_colmap, write_images

from eagleray.experiment import schema
from eagleray.options import RunOptions
from eagleray.prepare import prepare_stages
from eagleray.storage import Store
from eagleray_omniseg3d.masks.run_lengths import encode_masks
from eagleray_omniseg3d.settings import OmniSeg3DSettings
from eagleray_omniseg3d.task import OmniSeg3DTask

NAMES = [f"v{i:02d}.png" for i in range(9)]
WIDTH, HEIGHT = SIZE_WH
FIELD = {
    "num_levels": 2,
    "log2_table_size": 8,
    "base_resolution": 4,
    "finest_resolution": 8,
    "grid_size": 8,
    "max_samples": 16,
}


def masks(height=HEIGHT, width=WIDTH):
    found = np.zeros((2, height, width), bool)
    found[0, :, : width // 2], found[1, : height // 2, : width // 4] = True, True
    return found


def write_scene(root):
    """Write a scene of 9 views; 0 and 8 are held out."""
    write_colmap(root, orbit_poses(9), NAMES)
    write_images(root / "images", NAMES)
    (root / "masks").mkdir()
    for name in NAMES:
        write_masks(root, name, masks())
    return root


def write_masks(root, name, found):
    path = root / "masks" / f"{name[:-4]}.json"
    path.write_text(json.dumps(encode_masks(found) if len(found) else []))


def task_of(root, **masks):
    masks = {"source": "files", "files": "masks/{name}.json"} | masks
    return OmniSeg3DTask(
        OmniSeg3DSettings(faithful=False, data={"root": str(root)}, masks=masks, field=FIELD)
    )


def prepare(task, root):
    storage = Store(str(root.parent / "storage"))
    return prepare_stages(
        task,
        storage,
        schema.PrepareSettings(),
        RunOptions(device="cpu", inline=True),
    )
