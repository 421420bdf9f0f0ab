"""Masks that are missing, damaged, of another size or empty: rejects, and training goes on."""

import cv2
import numpy as np
import pytest
import torch
from tests.eagleray_omniseg3d.small_scene import (
    HEIGHT,
    NAMES,
    WIDTH,
    masks,
    prepare,
    task_of,
    write_masks,
    write_scene,
)

from eagleray.task import InputError
from eagleray_omniseg3d.masks.hierarchy import build_hierarchy, write_npz


@pytest.fixture
def root(tmp_path):
    return write_scene(tmp_path / "scene")


def drawn_views(task, rows, phase_name, steps=40):
    """Return the numbers of the training views that rays come from."""
    bank = task.dataset("train", rows)
    (phase,) = (p for p in task.phases() if p.name == phase_name)
    phase = phase.model_copy(update={"batch_size": 16})
    where = {"start_step": 0, "rank": 0, "world_size": 1, "device": torch.device("cpu")}
    batches = bank.batches(phase, seed=0, **where)
    eyes = torch.from_numpy(task.data.scene.poses("train"))[:, :, 3].float()
    found = set()
    for _ in range(steps):
        rays = next(batches).rays_o
        found |= set((rays[:, None] - eyes).norm(dim=2).argmin(dim=1).tolist())
    return found


def test_views_whose_masks_cannot_be_used_train_color_only(root):
    (root / "masks/v02.json").write_text("{")
    write_masks(root, "v03.png", masks(4, 8))
    write_masks(root, "v04.png", np.zeros((0, HEIGHT, WIDTH), bool))
    task = task_of(root)
    prepared = prepare(task, root)
    rows = prepared.rows["masks:train"]
    assert sorted(rows.keys()) == ["v01", "v04", "v05", "v06", "v07"]
    assert rows["v04"]["num_masks"] == 0
    assert prepared.rows["patches:train"].summary()["images_without_masks"] == ["v04"]
    assert drawn_views(task, prepared.rows, "color") == set(range(7))
    assert drawn_views(task, prepared.rows, "semantics") == {0, 4, 5, 6}


def test_a_mask_file_that_comes_later_is_all_that_is_read_again(root):
    (root / "masks/v02.json").unlink()
    task = task_of(root)
    prepared = prepare(task, root)
    assert "v02" not in prepared.rows["patches:train"].keys()  # noqa: SIM118 (Rows is no mapping)
    write_masks(root, "v02.png", masks())
    prepared = prepare(task, root)
    assert len(prepared.rows["patches:train"]) == 7


def test_mask_files_that_are_all_missing_are_named_before_anything_starts(root):
    with pytest.raises(InputError, match=r"no view has a mask file 'mask/.*v01\.json"):
        prepare(task_of(root, files="mask/{name}.json"), root)


def test_no_masks_at_all_is_said_when_semantics_begin(root):
    for name in NAMES:
        write_masks(root, name, np.zeros((0, HEIGHT, WIDTH), bool))
    task = task_of(root)
    prepared = prepare(task, root)
    with pytest.raises(InputError, match="no training view has patches"):
        drawn_views(task, prepared.rows, "semantics")


def test_masks_keep_their_size_where_images_would_be_reduced(root):
    for name in NAMES:
        large = np.full((96, 128, 3), 90, np.uint8)
        cv2.imwrite(str(root / "images" / name), large)
        write_masks(root, name, masks(96, 128))
    task = task_of(root, max_side_px=64)
    prepared = prepare(task, root)
    assert len(prepared.rows["masks:train"]) == 7
    assert prepared.rows["masks:train"]["v01"]["height"] == 96
    assert drawn_views(task, prepared.rows, "semantics") == set(range(7))


def test_files_of_the_original_are_used_as_they_are(root):
    (root / "sam").mkdir()
    for name in NAMES[:3]:
        content = write_npz(build_hierarchy(masks(12, 16)))
        (root / "sam" / f"{name[:-4]}.npz").write_bytes(content)
    task = task_of(root, source="hierarchy_files")
    assert task.stages() == []
    assert drawn_views(task, {}, "semantics") == {0, 1}
