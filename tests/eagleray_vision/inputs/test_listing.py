"""Finding a user's photographs: nothing is lost, and nothing gets another one's name."""

import os
import socket
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from eagleray.task import InputError
from eagleray_vision.images.reading import read_rgb
from eagleray_vision.inputs import listing
from eagleray_vision.inputs.listing import input_path, list_inputs
from eagleray_vision.inputs.naming import ENDINGS, portable_name, unique_keys


def write(folder: Path, *names: str) -> Path:
    """Write small pictures whose first pixel tells them apart."""
    for index, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((2, 3, 3), index, np.uint8)).save(path, "PNG")
    return folder


def keys(*paths: Path) -> list[str]:
    return [item.key for item in list_inputs(paths)]


def problems(*paths: Path) -> dict[str, str]:
    return {i.key: i.payload["problem"] for i in list_inputs(paths) if "problem" in i.payload}


def test_folders_are_searched_in_any_depth_and_suffixes_in_any_case(tmp_path):
    write(tmp_path, "a.PNG", "b/c.Jpg", "b/d/e.jpeg", "b/d/f.JPEG", "notes.txt", "g.jpg.txt")
    assert keys(tmp_path) == ["a", "b/c", "b/d/e", "b/d/f"]
    assert keys(tmp_path / "b" / "c.Jpg") == ["c"]
    assert keys(tmp_path / "notes.txt") == ["notes"]


def test_files_that_differ_in_their_suffix_alone_keep_it(tmp_path):
    write(tmp_path, "a.jpg", "a.png", "b.png", "s/a.png")
    assert keys(tmp_path) == ["a.jpg", "a.png", "b", "s/a"]


def test_suffix_kept_by_one_file_may_be_the_name_of_another(tmp_path):
    write(tmp_path, "a.jpg", "a.jpg.jpg", "a.png")
    assert keys(tmp_path) == ["a.jpg", "a.jpg.jpg", "a.png"]


def test_export_never_has_the_name_of_a_folder_of_exports(tmp_path):
    write(tmp_path, "x.png", "x.jpg/y.png")
    assert keys(tmp_path) == ["x.jpg/y", "x.png"]


def test_same_names_in_several_folders_are_told_apart_by_their_folders(tmp_path):
    write(tmp_path, "day/a.jpg", "night/a.jpg", "x/img/b.jpg", "y/img/b.jpg")
    assert keys(tmp_path / "day", tmp_path / "night") == ["day/a", "night/a"]
    assert keys(tmp_path / "x/img", tmp_path / "y/img") == ["x/img/b", "y/img/b"]
    assert keys(tmp_path / "day/a.jpg", tmp_path / "night/a.jpg") == ["day/a", "night/a"]


def test_file_that_is_given_twice_is_listed_once(tmp_path, monkeypatch):
    write(tmp_path, "s/a.jpg", "b.jpg")
    monkeypatch.chdir(tmp_path)
    assert keys(tmp_path, tmp_path / "s", Path("s/../s/a.jpg")) == ["b", "s/a"]


def test_links_to_folders_are_followed_and_loops_are_not(tmp_path):
    write(tmp_path, "real/a.jpg", "photos/b.jpg")
    (tmp_path / "photos" / "camera").symlink_to(tmp_path / "real")
    (tmp_path / "photos" / "loop").symlink_to(tmp_path / "photos")
    (tmp_path / "real" / "back").symlink_to(tmp_path / "photos")
    (tmp_path / "photos" / "c.jpg").symlink_to(tmp_path / "real" / "a.jpg")
    (tmp_path / "photos" / "self").symlink_to(tmp_path / "photos" / "self")
    assert keys(tmp_path / "photos") == ["b", "c", "camera/a"]


def test_broken_link_and_pipe_are_listed_with_what_is_wrong(tmp_path):
    write(tmp_path, "a.jpg")
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    os.mkfifo(tmp_path / "pipe.png")
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(os.path.relpath(tmp_path / "s.jpg"))
        found = problems(tmp_path)
    assert found.keys() == {"gone", "pipe", "s"}
    assert "No such file" in found["gone"]
    assert "no regular file" in found["pipe"]


