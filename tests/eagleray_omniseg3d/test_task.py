"""The whole task on a small room of the toy world, through the engine's own functions."""

import dataclasses
import io
import json
import pickle
import zipfile
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
import trimesh
from safetensors.torch import load_file

from eagleray.evaluate.driver import evaluate_checkpoints
from eagleray.experiment import schema
from eagleray.options import RunOptions
from eagleray.prepare import prepare_stages
from eagleray.runs.run_folder import RunFolder, training_digest
from eagleray.storage import Store
from eagleray.task import Camera, InputError, Item, SettingsError, StepContext, ViewRequest
from eagleray.train import checkpoint_weights, train_run
from eagleray_omniseg3d.click.selection import Similarity, likeness_in_view
from eagleray_omniseg3d.errors import SelectionError
from eagleray_omniseg3d.masks.hierarchy import read_npz
from eagleray_omniseg3d.model.view_rendering import ViewCache, render_view
from eagleray_omniseg3d.settings import OmniSeg3DSettings
from eagleray_omniseg3d.stages import hierarchy_file
from eagleray_omniseg3d.task import OmniSeg3DTask
from eagleray_omniseg3d.view.picture import without_specks

VIEWS = 40


def room_settings(folder, **changes):
    values = {
        "faithful": False,
        "data": {
            "format": "colmap",
            "split": "every_8th",
            "box": [[-3.3, -2.9, -0.1], [3.3, 2.9, 2.9]],
            "labels": "instance/{name}.png",
            "part_labels": "masks/{name}.json#part_id",
            "toyworld": {
                "format": "colmap",
                "scenes": 1,
                "val_every": 0,
                "views": VIEWS,
                "height_px": 48,
                "width_px": 64,
                "folder": str(folder),
            },
        },
        "masks": {"source": "files"},
        "field": {
            "num_levels": 8,
            "log2_table_size": 13,
            "finest_resolution": 128,
            "grid_size": 32,
            "max_samples": 128,
            "max_step_samples": 16384,
        },
        "color": {"steps": 160, "rays": 512},
        "semantics": {"steps": 60, "rays": 512, "contrast_weight": 5e-4 * 8192 / 512},
        "evaluation": {"min_object_px": 30},
    }
    return OmniSeg3DSettings(**(values | changes))


def experiment_of(task, root):
    train = schema.TrainSettings(
        phases=tuple(p.model_copy(update={"precision": "fp32"}) for p in task.phases())
    )
    return schema.ExperimentSettings(
        task="omniseg3d", settings=task.settings, storage=str(root / "storage"), train=train
    )


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """One run: room, masks, patches, both phases."""
    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp("omniseg3d")
    task = OmniSeg3DTask(room_settings(root / "room"))
    experiment = experiment_of(task, root)
    prepared = prepare_stages(
        task,
        Store(experiment.storage),
        experiment.prepare,
        RunOptions(device="cpu", inline=True),
    )
    run = RunFolder(str(root / "run"))
    result = train_run(experiment, task, run, prepared.rows, RunOptions(inline=True))
    model = task.build()
    model.load_state_dict(load_file(checkpoint_weights(run, "last")))
    return task, experiment, prepared, run, result, model.eval()


def test_stages_give_hierarchies_of_all_training_views(done):
    task, _, prepared, *_ = done
    rows = prepared.rows["patches:train"]
    scene = task.data.scene
    names = [scene.views[i].name for i in scene.split("train")]
    assert sorted(rows.keys()) == sorted(names) and len(names) == 35
    suffix = scene.views[0].image_path.suffix
    for stage, folder in (("masks:train", "masks"), ("patches:train", "patches")):
        content = prepared.rows[stage].read_file(names[0], f"{folder}/{names[0]}{suffix}")
        assert cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR).shape == (48, 64, 3)
    hierarchy = read_npz(rows.read_file(names[0], hierarchy_file(names[0])), "x")
    assert hierarchy.indices.shape == (48, 64) and hierarchy.num_patches > 5
    assert rows.summary()["images_without_masks"] == []


def test_training_goes_down_and_freezes_geometry(done):
    *_, run, result, model = done
    assert result.finished and result.step == 220
    color = [name for name in result.checkpoints if name.startswith("color")]
    before = load_file(run.local_path(f"checkpoints/{color[-1]}/model.safetensors"))
    after = model.state_dict()
    for name, value in before.items():
        same = torch.equal(value, after[name])
        assert same == (not name.startswith(("field.feature_grid", "field.feature_net"))), name
    assert 0.0 < model.occupancy.occupied_share < 1.0


