"""A headless Chromium that may load from this machine only, and a dashboard for it to open."""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright
from tests.small_store import storage, written_store
from werkzeug.serving import make_server

from eagleray.dashboard import make_app

__all__ = ["storage", "written_store"]

CHROMIUM = Path("/usr/bin/chromium")
_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
PATIENCE_MS = 90_000
"""Long enough for a click on a machine that does much else beside."""


@pytest.fixture(scope="module")
def chromium():
    """A browser of one module: Playwright's event loop must not go on through tests that fork."""
    if not CHROMIUM.exists():
        if os.environ.get("CI") == "true":
            pytest.fail(f"{CHROMIUM} is missing: install the package chromium")
        pytest.skip(f"{CHROMIUM} is not installed (package chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=str(CHROMIUM), headless=True, args=_FLAGS
        )
        yield browser
        browser.close()


class Visit:
    """One visitor's browser window, and everything that went wrong in it."""

    def __init__(self, browser, url, **options):
        self.url = url
        self.context = browser.new_context(viewport={"width": 1280, "height": 900}, **options)
        self.context.set_default_timeout(PATIENCE_MS)
        self.page = self.context.new_page()
        self.foreign, self.errors = [], []
        self.page.on("request", self._note_request)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", self._note_message)
        self.page.on("dialog", lambda dialog: self.errors.append("dialog") or dialog.dismiss())

    def open(self, address="/"):
        self.page.goto(self.url + address)
        self.page.wait_for_selector("h1")
        return self.page

    def _note_request(self, request):
        if not request.url.startswith((self.url, "data:", "blob:", "file:")):
            self.foreign.append(request.url)

    def _note_message(self, message):
        if message.type == "error":
            self.errors.append(message.text)


@contextmanager
def serving(application):
    """The address of a web application while it is served."""
    server = make_server("127.0.0.1", 0, application, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def served(storage, tmp_path):
    """The address of a dashboard over the store."""
    app = make_app(str(storage), cache=tmp_path / "cache")
    with serving(app.server) as address:
        yield address


@pytest.fixture
def visit(chromium, served):
    """A window on the dashboard; at the end nothing may have failed or left this machine."""
    visit = Visit(chromium, served)
    yield visit
    visit.context.close()
    assert visit.foreign == []
    assert visit.errors == []
