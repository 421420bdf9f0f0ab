"""Pictures over HTTP: only pictures of evaluations, whatever is asked for."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from eagleray.dashboard import pictures
from eagleray.dashboard.pictures import THUMBNAIL_PX, picture_link
from eagleray.runs.evaluation import read_evaluations, read_units
from eagleray.runs.run_folder import RunFolder

RUN = "exp/main-0"


@pytest.fixture
def picture(storage):
    run = RunFolder(str(storage / "runs" / RUN))
    units = read_units(run, read_evaluations(run)[0])
    return units.units[0].pictures["prediction"]


def test_a_picture_is_sent_as_it_is(visitor, storage, picture):
    answer = visitor.client.get(picture_link(RUN, picture))
    assert answer.status_code == 200
    assert answer.mimetype == "image/png"
    assert answer.data == (storage / "runs" / RUN / picture.path).read_bytes()


def test_a_thumbnail_is_small_and_made_once(visitor, storage, picture, monkeypatch):
    path = storage / "runs" / RUN / picture.path
    Image.new("RGB", (2000, 1000), "red").save(path)
    made = []
    original = pictures._small
    monkeypatch.setattr(pictures, "_small", lambda content: made.append(1) or original(content))
    answers = [visitor.client.get(picture_link(RUN, picture, is_thumbnail=True)) for _ in range(3)]
    assert [a.status_code for a in answers] == [200] * 3
    assert Image.open(io.BytesIO(answers[0].data)).size == (THUMBNAIL_PX, THUMBNAIL_PX // 2)
    assert len(made) == 1
    assert answers[0].data == answers[2].data


def test_a_changed_picture_has_another_address(picture):
    changed = type(picture)(picture.path, "f" * 64)
    assert picture_link(RUN, picture) != picture_link(RUN, changed)


@pytest.mark.parametrize("kind", ["picture", "thumbnail"])
@pytest.mark.parametrize(
    "path",
    [
        f"{RUN}/summary.json",
        f"{RUN}/evaluation/../summary.json",
        f"{RUN}/evaluation/..%2f..%2f..%2f..%2f..%2fsecret.png",
        "../../exp/main-0/evaluation/x.png",
        "..%2f..%2fexp/main-0/evaluation/x.png",
        "exp/%2e%2e/evaluation/x.png",
        f"{RUN}/evaluation/none.png",
        f"{RUN}/evaluation/val/best.json",
        f"{RUN}/evaluation/%00.png",
        f"{RUN}/evaluation/..\\..\\x.png",
    ],
)
def test_nothing_else_is_sent(visitor, storage, kind, path):
    (storage.parent / "secret.png").write_bytes(b"\x89PNG\r\n\x1a\nsecret")
    answer = visitor.client.get(f"/{kind}/{path}")
    assert answer.status_code in (308, 404)
    assert b"secret" not in answer.data


@pytest.mark.parametrize("kind", ["picture", "thumbnail"])
def test_links_out_of_the_store_are_not_followed(visitor, storage, kind):
    secret = storage.parent / "secret.png"
    Image.new("RGB", (8, 8)).save(secret)
    (storage / "runs" / RUN / "evaluation/link.png").symlink_to(secret)
    (storage / "runs/exp/elsewhere").symlink_to(storage.parent)
    assert visitor.client.get(f"/{kind}/{RUN}/evaluation/link.png").status_code == 404
    assert visitor.client.get(f"/{kind}/exp/elsewhere/evaluation/x.png").status_code == 404


@pytest.mark.parametrize("content", [b"<svg onload=alert(1)>", b"", b"\x89PNG\r\n\x1a\ntruncated"])
def test_what_is_no_picture_is_not_sent_as_one(visitor, storage, picture, content):
    (storage / "runs" / RUN / picture.path).write_bytes(content)
    assert visitor.client.get(picture_link(RUN, picture, is_thumbnail=True)).status_code == 415
