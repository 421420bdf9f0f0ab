"""The files of the original's preprocessing beside the images, read by its rules."""

import shutil

import cv2
import numpy as np
import pytest
from tests.eagleray_omniseg3d.small_scene import (
    HEIGHT,
    NAMES,
    WIDTH,
    masks,
    prepare,
    task_of,
    write_scene,
)

from eagleray.task import InputError
from eagleray_omniseg3d.scenes.pixels import read_view_hierarchy


@pytest.fixture
def root(tmp_path):
    return write_scene(tmp_path / "scene")


def files_below(folder):
    return sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith(".")
    )


def test_sam_masks_and_patches_lie_beside_the_images(root):
    out = root / "made"
    prepare(task_of(root, folder=str(out)), root)
    trained = NAMES[1:8]
    stems = [name[:-4] for name in trained]
    assert files_below(out) == sorted(
        [f"sam/{stem}.npz" for stem in stems]
        + [f"{folder}/{name}" for folder in ("masks", "patches") for name in trained]
    )
    with np.load(out / "sam" / "v03.npz") as file:
        assert set(file.files) == {"indices", "correlation"}
        indices, correlation = file["indices"], file["correlation"]
    assert indices.dtype == np.int16 and correlation.dtype == np.uint8
    expected = masks().sum(axis=0)
    assert indices.shape == (HEIGHT, WIDTH)
    assert (indices[expected == 0] == 0).all()
    np.testing.assert_array_equal(np.diag(correlation)[indices], expected)
    overlay = cv2.imread(str(out / "patches" / "v03.png"))
    assert (overlay[expected == 0] == 103 >> 2).all()


def test_the_originals_loader_finds_them(root):
    task = task_of(root, folder=str(root))
    prepare(task, root)
    scene = task_of(root, source="hierarchy_files").data.scene
    found = [read_view_hierarchy(scene, view) is not None for view in scene.views]
    assert found == [False, *[True] * 7, False]


def test_the_folder_is_not_part_of_the_masks_identity(root):
    plain, written = task_of(root), task_of(root, folder=str(root / "made"), pictures=True)
    assert plain.stages()[0].settings() == written.stages()[0].settings()
    assert len(written.stages()) == len(plain.stages()) + 1


def test_a_deleted_folder_is_written_anew_and_a_whole_one_left_alone(root):
    out = root / "made"
    task = task_of(root, folder=str(out), pictures=False)
    prepare(task, root)
    first = files_below(out)
    assert first == [f"sam/{name[:-4]}.npz" for name in NAMES[1:8]]
    written = (out / "sam" / "v03.npz").stat().st_mtime_ns
    prepare(task, root)
    assert (out / "sam" / "v03.npz").stat().st_mtime_ns == written
    shutil.rmtree(out)
    prepare(task, root)
    assert files_below(out) == first


def test_a_folder_that_cannot_be_written_is_named(root):
    (root / "file").touch()
    with pytest.raises(InputError, match=r"masks\.folder .*file"):
        prepare(task_of(root, folder=str(root / "file")), root)