def test_color_is_better_than_the_mean_color(done):
    task, experiment, prepared, run, *_ = done
    views = next(b for b in task.benchmarks() if b.name == "views")
    (result,) = evaluate_checkpoints(
        experiment, task, run, prepared.rows, [views], options=RunOptions(inline=True)
    )
    data = task.dataset("test", prepared.rows)
    truth = [data.load(i, None).rgb / 255 for i in range(len(data))]
    blind = [-10 * np.log10(np.square(t - t.mean((0, 1))).mean()) for t in truth]
    assert result.values["psnr"] > np.mean(blind) + 0.5
    assert result.units == len(data) == 5


@pytest.mark.parametrize("name", ["object_clicks", "part_clicks"])
def test_clicks_are_scored_on_unseen_views(done, name):
    task, experiment, prepared, run, *_ = done
    benchmark = next(b for b in task.benchmarks() if b.name == name)
    result, untrained = evaluate_checkpoints(
        experiment,
        task,
        run,
        prepared.rows,
        [benchmark],
        ("best", "initial"),
        RunOptions(inline=True),
    )
    assert result.units == untrained.units > 5
    assert 0.0 < result.values["miou"] <= 100.0
    if name == "object_clicks":
        learned, guessed = (r.values["reference_miou"] for r in (result, untrained))
        assert guessed < learned <= 100.0


def first_batch(task, bank, name, seed=0, step=0, rank=0, world_size=1):
    (phase,) = (p for p in task.phases() if p.name == name)
    return next(
        bank.batches(
            phase,
            seed=seed,
            start_step=step,
            rank=rank,
            world_size=world_size,
            device=torch.device("cpu"),
        )
    )


def test_rays_are_the_same_from_any_start_and_shared_between_ranks(done):
    task, _, prepared, *_ = done
    bank = task.dataset("train", prepared.rows)
    cpu = torch.device("cpu")

    def batch(name, step, rank=0, world_size=1, seed=3):
        return first_batch(task, bank, name, seed, step, rank, world_size)

    color, _ = task.phases()
    running = bank.batches(color, seed=3, start_step=0, rank=0, world_size=1, device=cpu)
    third = [next(running) for _ in range(3)][2]
    assert torch.equal(third.rays_d, batch("color", 2).rays_d)
    halves = [batch("color", 2, rank, 2) for rank in (0, 1)]
    assert torch.equal(torch.cat([h.rgb for h in halves]), third.rgb)
    assert torch.equal(torch.cat([h.noise for h in halves]), third.noise)
    image = batch("semantics", 5)
    assert len(torch.unique(image.rays_o, dim=0)) == 1
    assert len(torch.unique(image.rays_d, dim=0)) == len(image.rays_d) == 512
    assert int(image.patch_ids.max()) < len(image.correlation)
    assert len(batch("semantics", 5, 1, 2).rays_o) == 256


@pytest.mark.parametrize("name", ["color", "semantics"])
def test_seeds_give_different_rays_and_the_same_seed_equal_ones(done, name):
    task, _, prepared, *_ = done
    banks = [task.dataset("train", prepared.rows) for _ in range(2)]
    first, again = (first_batch(task, bank, name, seed=1, step=4) for bank in banks)
    for field in ("rays_o", "rays_d", "noise", "rgb", "background"):
        assert torch.equal(getattr(first, field), getattr(again, field))
    other = first_batch(task, banks[0], name, seed=2, step=4)
    assert not torch.equal(first.rays_d, other.rays_d)
    assert not torch.equal(first.noise, other.noise)


def test_rays_per_step_follow_the_experiments_phase(done):
    task, _, prepared, *_ = done
    bank = task.dataset("train", prepared.rows)
    for phase in task.phases():
        phase = phase.model_copy(update={"batch_size": 96})
        where = {"start_step": 0, "rank": 0, "world_size": 1, "device": torch.device("cpu")}
        assert len(next(bank.batches(phase, seed=0, **where)).rays_o) == 96


