"""The viewer in a real browser: load, orbit, views, click modes, threshold, undo, download."""

import pytest
from tests.browser.conftest import Visit
from tests.browser.gestures import choose, drag, input_of, press, wait_for
from tests.eagleray.view.block_scene import BlockScene
from tests.eagleray.view.orbit_scene import START, OrbitScene

from eagleray.view.server import Viewer

pytestmark = pytest.mark.browser


@pytest.fixture
def opened(chromium):
    scene = OrbitScene()
    viewer = Viewer(scene, "a ball", port=0, max_side_px=160)
    visit = Visit(chromium, viewer.address, accept_downloads=True)
    visit.page.goto(viewer.address)
    visit.page.get_by_text("a ball").first.wait_for()
    yield scene, visit.page
    visit.context.close()
    viewer.close()
    assert visit.foreign == []


def selection_of(scene):
    return list(scene.looks[-1].selection)


def test_viewer_orbits_and_comes_back(opened):
    scene, page = opened

    def distance_from_start():
        if not scene.looks:
            return 1.0
        pairs = zip(scene.looks[-1].camera.position, START.position, strict=True)
        return sum((a - b) ** 2 for a, b in pairs)

    wait_for(lambda: distance_from_start() < 1e-6)
    wait_for(lambda: any(160 in (a.camera.width_px, a.camera.height_px) for a in scene.looks))
    drag(page, (500, 450), (650, 450))
    wait_for(lambda: distance_from_start() > 0.01)
    assert scene.picks == []
    press(page, "back to the start")
    wait_for(lambda: distance_from_start() < 1e-6)


def test_viewer_shows_what_is_chosen(opened):
    scene, page = opened
    wait_for(lambda: scene.looks)
    choose(page, "show", "grey")
    wait_for(lambda: scene.looks[-1].mode == "grey")
    slider = page.get_by_role("slider").first
    slider.focus()
    for _ in range(5):
        page.keyboard.press("ArrowLeft")
    wait_for(lambda: scene.looks[-1].threshold == pytest.approx(0.75))


def test_clicks_select_add_take_away_and_come_undone(opened):
    scene, page = opened
    wait_for(lambda: scene.looks)
    page.mouse.click(600, 430)
    wait_for(lambda: scene.picks)
    canvas = page.locator("canvas").first.bounding_box()
    share = (600 - canvas["x"]) / canvas["width"], (430 - canvas["y"]) / canvas["height"]
    (column, row, positive), camera = scene.picks[0], scene.cameras[0]
    assert positive
    assert column == pytest.approx(share[0] * camera.width_px, abs=2)
    assert row == pytest.approx(share[1] * camera.height_px, abs=2)
    wait_for(lambda: scene.looks[-1].mode == "selection" and len(selection_of(scene)) == 1)
    page.mouse.click(640, 470)
    wait_for(lambda: len(scene.picks) == 2)
    wait_for(lambda: selection_of(scene) == [scene.picks[1]])
    choose(page, "a click will", "add")
    page.mouse.click(560, 400)
    wait_for(lambda: len(selection_of(scene)) == 2)
    choose(page, "a click will", "take away")
    page.mouse.click(620, 460)
    wait_for(lambda: len(selection_of(scene)) == 3)
    assert [positive for *_, positive in selection_of(scene)] == [True, True, False]
    choose(page, "a click will", "nothing")
    page.mouse.click(580, 460)
    press(page, "undo")
    wait_for(lambda: len(selection_of(scene)) == 2)
    assert len(scene.picks) == 4
    press(page, "clear")
    wait_for(lambda: selection_of(scene) == [])
    press(page, "undo")
    wait_for(lambda: len(selection_of(scene)) == 2)
    for _ in range(3):
        press(page, "undo")
    wait_for(lambda: selection_of(scene) == [])


def test_clicks_on_nothing_and_levels_of_nothing_are_told(opened):
    scene, page = opened
    wait_for(lambda: scene.looks)
    page.mouse.click(40, 430)
    page.get_by_text("nothing there").wait_for()
    press(page, "coarse")
    page.get_by_text("click at a thing first").wait_for()
    assert selection_of(scene) == []
    page.mouse.click(600, 430)
    wait_for(lambda: len(selection_of(scene)) == 1)
    for level, threshold in (("coarse", 0.25), ("medium", 0.62), ("fine", 0.62)):
        press(page, level)
        wait_for(lambda t=threshold: scene.looks[-1].threshold == pytest.approx(t))


def test_downloads_reach_the_disk(opened, tmp_path):
    scene, page = opened
    wait_for(lambda: scene.looks)
    press(page, "points")
    page.get_by_text("nothing is selected").wait_for()
    page.mouse.click(600, 430)
    wait_for(lambda: len(selection_of(scene)) == 1)
    with page.expect_download() as download:
        press(page, "points")
    download.value.save_as(tmp_path / "points.txt")
    assert (tmp_path / "points.txt").read_text().endswith(" 1")
    page.screenshot(path=tmp_path / "viewer.png")
    assert (tmp_path / "viewer.png").stat().st_size > 10_000


def test_only_who_knows_the_token_sees_anything(chromium):
    scene = OrbitScene()
    viewer = Viewer(scene, "a ball", port=0, token="s3cret")
    address, _, query = viewer.address.partition("/?")
    try:
        stranger = Visit(chromium, address)
        assert stranger.page.goto(address).status == 401
        stranger.page.evaluate(
            """address => new Promise(done => {
                const socket = new WebSocket(address);
                socket.onopen = () => done("open");
                socket.onclose = () => done("closed");
            }).then(state => { window.socketState = state; })""",
            address.replace("http", "ws"),
        )
        assert stranger.page.evaluate("window.socketState") == "closed"
        stranger.context.close()
        assert scene.looks == []
        guest = Visit(chromium, address)
        guest.page.goto(f"{address}/?{query}")
        wait_for(lambda: scene.looks)
        assert "token" not in guest.page.url
        assert guest.context.cookies()[0]["httpOnly"]
        guest.context.close()
    finally:
        viewer.close()


@pytest.fixture
def blocks(chromium):
    scene = BlockScene()
    viewer = Viewer(scene, "blocks", port=0, max_side_px=160)
    visit = Visit(chromium, viewer.address, accept_downloads=True)
    visit.page.goto(viewer.address)
    visit.page.get_by_text("blocks").first.wait_for()
    yield scene, visit.page
    visit.context.close()
    viewer.close()
    assert visit.foreign == []


def test_blocks_are_drawn_asked_for_and_switched_off(blocks):
    scene, page = blocks

    def newest():
        return scene.requests[-1]

    page.get_by_text("8 boxes").wait_for()
    choose(page, "frame", "two")
    wait_for(lambda: newest().frame == "two")
    question = input_of(page, "look for")
    question.fill("up")
    page.get_by_role("button", name="find", exact=True).click()
    page.get_by_text("is no word of left, right").wait_for()
    question.fill("left")
    page.get_by_role("button", name="find", exact=True).click()
    wait_for(lambda: newest().selection == (-1.0,) and newest().mode == "likeness")
    question.fill("right")
    press(page, "and this")
    wait_for(lambda: newest().selection == (-1.0, 1.0))
    page.get_by_text("6 boxes").wait_for()
    press(page, "clear")
    choose(page, "show", "colors")
    press(page, "classes")
    press(page, "red")
    wait_for(lambda: newest().hidden == ("red",))
    page.get_by_text("4 boxes").wait_for()
