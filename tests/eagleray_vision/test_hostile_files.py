"""Files of strangers: every input gives a value or a typed error, nothing hangs, nothing is run.

The readers of users' data get what hypothesis makes of valid files (cut, flipped, spliced) and of
JSON values of every shape.
"""

import io
import json
import os
import pickle
import tarfile
import zipfile

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image

from eagleray.download.archive import unpack
from eagleray.task import EaglerayError, InputError
from eagleray.train.weights import read_weights
from eagleray_efficientps.checkpoint_import import read_checkpoint as read_efficientps
from eagleray_omniseg3d.checkpoint_import import read_checkpoint as read_omniseg3d
from eagleray_omniseg3d.masks.hierarchy import read_npz
from eagleray_omniseg3d.masks.run_lengths import read_mask_file, read_sav_frame
from eagleray_omniseg3d.predict import read_click_file
from eagleray_omniseg3d.scenes.transforms import read_transforms_scene
from eagleray_omniseg3d.settings import OmniSeg3DSettings
from eagleray_omniseg3d.task import OmniSeg3DTask
from eagleray_seamseg.checkpoint_import import read_snapshot
from eagleray_seamseg.intermediate.metadata import read_metadata
from eagleray_vision.datasets.class_list import read_class_list
from eagleray_vision.images.reading import read_rgb
from eagleray_vision.panoptic.coco_panoptic import read_coco_panoptic
from eagleray_vision.panoptic.label_image import read_deep_ids, read_rgb_ids
from eagleray_vision.panoptic.label_space import label_space_from_coco, label_space_from_vistas
from eagleray_vision.weights.archive import is_archive, open_archive
from eagleray_vision.weights.tensors import require_plain