def test_rays_hit_the_pixels_they_are_colored_by(done):
    task, _, prepared, *_ = done
    scene = task.data.scene
    bank = task.dataset("train", prepared.rows)
    batch = first_batch(task, bank, "semantics")
    poses = torch.from_numpy(scene.poses("train")).float()
    view = int((poses[:, :, 3] - batch.rays_o[0]).norm(dim=1).argmin())
    local = batch.rays_d @ poses[view, :, :3]
    uv = local[:, :2] * torch.tensor(
        [scene.camera_matrix[0, 0], scene.camera_matrix[1, 1]]
    ) + torch.from_numpy(scene.camera_matrix[:2, 2])
    columns, rows = (uv - 0.5).round().long().unbind(1)
    rgb = task.data.sample(scene.views[scene.split("train")[view]]).rgb
    np.testing.assert_allclose(batch.rgb * 255, rgb[rows, columns], atol=0.01)


def test_bounded_samples_leave_rays_out(done):
    task, experiment, prepared, *_, model = done
    small = room_settings("unused", field=dict(task.settings.field) | {"max_step_samples": 2000})
    bank = task.dataset("train", prepared.rows)
    batch = first_batch(task, bank, "color")
    context = StepContext(experiment.train.phases[0], 0, 60, 0)
    terms = OmniSeg3DTask(small).losses(model, batch, context)
    assert 0 < terms["opacity"].weight < 512


def click_file(folder, **values):
    path = folder / "click.json"
    path.write_text(json.dumps(values))
    return path


def test_click_files_are_answered_and_exported(done, tmp_path):
    task, *_, model = done
    name = task.data.scene.views[0].name
    other = task.data.scene.views[3].name
    path = click_file(tmp_path, view=name, clicks=[[32, 24]], threshold=0.3, views=[other])
    (item,) = task.inputs([tmp_path])
    request = task.load_input(item)
    (selected,) = task.predict(model, [request])
    assert selected.names == (name, other) and selected.masks[0].shape == (48, 64)
    assert path.exists() and selected.masks[0].any()
    record = task.export(item, request, selected, "ply")
    content = record.files["click/object.ply"]
    head, body = content.split(b"end_header\n", 1)
    points = int(head.partition(b"element vertex ")[2].split()[0])
    assert 0 < points <= sum(int(m.sum()) for m in selected.masks) and len(body) == 15 * points
    assert set(task.export(item, request, selected, "masks").files) == {
        f"click/{name}.png",
        f"click/{other}.png",
    }
    for format in ("coco_rle", "overlays"):
        assert task.export(item, request, selected, format).files


def test_clicks_that_cannot_be_answered(done, tmp_path):
    task, *_, model = done
    name = task.data.scene.views[0].name
    click_file(tmp_path, view=name, clicks=[[640, 24]])
    (item,) = task.inputs([tmp_path])
    with pytest.raises(SelectionError, match="outside"):
        task.predict(model, [task.load_input(item)])
    click_file(tmp_path, view="nowhere", clicks=[[1, 1]])
    (item,) = task.inputs([tmp_path])
    with pytest.raises(InputError, match="nowhere"):
        task.load_input(item)
    click_file(tmp_path, view=name, clicks=[[32, 24]], threshold=0.999, views=[name])
    (item,) = task.inputs([tmp_path])
    request = task.load_input(item)
    (selected,) = task.predict(model, [request])
    empty = type(selected)(selected.names, selected.views, (selected.masks[0] & False,))
    with pytest.raises(SelectionError, match="empty"):
        task.export(item, request, empty, "ply")


@pytest.mark.parametrize(
    "content", [b"{}", b"[1", b"\xff\xfe", b'{"view": "a", "clicks": [[1e999, 2]]}', b"[" * 10**5]
)
def test_a_click_file_that_cannot_be_read_is_a_reject_beside_the_others(done, tmp_path, content):
    task = done[0]
    click_file(tmp_path, view=task.data.scene.views[0].name, clicks=[[32, 24]], views=[])
    (tmp_path / "broken.json").write_bytes(content)
    broken, whole = task.inputs([tmp_path])
    assert (broken.key, whole.key) == ("broken", "click")
    with pytest.raises(InputError, match="a click file is"):
        task.load_input(broken)
    assert task.load_input(whole).clicks == ((32, 24, True),)
    with pytest.raises(InputError, match="nowhere"):
        list(task.inputs([tmp_path / "nowhere.json"]))


def test_views_without_masks_train_color_but_no_features(done):
    task = done[0]
    bank = task.dataset("train", {})
    first_batch(task, bank, "color")
    with pytest.raises(InputError, match="no training view has patches"):
        first_batch(task, bank, "semantics")


