"""Who may look, and what browsers are told."""

from __future__ import annotations

import socket

import pytest

from eagleray.cli.main import run as run_command
from eagleray.dashboard import make_app, server
from eagleray.dashboard.access import COOKIE
from eagleray.listening import is_loopback
from eagleray.task import SettingsError

PATHS = ("/", "/_dash-layout", "/picture/a/b/evaluation/x.png", "/assets/style.css")


@pytest.fixture
def guarded(storage, tmp_path):
    return make_app(str(storage), token="s3cret&", cache=tmp_path / "c").server


@pytest.mark.parametrize("path", PATHS)
def test_without_the_token_nothing_is_answered(guarded, path):
    client = guarded.test_client()
    assert client.get(path).status_code == 401
    assert client.get(f"{path}?token=wrong").status_code == 401
    client.set_cookie(COOKIE, "s3cret")
    assert client.get(path).status_code == 401


def test_the_token_in_the_address_becomes_a_cookie_and_leaves_the_address(guarded):
    client = guarded.test_client()
    answer = client.get("/compare?run=a%2Fb&token=s3cret%26&run=c")
    assert answer.status_code == 302
    assert answer.headers["Location"] == "/compare?run=a%2Fb&run=c"
    cookie = answer.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert client.get("/").status_code == 200


@pytest.mark.parametrize(
    "path", ["//evil.example/", "/\\evil.example/", "///evil.example", "/\t/evil.example"]
)
def test_the_token_does_not_redirect_to_another_site(guarded, path):
    answer = guarded.test_client().get(
        "/?token=s3cret%26", environ_overrides={"PATH_INFO": path}, follow_redirects=False
    )
    assert answer.headers["Location"] in ("/evil.example/", "/evil.example")


def test_on_this_machine_foreign_names_are_refused(storage, tmp_path):
    client = make_app(str(storage), cache=tmp_path / "c").server.test_client()
    assert client.get("/", headers={"Host": "127.0.0.1:8050"}).status_code == 200
    assert client.get("/", headers={"Host": "[::1]:8050"}).status_code == 200
    assert client.get("/", headers={"Host": "rebound.example:8050"}).status_code == 403


def test_pages_of_others_may_not_ask(storage, tmp_path):
    client = make_app(str(storage), cache=tmp_path / "c").server.test_client()
    host = {"Host": "127.0.0.1:8050"}
    assert client.get("/", headers=host | {"Origin": "http://127.0.0.1:8050"}).status_code == 200
    assert client.get("/", headers=host | {"Origin": "http://evil.example"}).status_code == 403


def test_answers_forbid_foreign_scripts_and_guessing_of_types(visitor):
    headers = visitor.client.get("/").headers
    policy = dict(
        p.strip().partition(" ")[::2] for p in headers["Content-Security-Policy"].split(";")
    )
    assert policy["default-src"] == "'self'"
    assert "unsafe" not in policy["script-src"]
    assert "http" not in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"


def test_pages_name_no_asset_outside(visitor):
    page = visitor.client.get("/").text
    assert "http://" not in page
    assert "https://" not in page.replace("//www.w3.org", "")


def test_nothing_can_be_written(visitor):
    for path in ("/", "/picture/a/b/evaluation/x.png"):
        assert visitor.client.put(path).status_code == 405
        assert visitor.client.delete(path).status_code == 405


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("10.0.0.1", False),
        ("", False),
    ],
)
def test_only_loopback_needs_no_token(host, expected):
    assert is_loopback(host) is expected


class StoppedError(Exception):
    """Ends serving."""


@pytest.mark.parametrize(("host", "has_token"), [("127.0.0.1", False), ("0.0.0.0", True)])
def test_serving_elsewhere_makes_and_prints_a_token(storage, monkeypatch, capsys, host, has_token):
    class Server:
        server_port = 1234

        def serve_forever(self):
            raise StoppedError

        def server_close(self):
            pass

    made = {}
    monkeypatch.setattr(server, "make_server", lambda *a, **k: made.update(app=a[2]) or Server())
    with pytest.raises(StoppedError):
        server.serve(str(storage), host=host)
    printed = capsys.readouterr().out
    assert (f"http://{host}:1234/?token=" in printed) is has_token
    status = made["app"].test_client().get("/").status_code
    assert status == (401 if has_token else 200)


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(SettingsError, match="there is no folder"):
        server.serve(str(tmp_path / "nope"))


def test_a_port_that_is_taken_is_named(storage, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(SettingsError, match="cannot listen on"):
            server.serve(str(storage), port=taken.getsockname()[1])


def test_the_verb_names_a_folder_that_is_not_there(capsys):
    assert run_command(["dashboard", "--storage", "/no/such/folder"]) == 2
    assert "there is no folder" in capsys.readouterr().err