bounded = settings(
    max_examples=60,
    deadline=5000,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


class Canary:
    """Makes a folder where a reader unpickles it."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def value_or_typed_error(read, *arguments):
    """Call a reader; anything but a value or a typed error is raised."""
    try:
        return read(*arguments)
    except EaglerayError as error:
        assert str(error)
        return None


def damaged(valid):
    """Strategy: valid bytes, cut, with flipped bytes, or with a strange piece put in."""
    place = st.integers(0, max(0, len(valid) - 1))

    def change(places, cut, piece):
        content = bytearray(valid)
        for position, mask in places:
            content[position] ^= mask
        return bytes(content[:cut]) + piece + bytes(content[cut + len(piece) :])

    flips = st.lists(st.tuples(place, st.integers(1, 255)), max_size=4)
    whole = st.builds(change, flips, place, st.binary(max_size=6))
    return whole | st.builds(lambda content, cut: content[:cut], whole, place)


# ---------------------------------------------------------------- weights

STATE = {"body.weight": torch.arange(6.0).reshape(2, 3), "bias": torch.ones(2)}
WHOLE = {"state_dict": STATE, "meta": {"CLASSES": ("a",)}, "epoch": np.float64(3.0)}


def packed(content, **how):
    buffer = io.BytesIO()
    torch.save(content, buffer, **how)
    return buffer.getvalue()


def read_all_weights(path):
    for read in (read_snapshot, read_efficientps, read_omniseg3d):
        found = value_or_typed_error(read, path)
        entries = getattr(found, "entries", None) or getattr(found, "tensors", {})
        value_or_typed_error(require_plain, path, entries)
        if found is not None and hasattr(type(found), "num_classes"):
            value_or_typed_error(lambda one: one.num_classes, found)


@bounded
@given(
    content=damaged(packed(WHOLE)) | damaged(packed(WHOLE, _use_new_zipfile_serialization=False))
)
def test_damaged_checkpoints(tmp_path, content):
    (tmp_path / "a.pth").write_bytes(content)
    read_all_weights(tmp_path / "a.pth")


@bounded
@given(content=damaged(safetensors.torch.save(STATE)))
def test_damaged_safetensors(tmp_path, content):
    (tmp_path / "a.safetensors").write_bytes(content)
    read_all_weights(tmp_path / "a.safetensors")
    value_or_typed_error(read_weights, tmp_path / "a.safetensors")


PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
TENSORS = st.sampled_from([torch.ones(2), torch.tensor(1.0), torch.eye(2).to_sparse()])
KEYS = st.sampled_from(
    [
        "state_dict",
        "body",
        "roi_head.roi_msk.bias",
        "mask_head.conv_logits.bias",
        "semantic_head.conv_logits.bias",
        "sem_head.conv_sem.bias",
        3,
        None,
        b"k",
    ]
)


@bounded
@given(
    content=st.recursive(
        PLAIN | TENSORS,
        lambda inner: st.dictionaries(KEYS, inner, max_size=4) | st.lists(inner, max_size=3),
        max_leaves=8,
    )
)
def test_checkpoints_of_other_values(tmp_path, content):
    torch.save(content, tmp_path / "a.pth")
    read_all_weights(tmp_path / "a.pth")


@bounded
@given(protocol=st.integers(0, 5), depth=st.integers(0, 3), as_torch=st.booleans())
def test_no_pickle_is_run(tmp_path, protocol, depth, as_torch):
    content = Canary(tmp_path / "ran")
    for _ in range(depth):
        content = {"state_dict": content}
    data = pickle.dumps(content, protocol=protocol)
    if as_torch and protocol >= 2:
        data = packed(content, pickle_protocol=protocol)
    (tmp_path / "a.pth").write_bytes(data)
    read_all_weights(tmp_path / "a.pth")
    assert not (tmp_path / "ran").exists()


# ---------------------------------------------------------------- archives


def zip_bytes(method):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        archive.writestr("m/w.pth", bytes(range(256)))
        archive.writestr("m/c.ini", "[a]\nb = 1\n")
    return buffer.getvalue()


def tar_bytes(mode):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:
        info = tarfile.TarInfo("m/w.pth")
        info.size = 256
        archive.addfile(info, io.BytesIO(bytes(range(256))))
    return buffer.getvalue()


ARCHIVES = [zip_bytes(m) for m in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA)]
ARCHIVES += [tar_bytes(mode) for mode in ("w", "w:gz", "w:xz", "w:bz2")]


@bounded
@given(content=st.one_of([damaged(one) for one in ARCHIVES]))
def test_damaged_archives(tmp_path, content):
    path = tmp_path / "a.zip"
    path.write_bytes(content)
    out = tmp_path / "out"

    def opened(path):
        if is_archive(path):
            with open_archive(path, texts={"configuration": (".ini",)}) as archive:
                return archive.weights.read_bytes()
        return None

    value_or_typed_error(opened, path)
    value_or_typed_error(unpack, path, out)
    assert {one.name for one in tmp_path.iterdir()} <= {"a.zip", "out"}
    for one in sorted(out.rglob("*"), reverse=True):
        one.rmdir() if one.is_dir() else one.unlink()
    if out.exists():
        out.rmdir()


# ---------------------------------------------------------------- JSON

WORDS = ["id", "image_id", "images", "annotations", "categories", "segments_info", "file_name"]
WORDS += ["category_id", "isthing", "name", "color", "height", "width", "iscrowd", "area", "labels"]
WORDS += ["evaluate", "instances", "masks", "masklet", "segmentation", "size", "counts", "view"]
WORDS += [
    "clicks",
    "threshold",
    "views",
    "frames",
    "file_path",
    "transform_matrix",
    "w",
    "h",
    "fl_x",
]
NUMBERS = st.integers(-3, 9) | st.sampled_from([2**31, 2**63, -(2**64), 10**400, 1.5, 1e308])
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | NUMBERS
    | st.floats()
    | st.sampled_from([*WORDS, "", "\0", "\ud800"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=5)
    ),
    max_leaves=14,
)
SEGMENT = st.fixed_dictionaries({"id": VALUES, "category_id": NUMBERS}, optional={"area": VALUES})
COCO = st.fixed_dictionaries(
    {
        "images": st.lists(st.fixed_dictionaries({"id": NUMBERS, "file_name": VALUES}), max_size=2),
        "annotations": st.lists(
            st.fixed_dictionaries(
                {"image_id": NUMBERS, "file_name": VALUES, "segments_info": st.lists(SEGMENT)}
            ),
            max_size=2,
        ),
        "categories": st.lists(
            st.fixed_dictionaries(
                {"id": NUMBERS, "name": VALUES, "isthing": VALUES}, optional={"color": VALUES}
            ),
            max_size=2,
        ),
    }
)
MASKS = st.lists(
    st.fixed_dictionaries(
        {
            "size": st.just([2, 2]) | VALUES,
            "counts": st.lists(NUMBERS) | st.text(max_size=5) | VALUES,
        }
    ),
    max_size=2,
)
CLICKS = st.fixed_dictionaries(
    {"view": VALUES, "clicks": st.lists(st.lists(VALUES, max_size=3), max_size=2)}
)
SCENES = st.fixed_dictionaries(
    {
        "w": NUMBERS,
        "h": NUMBERS,
        "fl_x": NUMBERS,
        "frames": st.lists(
            st.fixed_dictionaries({"file_path": VALUES, "transform_matrix": VALUES}), max_size=2
        ),
    }
)
ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-32", "latin-1", "cp037"]


def read_every_json(path):
    coco = value_or_typed_error(read_coco_panoptic, path)
    if coco is not None:
        value_or_typed_error(label_space_from_coco, "fuzz", coco.categories)
        for image in coco.images:
            value_or_typed_error(lambda one: one.segments, image)
    value_or_typed_error(label_space_from_vistas, path)
    value_or_typed_error(read_class_list, str(path))
    value_or_typed_error(read_mask_file, path, (2, 2))
    value_or_typed_error(read_sav_frame, path, 0)
    value_or_typed_error(read_click_file, path)
    value_or_typed_error(lambda root: read_transforms_scene(root, downsample=1.0), path.parent)


@bounded
@given(value=VALUES | COCO | MASKS | CLICKS | SCENES, encoding=st.sampled_from(ENCODINGS))
@example(value=float("inf"), encoding="utf-8")
def test_json_of_any_shape_and_encoding(tmp_path, value, encoding):
    path = tmp_path / "transforms.json"
    path.write_bytes(json.dumps(value).encode(encoding, errors="replace"))
    read_every_json(path)


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"a":' * 100_000, "1" * 5000, "[1e999]", "[NaN]", ""]
)
def test_json_of_extremes(tmp_path, text):
    path = tmp_path / "transforms.json"
    path.write_text(text)
    read_every_json(path)


def test_folders_and_pipes_are_refused_where_files_are_expected(tmp_path):
    for name, make in (("folder", os.mkdir), ("pipe", os.mkfifo)):
        (tmp_path / name).mkdir()
        path = tmp_path / name / "transforms.json"
        make(path)
        read_every_json(path)
        for read in (read_rgb, read_rgb_ids, read_deep_ids, read_metadata, read_weights):
            assert value_or_typed_error(read, path) is None


def test_what_is_no_file_among_click_files_does_not_stop_the_others(tmp_path):
    (tmp_path / "a.json").write_text('{"view": "v", "clicks": []}')
    (tmp_path / "folder.json").mkdir()
    os.mkfifo(tmp_path / "pipe.json")
    (tmp_path / "link.json").symlink_to("nowhere")
    task = OmniSeg3DTask(OmniSeg3DSettings())
    items = {item.key: item for item in task.inputs([tmp_path])}
    assert items.keys() == {"a", "folder", "pipe", "link"}
    assert "no regular file" in items["pipe"].identity
    with pytest.raises(InputError):
        list(task.inputs([tmp_path / "none.json"]))


# ---------------------------------------------------------------- pictures


def picture(mode, kind="PNG", **how):
    buffer = io.BytesIO()
    Image.new(mode, (5, 4), 1).save(buffer, kind, **how)
    return buffer.getvalue()


PICTURES = [picture(mode) for mode in ("1", "L", "P", "LA", "RGB", "RGBA", "I;16")]
PICTURES += [picture("RGB", kind) for kind in ("JPEG", "TIFF", "BMP", "GIF", "WEBP", "PPM")]


@bounded
@given(content=st.one_of([damaged(one) for one in PICTURES]))
@pytest.mark.filterwarnings("ignore")
def test_damaged_pictures(content):
    for read in (read_rgb, read_rgb_ids, read_deep_ids):
        value_or_typed_error(read, content)


def hierarchy():
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer, indices=np.zeros((3, 4), np.int16), correlation=np.ones((1, 1), np.uint8)
    )
    return buffer.getvalue()


@bounded
@given(content=damaged(hierarchy()))
def test_damaged_hierarchies(content):
    value_or_typed_error(read_npz, content, "fuzz")
