"""The viewer in a real browser: load, orbit, click, threshold, undo, download."""

import time

import pytest
from tests.browser.conftest import Visit
from tests.eagleray.view.orbit_task import OrbitTask, no_model

from eagleray.view.functions import ViewFunctions
from eagleray.view.server import Viewer

pytestmark = pytest.mark.browser


@pytest.fixture
def opened(chromium):
    task = OrbitTask()
    viewer = Viewer(ViewFunctions(task, no_model()), "a ball", port=0, max_side_px=160)
    visit = Visit(chromium, viewer.address, accept_downloads=True)
    visit.page.goto(viewer.address)
    visit.page.get_by_text("a ball").first.wait_for()
    yield task, visit.page
    visit.context.close()
    viewer.close()
    assert visit.foreign == []


def wait_for(condition, seconds=30):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "the viewer did not react"
        time.sleep(0.05)


def drag(page, start, stop):
    page.mouse.move(*start)
    page.mouse.down()
    page.mouse.move(*stop, steps=8)
    page.mouse.up()


def test_viewer_orbits_clicks_and_downloads(opened, tmp_path):
    task, page = opened
    wait_for(lambda: any(a.width_px == 160 or a.height_px == 160 for a in task.looks))
    first = task.looks[-1].position
    drag(page, (500, 450), (650, 450))
    wait_for(
        lambda: (
            sum((a - b) ** 2 for a, b in zip(task.looks[-1].position, first, strict=True)) > 0.01
        )
    )

    page.get_by_text("select", exact=True).click()
    page.mouse.click(600, 430)
    wait_for(lambda: len(task.picks) == 1)
    assert task.picks[0].positive
    canvas = page.locator("canvas").first.bounding_box()
    share = (600 - canvas["x"]) / canvas["width"], (430 - canvas["y"]) / canvas["height"]
    pick = task.picks[0]
    assert pick.column == pytest.approx(share[0] * pick.width_px, abs=2)
    assert pick.row == pytest.approx(share[1] * pick.height_px, abs=2)
    wait_for(lambda: len(task.selections[-1]) == 1)
    page.get_by_text("take away", exact=True).click()
    page.mouse.click(620, 460)
    wait_for(lambda: len(task.selections[-1]) == 2)
    assert not task.picks[1].positive
    page.get_by_text("undo click").click()
    wait_for(lambda: len(task.selections[-1]) == 1)

    with page.expect_download() as download:
        page.get_by_text("points", exact=True).click()
        page.get_by_text("points.txt").last.wait_for(timeout=5000)
        page.get_by_text("points.txt").first.click()
    download.value.save_as(tmp_path / "points.txt")
    assert (tmp_path / "points.txt").read_text().endswith(" 1")
    page.screenshot(path=tmp_path / "viewer.png")
    assert (tmp_path / "viewer.png").stat().st_size > 10_000