def test_task_pickles_without_its_scene(done):
    task = done[0]
    assert len(pickle.dumps(task)) < 20000
    again = pickle.loads(pickle.dumps(task))
    assert again.settings == task.settings


def test_numbers_of_the_evaluation_are_no_part_of_a_run():
    def digest(**values):
        settings = OmniSeg3DSettings.model_validate(values)
        return training_digest(schema.ExperimentSettings(task="omniseg3d", settings=settings))

    plain = digest()
    assert digest(evaluation={"image_scale": 0.5, "replica": {"negative_weight": 0.3}}) == plain
    assert digest(semantics={"steps": 7}) != plain


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"phases": ["semantics", "color"]}, "color phase before"),
        ({"field": {"grid_size": 100}}, "power of two"),
        ({"field": {"max_step_samples": 10}}, "max_samples"),
        ({"data": {"toyworld": {"format": "replica", "folder": "x"}}}, "format"),
    ],
)
def test_impossible_settings_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        OmniSeg3DSettings(**changes)


def test_requirements_name_what_is_missing():
    task = OmniSeg3DTask(OmniSeg3DSettings())
    missing = {r.name: r.hint for r in task.requirements() if not r.found}
    assert "data.root" in missing["scene (colmap)"]
    assert "checkpoint" in missing["Segment Anything weights"]


def test_paper_phases(done):
    color, semantics = OmniSeg3DTask(OmniSeg3DSettings()).phases()
    assert (color.name, semantics.name) == ("color", "semantics")
    for phase in (color, semantics):
        assert phase.steps == 5000 and phase.batch_size == 8192
        assert (phase.lr, phase.eps, phase.betas) == (1e-2, 1e-15, (0.9, 0.999))
        assert phase.schedule.kind == "cosine" and phase.schedule.hold_steps == 1000


def test_absent_backend_is_named():
    settings = OmniSeg3DSettings(field={"backend": "tinycudann"})
    with pytest.raises(SettingsError, match="tinycudann"):
        OmniSeg3DTask(settings).build()


def test_foreign_sample_is_an_error(done):
    task, *_, model = done
    with pytest.raises(TypeError, match="Item"):
        task.predict(model, [Item("a", "a", {})])


def viewer_camera(start, rotation):
    from scipy.spatial.transform import Rotation

    wxyz = Rotation.from_matrix(rotation).as_quat()[[3, 0, 1, 2]]
    return Camera(start.position, tuple(wxyz.tolist()), start.fov_rad, 64, 48)


def unconcerned(*_):
    pass


class Window:
    """Asks a scene what a window of the viewer would, at the camera that it begins with."""

    def __init__(self, scene, camera):
        self.scene, self.camera = scene, camera

    def request(self, selection=(), mode="color", threshold=0.5, camera=None):
        return ViewRequest(camera or self.camera, mode, threshold, tuple(selection))

    def look(self, selection=(), check=unconcerned, **how):
        return self.scene.look(self.request(selection, **how), check)

    def pick(self, column, row, *, positive=True):
        return self.scene.pick(self.camera, column, row, positive=positive)

    def thresholds(self, selection):
        return self.scene.thresholds(self.request(selection))

    def save(self, what, selection=(), note=unconcerned, **how):
        return self.scene.save(self.request(selection, **how), what, note)


@pytest.fixture
def viewing(done):
    """A window at the first training camera, the start, the view and its rendering."""
    task, *_, model = done
    scene = task.interactive_scene(model, {})
    start = scene.start()
    view = task.data.scene.views[task.data.scene.split("train")[0]]
    window = Window(scene, viewer_camera(start, view.world_from_cam[:, :3]))
    (rendered,) = task.predict(model, [task.data.sample(view)])
    return window, start, view, rendered


def test_viewer_begins_at_a_training_camera_and_sees_what_it_saw(viewing):
    window, start, view, rendered = viewing
    np.testing.assert_allclose(start.position, view.world_from_cam[:, 3])
    assert np.dot(start.up, view.world_from_cam[:, 1]) < 0
    images = {m: window.look(mode=m) for m in ("color", "depth", "features", "objects")}
    assert all(i.shape == (48, 64, 3) and i.dtype == np.uint8 for i in images.values())
    assert len({i.tobytes() for i in images.values()}) == 4
    np.testing.assert_allclose(images["color"], np.rint(rendered.rgb * 255), atol=1)
    for mode in ("similarity", "selection", "cutout"):
        np.testing.assert_array_equal(window.look([], mode=mode), images["color"])


