"""Looking around in a panorama: directions, clicks, questions, switched-off classes, downloads."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tests.eagleray_ops.small_data import FileRows, run, small_settings

from eagleray.task import Camera, InputError, InteractiveScene, PartedScene, ViewRequest
from eagleray_ops.benchmarks import ops_benchmarks
from eagleray_ops.data import evaluation_images
from eagleray_ops.predict import predict_image
from eagleray_ops.stages import label_of, ops_stages
from eagleray_ops.view import Click, PanoramaScene, Question, checked, viewed_benchmark
from eagleray_vision.images.reading import read_rgb

HEIGHT, WIDTH = 40, 160
AHEAD, RIGHT, BEHIND = "car", "road", "truck"
TURNS = {AHEAD: 0, RIGHT: 90, BEHIND: 180}
WORDS = (AHEAD, RIGHT, BEHIND)
COLORS = np.array([[230, 20, 20], [20, 230, 20], [20, 20, 230]], np.uint8)


def panorama() -> np.ndarray:
    """Return a panorama with a color ahead, one to the right (and left), one behind."""
    degrees = (np.arange(WIDTH) + 0.5) / WIDTH * 360 - 180
    kind = np.select([np.abs(degrees) < 45, np.abs(degrees) < 135], [0, 1], 2)
    return np.tile(COLORS[kind], (HEIGHT, 1, 1))


@pytest.fixture
def scene(tmp_path: Path) -> PanoramaScene:
    for folder in ("images", "annotations"):
        (tmp_path / "wildpass" / folder / "val").mkdir(parents=True)
    for name in ("a", "b"):
        Image.fromarray(panorama()).save(tmp_path / f"wildpass/images/val/{name}.png")
        label = np.zeros((HEIGHT, WIDTH), np.uint8)
        Image.fromarray(label).save(tmp_path / f"wildpass/annotations/val/{name}.png")
    settings = small_settings(tmp_path, faithful=False)
    (stage,) = (s for s in ops_stages(settings) if s.label == label_of("wildpass"))
    rows, _ = run(stage, {})
    benchmark = viewed_benchmark(ops_benchmarks(settings, {}), {stage.label: rows})
    assert benchmark.name == "wildpass"
    images = evaluation_images(benchmark.source, {stage.label: rows}, settings)
    calls = []

    def predict(sample, words, check):
        calls.append(words)

        def network(parts: torch.Tensor) -> torch.Tensor:  # words that are no color score nothing
            more = parts.new_full((len(parts), len(words) - 3, *parts.shape[2:]), -9.0)
            return torch.cat([parts, more], dim=1)

        return predict_image(sample, checked(network, check), settings)

    found = PanoramaScene(images, WORDS, predict)
    found.calls = calls
    return found


def camera(yaw_deg: float) -> Camera:
    half = np.radians(yaw_deg) / 2
    return Camera((9.0, 9.0, 9.0), (np.cos(half), 0.0, np.sin(half), 0.0), 1.0, 30, 20)


def request(yaw=0.0, mode="photo", **values) -> ViewRequest:
    return ViewRequest(camera(yaw), mode, 0.5, **values)


def look(scene, *args, **values) -> np.ndarray:
    return scene.look(request(*args, **values), lambda: None)


def test_it_shows_what_lies_where_the_camera_looks(scene):
    assert isinstance(scene, InteractiveScene) and isinstance(scene, PartedScene)
    assert list(scene.frames) == ["a", "b"] and list(scene.parts) == list(WORDS)
    for word, yaw in TURNS.items():
        color = COLORS[WORDS.index(word)]
        np.testing.assert_array_equal(look(scene, yaw)[10, 15], color)
        painted = look(scene, yaw, "classes")[10, 15]
        np.testing.assert_array_equal(painted, scene.parts[word])
    # an annular panorama does not reach the zenith
    up = Camera((0.0, 0.0, 0.0), (np.sqrt(0.5), np.sqrt(0.5), 0.0, 0.0), 0.5, 8, 8)
    assert (scene.look(ViewRequest(up, "photo", 0.5), lambda: None) == 0).all()
    assert len(scene.calls) == 1


def test_a_click_finds_its_class_and_another_one_takes_it_away(scene):
    click = scene.pick(camera(90), 15, 10, positive=True)
    assert isinstance(click, Click)
    found = look(scene, 90, "found", selection=(click,))[15, 25]
    dark = look(scene, 0, "found", selection=(click,))[15, 15]
    assert found.sum() > 2 * dark.sum()
    again = scene.pick(camera(-90), 15, 10, positive=False)
    assert scene.thresholds(request()) == ()
    taken = look(scene, 90, "found", selection=(click, again))
    np.testing.assert_array_equal(taken, look(scene, 90, "overlay"))
    with pytest.raises(InputError, match="outside"):
        scene.pick(camera(0), 30, 3, positive=True)


def test_words_that_are_asked_for_join_the_classes(scene):
    question = scene.ask("  ice   cream van ", request())
    assert question == Question("ice cream van")
    dark = look(scene, 0, "found", selection=(question,))[15, 25]
    assert scene.calls == [(*WORDS, "ice cream van")]
    assert dark.sum() < look(scene, 0)[15, 25].sum() / 2  # nothing in sight is one
    known = scene.ask("car", request())
    lit = look(scene, 0, "found", selection=(known,))[15, 25]
    assert lit.sum() > dark.sum() and len(scene.calls) == 1 + 1
    for text in ("CAR", "wagon|cart"):  # words are compared without case, synonyms are one class
        asked = scene.ask(text, request())
        assert look(scene, 0, "found", selection=(asked,)).shape == (20, 30, 3)
    assert scene.calls[2:] == [(*WORDS, "wagon|cart")]
    with pytest.raises(InputError, match="type what"):
        scene.ask(" ", request())


def test_classes_that_are_switched_off_are_not_painted(scene):
    plain, painted = look(scene, 0), look(scene, 0, "overlay")
    assert (plain != painted).any()
    np.testing.assert_array_equal(look(scene, 0, "overlay", hidden=(AHEAD,)), plain)


def test_downloads_are_read_back(scene):
    name, content = scene.save(request(mode="overlay"), "image", lambda text: None)
    assert name.endswith(".png") and read_rgb(content).shape == (20, 30, 3)
    _, labels = scene.save(request(), "labels", lambda text: None)
    assert np.asarray(Image.open(io.BytesIO(labels))).shape == (HEIGHT, WIDTH)
    with pytest.raises(InputError, match="none of"):
        scene.save(request(), "mesh", lambda text: None)
    with pytest.raises(InputError, match="no image"):
        look(scene, frame="c")


def test_a_picture_that_is_no_longer_wanted_ends_between_windows(scene):
    def unwanted():
        raise InterruptedError

    with pytest.raises(InterruptedError):
        scene.look(request(), unwanted)
    assert look(scene).shape == (20, 30, 3)


def test_a_run_without_images_is_refused(tmp_path):
    benchmarks = ops_benchmarks(small_settings(tmp_path), {})
    with pytest.raises(InputError, match="evaluate it first"):
        viewed_benchmark(benchmarks, {})
    rows = {label_of("val"): FileRows()}
    assert viewed_benchmark(benchmarks, rows).name == "coco_val"
