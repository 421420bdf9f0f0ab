"""Who may look through the viewer: real requests and web sockets to a real viser server."""

import gzip
import socket
import time
import urllib.error
import urllib.request

import pytest
from tests.eagleray.view.orbit_scene import OrbitScene

from eagleray.cli.main import run as run_command
from eagleray.task import SettingsError
from eagleray.view import guarded_server
from eagleray.view.server import Viewer

TOKEN = "s3cret-&token"


def open_viewer(**options):
    return Viewer(OrbitScene(), "a ball", port=0, **options)


@pytest.fixture(scope="module")
def local():
    viewer = open_viewer()
    yield viewer
    viewer.close()


@pytest.fixture(scope="module")
def guarded():
    viewer = open_viewer(token=TOKEN)
    yield viewer
    viewer.close()


class NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_):
        return None


def get(viewer, path="/", **headers):
    url = f"http://127.0.0.1:{viewer._server.get_port()}{path}"
    opener = urllib.request.build_opener(NoRedirects)
    try:
        answer = opener.open(urllib.request.Request(url, headers=headers), timeout=20)
    except urllib.error.HTTPError as error:
        answer = error
    with answer:
        return answer.status, answer.headers, answer.read()


def open_socket(viewer, **headers):
    """Return whether a web socket is let in; the handshake is written by hand."""
    port = viewer._server.get_port()
    lines = {
        "Host": f"127.0.0.1:{port}",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Protocol": f"viser-v{guarded_server.viser.__version__}",
    } | headers
    text = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(f"GET / HTTP/1.1\r\n{text}\r\n".encode())
        answer = connection.recv(4096).decode(errors="replace").split("\r\n")[0]
    assert answer.split()[1] in ("101", "400", "401", "403"), answer
    return answer.split()[1] == "101"


def cookie(value=TOKEN):
    return {"Cookie": f"theme=dark; {guarded_server.COOKIE}={value}"}


def test_the_page_says_that_it_loads_before_its_program_runs(local):
    _, _, plain = get(local)
    _, headers, packed = get(local, **{"Accept-Encoding": "gzip"})
    assert gzip.decompress(packed) == plain
    assert headers["Content-Length"] == str(len(packed))
    assert plain.index(b"Loading the viewer") < plain.index(b"<script")


def test_this_machine_looks_without_a_token(local):
    status, headers, body = get(local)
    assert status == 200 and b"<html" in body
    assert headers["X-Frame-Options"] == "DENY" and headers["Referrer-Policy"] == "no-referrer"
    assert local.address == f"http://127.0.0.1:{local._server.get_port()}"
    assert open_socket(local)


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8080", "10.0.0.7", "[::2]", "a]"])
def test_names_that_only_point_at_this_machine_are_refused(local, host):
    assert get(local, Host=host)[0] == 403
    assert not open_socket(local, Host=host)


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:1"])
def test_pages_of_others_cannot_open_the_socket(local, guarded, origin):
    assert not open_socket(local, Origin=origin)
    assert not open_socket(guarded, Origin=origin, **cookie())


def test_the_viewers_own_page_opens_the_socket(local, guarded):
    for viewer, headers in ((local, {}), (guarded, cookie())):
        origin = f"http://127.0.0.1:{viewer._server.get_port()}"
        assert open_socket(viewer, Origin=origin, **headers)


@pytest.mark.parametrize("path", ["/", "/index.html", "/assets/x.js", "/?token=wrong", "/?token"])
def test_without_the_token_nothing_is_answered(guarded, path):
    status, _, body = get(guarded, path)
    assert status == 401 and b"token is needed" in body


@pytest.mark.parametrize("headers", [{}, cookie("wrong"), cookie(""), {"Cookie": "=;,[="}])
def test_without_the_token_no_socket_opens(guarded, headers):
    assert not open_socket(guarded, **headers)


def test_the_token_in_the_address_becomes_a_cookie_and_leaves_the_address(guarded):
    status, headers, _ = get(guarded, guarded.address.partition("/?")[2].join(["/?", "&a=b"]))
    assert status == 302 and headers["Location"] == "/?a=b"
    assert "HttpOnly" in headers["Set-Cookie"] and "SameSite=Strict" in headers["Set-Cookie"]
    given = headers["Set-Cookie"].partition(";")[0]
    assert get(guarded, Cookie=given)[0] == 200
    assert open_socket(guarded, Cookie=given)


def test_redirects_stay_on_the_viewer(guarded):
    token = guarded.address.partition("token=")[2]
    for path in (
        f"//evil.example/?token={token}",
        f"/\\evil.example?token={token}",
        f"/%09/evil.example?token={token}",
    ):
        status, headers, _ = get(guarded, path)
        assert status == 302
        assert headers["Location"].startswith("/") and headers["Location"][1] not in "/\\"


def test_an_address_that_others_reach_gets_a_token_of_its_own():
    viewers = [open_viewer(host="0.0.0.0") for _ in range(2)]
    try:
        tokens = {viewer.token for viewer in viewers}
        assert len(tokens) == 2 and all(len(token) > 20 for token in tokens)
        assert all(viewer.token in viewer.address for viewer in viewers)
        assert get(viewers[0])[0] == 401 and not open_socket(viewers[0])
        assert open_socket(viewers[0], Cookie=f"{guarded_server.COOKIE}={viewers[0].token}")
    finally:
        for viewer in viewers:
            viewer.close()


def test_no_visitor_opens_a_tunnel_to_the_public(local, monkeypatch):
    def tunnel(*_):
        pytest.fail("a tunnel was opened")

    monkeypatch.setattr("viser._viser.ViserTunnel", tunnel)
    assert local._server.request_share_url() is None


def test_a_viser_that_cannot_be_guarded_is_not_served(monkeypatch):
    def other_start(self, *_, **__):
        self.is_stopped = False

    monkeypatch.setattr(guarded_server.viser.ViserServer, "__init__", other_start)
    stopped = []
    monkeypatch.setattr(guarded_server.viser.ViserServer, "stop", lambda self: stopped.append(self))
    with pytest.raises(SettingsError, match="cannot be guarded"):
        open_viewer()
    assert len(stopped) == 1


@pytest.mark.parametrize(("host", "port"), [("no.such.host.invalid", 0), ("127.0.0.1", 70000)])
def test_addresses_that_cannot_be_listened_on_are_named(host, port):
    with pytest.raises(SettingsError, match="cannot listen on"):
        Viewer(OrbitScene(), "a ball", host=host, port=port)


def test_a_port_in_use_gives_the_next_one():
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        port = busy.getsockname()[1]
        viewer = Viewer(OrbitScene(), "a ball", port=port)
        try:
            assert viewer._server.get_port() > port and get(viewer)[0] == 200
        finally:
            viewer.close()


def test_closing_ends_the_server():
    viewer = open_viewer()
    port = viewer._server.get_port()
    viewer.close()
    end = time.monotonic() + 20
    while time.monotonic() < end:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=5).close()
        except OSError:
            return
        time.sleep(0.1)
    pytest.fail("the port still answers")


def test_the_verb_names_a_run_that_is_not_there(tmp_path, capsys):
    assert run_command(["view", "nothing", "--storage", str(tmp_path)]) != 0
    assert "nothing" in capsys.readouterr().err