def test_viewer_keeps_what_is_under_a_click(viewing):
    window, _, _, rendered = viewing
    prompt = window.pick(20, 30)
    np.testing.assert_allclose(prompt.feature, rendered.features[30, 20], atol=1e-4)
    np.testing.assert_allclose(prompt.position, rendered.positions[30, 20], atol=1e-4)
    assert prompt.positive and not window.pick(20, 30, positive=False).positive
    for column, row in ((-1, 3), (64, 3), (3, 48)):
        with pytest.raises(SelectionError, match="outside the image of 64 x 48"):
            window.pick(column, row)


def test_viewer_shows_and_saves_a_selection(viewing, done):
    window, _, _, rendered = viewing
    prompt = window.pick(32, 24)
    likeness = likeness_in_view(rendered, prompt, Similarity(normalize=True))
    half = float(np.quantile(likeness, 0.5))
    chosen = without_specks((likeness > half) & (rendered.opacity > 0.5))
    color = window.look().astype(int)
    cutout = window.look([prompt], mode="cutout", threshold=half).astype(int)
    marked = np.abs(window.look([prompt]).astype(int) - color).max(axis=2) > 0
    assert marked[24, 32] and marked.sum() < 60
    np.testing.assert_array_equal(cutout[~marked & ~chosen], 0)
    np.testing.assert_array_equal(cutout[~marked & chosen], color[~marked & chosen])
    shown = {m: window.look([prompt], mode=m, threshold=half) for m in ("selection", "similarity")}
    assert not np.array_equal(shown["selection"], shown["similarity"])
    assert window.save("image", [prompt])[0] == "view.png"
    name, content = window.save("mask", [prompt], threshold=half)
    mask = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    assert name == "mask.png" and np.array_equal(mask > 0, chosen)
    with pytest.raises(SelectionError, match="positive click"):
        window.save("mask", [])


def test_viewer_saves_masks_of_all_training_views_and_one_cloud(viewing, done):
    window, *_ = viewing
    scene, prompt, notes = done[0].data.scene, window.pick(32, 24), []
    name, content = window.save("all_masks", [prompt], notes.append, threshold=0.6)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        names = {f"{scene.views[i].name}.png" for i in scene.split("train")}
        assert name == "masks.zip" and set(archive.namelist()) == names
    assert notes[0] == "view 1 of 35" and notes[-1] == "view 35 of 35"
    name, content = window.save("point_cloud", [prompt], notes.append, threshold=0.6)
    cloud = trimesh.load(io.BytesIO(content), file_type="ply")
    assert name == "object.ply" and len(cloud.vertices) > 10
    clicked = prompt.position * scene.scale + scene.shift
    assert np.linalg.norm(cloud.vertices - clicked, axis=1).min() < 0.1
    low, high = np.array(done[0].settings.data.box)
    assert ((cloud.vertices > low - 1) & (cloud.vertices < high + 1)).all()
    assert len(np.unique(np.asarray(cloud.colors)[:, :3], axis=0)) > 3
    with pytest.raises(SelectionError, match="empty"):
        window.save("point_cloud", [prompt, replace(prompt, positive=False)])

    def stop(text):
        raise KeyboardInterrupt(text)

    with pytest.raises(KeyboardInterrupt, match="view 1 of 24"):
        window.save("point_cloud", [prompt], stop, threshold=0.6)


def test_viewer_saves_the_surface_of_the_scene_and_of_a_selection(viewing, done, monkeypatch):
    monkeypatch.setattr("eagleray_omniseg3d.mesh.RESOLUTION", 32)
    window, *_ = viewing
    notes = []
    name, content = window.save("mesh_ply", note=notes.append)
    whole = trimesh.load(io.BytesIO(content), file_type="ply", process=False)
    assert name == "scene.ply" and whole.is_watertight and len(whole.faces) > 100
    assert notes[0] == "looking at the training views" and notes[-1] == "colors"
    prompt = window.pick(32, 24)
    name, content = window.save("mesh_glb", [prompt], threshold=0.6)
    part = trimesh.load(io.BytesIO(content), file_type="glb", process=False, force="mesh")
    assert name == "selection.glb" and 0 < part.area < whole.area
    assert len(np.unique(np.asarray(whole.visual.vertex_colors)[:, :3], axis=0)) > 3
    low, high = np.array(done[0].settings.data.box)
    assert ((whole.vertices > low - 1) & (whole.vertices < high + 1)).all()