def test_folder_that_cannot_be_searched_is_listed_with_what_is_wrong(tmp_path, monkeypatch):
    write(tmp_path, "a.jpg", "locked/b.jpg", "z.jpg")
    scandir = os.scandir

    def denied(path):
        if Path(path).name == "locked":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(listing.os, "scandir", denied)
    assert keys(tmp_path) == ["a", "locked", "z"]
    assert "Permission denied" in problems(tmp_path)["locked"]


def test_missing_path_is_refused(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        list(list_inputs([tmp_path / "gone"]))


def test_empty_folder_lists_nothing(tmp_path):
    assert keys(tmp_path) == []


AWKWARD = [
    "Müller, été, 東京 🚲.jpg",
    " two  blanks and\ttab.jpg",
    "line\nbreak.jpg",
    ".hidden.jpg",
    "many.dots.in.name.jpg",
    "100%.jpg",
    "quote'\"*?<>|.jpg",
    "back\\slash.jpg",
    "-rf.jpg",
    "x" * 251 + ".jpg",
    "é" * 125 + ".jpg",
]


def test_awkward_names_are_read_and_can_be_exported(tmp_path):
    write(tmp_path / "in", *AWKWARD)
    items = list(list_inputs([tmp_path / "in"]))
    assert len(items) == len({item.key for item in items}) == len(AWKWARD)
    by_name = {item.payload["name"]: item for item in items}
    assert "100%.jpg" in by_name
    for item in items:
        expected = AWKWARD.index(input_path(item).name)
        assert read_rgb(input_path(item))[0, 0, 0] == expected
        for ending in ENDINGS:
            export = tmp_path / "out" / f"{item.key}{ending}"
            export.parent.mkdir(parents=True, exist_ok=True)
            export.write_bytes(b"")
    assert len(list((tmp_path / "out").iterdir())) == len(ENDINGS) * len(AWKWARD)


def test_name_that_is_no_unicode_is_read_and_exported_under_an_escaped_name(tmp_path):
    write(tmp_path, "ok.jpg")
    raw = os.fsencode(tmp_path) + b"/caf\xe9.jpg"
    os.rename(os.fsencode(tmp_path / "ok.jpg"), raw)  # noqa: PTH104 (bytes)
    (item,) = list_inputs([tmp_path])
    assert item.key == "caf%E9"
    assert os.fsencode(input_path(item)) == raw
    assert read_rgb(input_path(item)).shape == (2, 3, 3)


def test_names_that_look_escaped_stay_apart():
    names = [PurePosixPath("a\\b.jpg"), PurePosixPath("a%5Cb.jpg"), PurePosixPath("a%255Cb.jpg")]
    assert unique_keys(names) == ["a%5Cb", "a%255Cb", "a%25255Cb"]
    assert portable_name("100% of 5%") == "100% of 5%"


PARTS = st.sampled_from(["a", "b", "a.jpg", "a.png", "b.jpg.png", "c%5C", "c\\"])
PATHS = st.builds(
    lambda folders, stem, suffix: PurePosixPath(*folders, stem + suffix),
    st.lists(PARTS, max_size=2),
    PARTS,
    st.sampled_from([".jpg", ".png", ".JPG"]),
)


@given(st.lists(PATHS, unique=True, max_size=8))
def test_no_two_files_ever_share_a_key_and_order_plays_no_role(names):
    found = dict(zip(names, unique_keys(names), strict=True))
    assert len(set(found.values())) == len(names)
    again = list(reversed(names))
    assert dict(zip(again, unique_keys(again), strict=True)) == found


def test_identity_tells_a_changed_file(tmp_path):
    write(tmp_path, "a.jpg")
    (before,) = list_inputs([tmp_path])
    os.utime(tmp_path / "a.jpg", (1, 1))
    (after,) = list_inputs([tmp_path])
    assert before.identity != after.identity
