"""``eagleray view`` on a panorama, in a real browser: look around, switch classes off, click."""

import io
import itertools
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from tests.browser.conftest import Visit
from tests.browser.gestures import choose, drag, input_of, press, wait_for
from tests.eagleray_ops.small_task import small_experiment

pytestmark = [pytest.mark.browser, pytest.mark.slow]

HEIGHT, WIDTH = 64, 256
AHEAD, AROUND = (240, 220, 20), (20, 200, 220)
CENTER = (400, 300)
"""Where it is looked at, in pixels of the page; left of the panel."""
WORDS = ("car", "road", "tree", "sky")


@pytest.fixture
def address(tmp_path):
    """The viewer of a run that has read one panorama, yellow ahead and blue elsewhere."""
    photo = np.full((HEIGHT, WIDTH, 3), AROUND, np.uint8)
    photo[:, WIDTH // 3 : 2 * WIDTH // 3] = AHEAD
    label = np.zeros((HEIGHT, WIDTH), np.uint8)
    for kind, image in (("images", photo), ("annotations", label)):
        folder = tmp_path / "wildpass" / kind / "val"
        folder.mkdir(parents=True)
        Image.fromarray(image).save(folder / "street.png")
    experiment = small_experiment(
        tmp_path,
        steps=1,
        clip={"weights": "toy", "model": "", "prompts": "simple", "image_scale": 1.0},
        vocabulary=WORDS,
    )
    experiment.prepare()
    assert experiment.train().finished
    experiment.evaluate(benchmarks=["wildpass"])
    name = experiment.run_folder.name
    command = f"from eagleray.cli.main import main; main(['view', {name!r}, '--port', '0'])"
    viewer = subprocess.Popen(
        [sys.executable, "-c", command], cwd=tmp_path, stdout=subprocess.PIPE, text=True
    )
    try:
        yield viewer.stdout.readline().split()[0]
    finally:
        viewer.terminate()
        viewer.wait(60)


@pytest.fixture
def page(chromium, address):
    visit = Visit(chromium, address)
    visit.page.goto(address)
    yield visit.page
    visit.context.close()
    assert visit.foreign == []


def seen(page, place=CENTER):
    """Return the color that the page has at a place."""
    with Image.open(io.BytesIO(page.screenshot())) as image:
        return np.array(image.convert("RGB").getpixel(place), int)


def is_near(color, other):
    return np.abs(color - np.array(other)).max() < 40


def test_look_around_switch_classes_off_and_click(page):
    choose(page, "show", "photo")
    wait_for(lambda: is_near(seen(page), AHEAD))
    drag(page, (400, 450), (700, 450))
    wait_for(lambda: is_near(seen(page), AROUND))
    press(page, "back to the start")
    wait_for(lambda: is_near(seen(page), AHEAD))

    choose(page, "show", "overlay")
    wait_for(lambda: not is_near(seen(page), AHEAD))
    painted = seen(page)
    press(page, "classes")
    shown = [painted]
    for word in WORDS:
        press(page, word)
        page.wait_for_timeout(1500)
        shown.append(seen(page))
    # one class covers the place, and without it the photograph is left
    changes = [not is_near(a, b) for a, b in itertools.pairwise(shown)]
    assert sum(changes) == 1 and is_near(shown[-1], AHEAD)
    press(page, WORDS[changes.index(True)])
    wait_for(lambda: is_near(seen(page), painted))

    page.mouse.click(*CENTER)
    wait_for(lambda: input_of(page, "kept").input_value() == "1")
    wait_for(lambda: input_of(page, "show").input_value() == "found")
    assert is_near(seen(page), painted)
    press(page, "undo")
    wait_for(lambda: input_of(page, "kept").input_value() == "0")