def test_viewer_knows_where_the_photographs_were_taken(viewing):
    window, start, view, _ = viewing
    first = window.scene.captures[0]
    assert first.name == view.name and first.camera.position == pytest.approx(start.position)
    assert first.camera.wxyz == pytest.approx(window.camera.wxyz)
    photo = window.scene.photograph(view.name)
    assert photo.dtype == np.uint8 and photo.shape == (48, 64, 3)


def test_viewer_finds_levels_of_the_last_click(viewing):
    window, *_ = viewing
    prompts = [window.pick(32, 24), window.pick(5, 5, positive=False)]
    found = window.thresholds(prompts)
    assert len(found) == 3 and 0.5 < found[0] < found[1] < found[2] < 1
    with pytest.raises(SelectionError, match="click at a thing first"):
        window.thresholds(prompts[1:])


def test_a_view_that_nobody_wants_any_more_is_not_rendered(viewing, done):
    window, *_ = viewing

    class UnwantedError(Exception):
        pass

    def check():
        raise UnwantedError

    wide = replace(window.camera, width_px=65)
    with pytest.raises(UnwantedError):
        window.look((), check, camera=wide)
    assert window.look(camera=wide).shape == (48, 65, 3)


def test_cached_views_stay_within_their_memory(done):
    task, *_, model = done
    scene = task.data.scene
    samples = [task.data.sample(view, scale=0.5, with_rgb=False) for view in scene.views[:4]]
    one = render_view(model, samples[0]).num_bytes
    cache = ViewCache(max_bytes=2 * one)
    first = [cache.render(model, sample, faithful=False) for sample in samples]
    again = [cache.render(model, sample, faithful=False) for sample in reversed(samples)]
    kept = [a is b for a, b in zip(first, reversed(again), strict=True)]
    assert kept == [False, False, True, True]
    poor = cache.render(model, samples[0], with_features=False, faithful=False)
    assert poor.features.shape[2] == 16 and poor is again[-1]
    tiny = ViewCache(max_bytes=1)
    assert tiny.render(model, samples[0], faithful=False) is tiny.render(
        model, samples[0], with_features=False, faithful=False
    )


def test_another_semantic_run_shares_the_color_phase(done, tmp_path):
    task, _, prepared, run, *_ = done
    weights = checkpoint_weights(run, "last")
    other = OmniSeg3DTask(task.settings.model_copy(update={"phases": ("semantics",)}))
    settings = experiment_of(other, tmp_path)
    train = settings.train.model_copy(update={"init_from": str(weights)})
    settings = settings.model_copy(update={"train": train})
    again = Store(str(tmp_path / "again"))
    result = train_run(settings, other, again, prepared.rows, RunOptions(inline=True, limit=3))
    before, after = load_file(weights), load_file(checkpoint_weights(again, "last"))
    assert result.step == 3
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {
        n for n in before if n.startswith(("field.feature_grid", "field.feature_net"))
    }


def test_marching_once_gives_the_losses_of_marching_and_keeps_them(done):
    task, experiment, prepared, *_, model = done
    semantics = task.settings.semantics.model_copy(update={"march_once": True})
    once = OmniSeg3DTask(task.settings.model_copy(update={"semantics": semantics}))
    bank, phase = task.dataset("train", prepared.rows), experiment.train.phases[1]
    context = StepContext(phase, 0, 60, 0)
    first, later = (first_batch(task, bank, "semantics", step=step) for step in (0, 7))
    once.on_phase_start(model, phase, bank)
    for batch in (first, later):
        wanted = task.losses(model, batch, context)
        for _ in range(2):
            found = once.losses(model, batch, context)
            for name, term in wanted.items():
                torch.testing.assert_close(found[name].sum, term.sum, rtol=1e-4, atol=1e-4)
    other_noise = dataclasses.replace(first, noise=1.0 - first.noise)
    again = once.losses(model, other_noise, context)["contrast"].sum
    torch.testing.assert_close(again, once.losses(model, first, context)["contrast"].sum)
    assert not torch.allclose(again, task.losses(model, other_noise, context)["contrast"].sum)
