"""Named files: whole, cut off, damaged, missing, given by hand."""

from __future__ import annotations

import pytest

from eagleray.download import DownloadError, fetch, place
from eagleray.download.fetch import by_hand_text
from eagleray.progress import Silent

from .conftest import CONTENT, MD5, SHA256


def names(folder):
    return sorted(p.name for p in folder.iterdir()) if folder.exists() else []


@pytest.mark.parametrize(
    "checksum", [f"sha256:{SHA256}", f"md5:{MD5}", f"sha256:{SHA256[:8].upper()}", ""]
)
def test_a_file_is_fetched_verified_and_not_fetched_again(server, record, tmp_path, checksum):
    for _ in range(2):
        path = fetch(record(checksum=checksum), tmp_path / "a", Silent())
        assert path.read_bytes() == CONTENT
    assert len(server.how.requests) == 1
    assert names(tmp_path / "a") == ["weights.pt"]


def test_a_cut_connection_is_continued_at_once(server, record, tmp_path):
    server.how.cut_after = [1_500_000, 700_000]
    assert fetch(record(), tmp_path, Silent()).read_bytes() == CONTENT
    ranges = [request.get("Range") for request in server.how.requests]
    assert ranges[0] is None and ranges[1].startswith("bytes=1") and len(ranges) == 3
    assert server.how.requests[1]["If-Range"] == '"v1"'
    assert server.how.sent < 1.6 * len(CONTENT), "what has come is not sent again"
    assert names(tmp_path) == ["weights.pt"]


def test_the_same_command_goes_on_after_a_connection_that_stayed_broken(server, record, tmp_path):
    server.how.cut_after = [3_000_000] + [0] * 4
    with pytest.raises(DownloadError, match="the same command goes on"):
        fetch(record(), tmp_path, Silent())
    assert names(tmp_path) == ["weights.pt.part", "weights.pt.part.json"]
    kept = (tmp_path / "weights.pt.part").stat().st_size
    assert kept >= 1_000_000
    assert fetch(record(), tmp_path, Silent()).read_bytes() == CONTENT
    assert server.how.requests[-1]["Range"] == f"bytes={kept}-"
    assert names(tmp_path) == ["weights.pt"]


def leave_part(record, server, tmp_path):
    server.how.cut_after = [3_000_000] + [0] * 4
    with pytest.raises(DownloadError):
        fetch(record, tmp_path, Silent())
    server.how.requests.clear()


def test_a_file_that_changed_on_the_server_is_fetched_afresh(server, record, tmp_path):
    leave_part(record(), server, tmp_path)
    server.how.content, server.how.version = CONTENT[::-1], '"v2"'
    path = fetch(record(checksum=""), tmp_path, Silent())
    assert path.read_bytes() == CONTENT[::-1]


def test_a_server_without_ranges_sends_everything_again(server, record, tmp_path):
    leave_part(record(), server, tmp_path)
    server.how.with_ranges = False
    assert fetch(record(), tmp_path, Silent()).read_bytes() == CONTENT


def test_a_part_of_unknown_version_is_continued_only_where_a_checksum_tells(
    server, record, tmp_path
):
    server.how.version = None
    for checksum, is_continued in ((f"sha256:{SHA256}", True), ("", False)):
        folder = tmp_path / str(is_continued)
        leave_part(record(checksum=checksum), server, folder)
        assert fetch(record(checksum=checksum), folder, Silent()).read_bytes() == CONTENT
        assert ("Range" in server.how.requests[-1]) == is_continued


def test_a_part_that_is_whole_already_is_only_verified(server, record, tmp_path):
    leave_part(record(), server, tmp_path)
    (tmp_path / "weights.pt.part").write_bytes(CONTENT)
    assert fetch(record(), tmp_path, Silent()).read_bytes() == CONTENT
    assert server.how.sent <= 3_000_000


@pytest.mark.parametrize("checksum", ["sha256:" + "0" * 64, "md5:" + "0" * 32, "sha256:00000000"])
def test_a_file_with_another_checksum_is_refused_and_removed(server, record, tmp_path, checksum):
    with pytest.raises(DownloadError, match="000000"):
        fetch(record(checksum=checksum), tmp_path, Silent())
    assert names(tmp_path) == []


def test_a_damaged_file_that_is_there_already_is_named(server, record, tmp_path):
    (tmp_path / "weights.pt").write_bytes(b"damaged")
    with pytest.raises(DownloadError, match=r"weights\.pt has sha256"):
        fetch(record(), tmp_path, Silent())
    assert not server.how.requests


@pytest.mark.parametrize(("status", "tries"), [(404, 1), (403, 1), (503, 4)])
def test_a_server_that_refuses_is_quoted(server, record, tmp_path, status, tries):
    server.how.status = status
    with pytest.raises(DownloadError, match=str(status)):
        fetch(record(), tmp_path, Silent())
    assert len(server.how.requests) == tries
    assert not [name for name in names(tmp_path) if not name.endswith(".lock")]


def test_a_web_page_in_place_of_the_file_is_refused(server, record, tmp_path):
    server.how.content_type = "text/html; charset=utf-8"
    with pytest.raises(DownloadError, match="web page"):
        fetch(record(), tmp_path, Silent())
    assert names(tmp_path) == []


def test_a_disk_without_room_is_told_before_anything_is_written(
    server, record, tmp_path, monkeypatch
):
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr("eagleray.download.transfer.shutil.disk_usage", lambda _: usage)
    with pytest.raises(DownloadError, match="has room for 1000"):
        fetch(record(), tmp_path, Silent())


def by_hand(record, **values):
    return record(by_hand="open http://host/page, log in and save the file", **values)


def test_what_needs_a_person_says_what_to_do(server, record, tmp_path):
    with pytest.raises(DownloadError, match=r"log in.*CC0.*\n.*download weights --from FILE"):
        fetch(by_hand(record), tmp_path, Silent())
    assert not server.how.requests


def test_a_file_given_by_hand_is_verified_and_placed(record, tmp_path):
    mine = tmp_path / "Downloads" / "weights (1).pt"
    mine.parent.mkdir()
    mine.write_bytes(CONTENT)
    path = place(by_hand(record), mine, tmp_path / "to")
    assert path == tmp_path / "to/weights.pt" and path.read_bytes() == CONTENT
    assert mine.exists()
    assert fetch(by_hand(record), tmp_path / "to", Silent()) == path
    assert place(by_hand(record), path, tmp_path / "to") == path


def test_a_wrong_file_given_by_hand_is_refused_and_left_alone(record, tmp_path):
    mine = tmp_path / "mine.pt"
    mine.write_bytes(b"something else")
    with pytest.raises(DownloadError, match=r"mine\.pt has sha256"):
        place(by_hand(record), mine, tmp_path / "to")
    assert mine.exists() and names(tmp_path / "to") == []
    with pytest.raises(DownloadError, match=r"no file.*log in"):
        place(by_hand(record), tmp_path / "nothing", tmp_path / "to")


def test_the_instruction_names_the_page_where_nothing_else_is_known(record):
    assert "open http://127.0.0.1" in by_hand_text(record())
