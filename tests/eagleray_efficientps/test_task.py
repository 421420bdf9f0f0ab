"""The task on its contract: a few steps of training, prediction, scoring and export in this
process.
"""

import io
import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tests.eagleray_efficientps.small_network import SMALL, cityscapes_settings
from tests.eagleray_vision.small_data import run_stage, small_cityscapes

from eagleray.experiment.load import load_experiment
from eagleray.experiment.schema import ExperimentSettings
from eagleray.options import RunOptions
from eagleray.prepare import prepare_stages
from eagleray.runs.run_folder import training_digest
from eagleray.storage import Store
from eagleray.task import InputError, SettingsError, StepContext
from eagleray.train.run import check_requirements
from eagleray_efficientps.benchmarks import efficientps_benchmarks
from eagleray_efficientps.data import fitted_size
from eagleray_efficientps.losses import LOSS_NAMES
from eagleray_efficientps.predict import network_settings, predict_panoptic, prediction_of
from eagleray_efficientps.published import MULTI_SCALE, SINGLE_SCALE
from eagleray_efficientps.recipes import FROZEN_PHASE
from eagleray_efficientps.settings import EfficientPsSettings, InputSettings
from eagleray_efficientps.task import EfficientPSTask
from eagleray_vision.inference.multi_view import infer_views
from eagleray_vision.inference.views import TestTimeSettings, sample_views
from eagleray_vision.layers.activated_norm import ActivatedBatchNorm
from eagleray_vision.panoptic.label_image import read_rgb_ids

EXPERIMENTS = Path(__file__).resolve().parents[2] / "experiments" / "efficientps"


@pytest.fixture
def task(tmp_path):
    return EfficientPSTask(cityscapes_settings(small_cityscapes(tmp_path)))


@pytest.fixture
def rows(task):
    return {stage.label: run_stage(stage)[0] for stage in task.stages()}


def network(task):
    torch.manual_seed(0)
    return task.build()


def predictions_of(task, rows, model=None):
    val = task.dataset("val", rows)
    samples = [val.load(k, np.random.default_rng(0)) for k in range(len(val))]
    with torch.inference_mode():
        return samples, task.predict((model or network(task)).eval(), samples)


def test_loss_falls_and_predictions_can_be_scored(task, rows):
    model = network(task)
    data = task.dataset("train", rows)
    phase = task.phases()[0]
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    totals = []
    task.on_phase_start(model.train(), phase, data)
    for step in range(16):
        index = step % len(data)
        batch = data.collate([data.load(index, np.random.default_rng(step))])
        assert all(side % 32 == 0 for side in batch.images.shape[2:])
        terms = task.losses(model, batch, StepContext(phase, step, 16, 0, (data.key(index),)))
        assert tuple(terms) == LOSS_NAMES
        total = sum(t.sum / t.weight for t in terms.values() if float(t.weight) > 0)
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        totals.append(float(total))
    assert np.isfinite(totals).all()
    assert np.mean(totals[-4:]) < 0.8 * np.mean(totals[:4])

    samples, predictions = predictions_of(task, rows, model)
    for benchmark in task.benchmarks():
        found = [
            task.score(benchmark.name, sample, prediction)
            for sample, prediction in zip(samples, predictions, strict=True)
        ]
        assert set(found[0]) == set(benchmark.schema)
        values = task.compute(benchmark.name, json.loads(json.dumps(found))).values
        assert benchmark.metric in values
    pictures = task.picture(samples[0], predictions[0])
    assert {picture.shape for picture in pictures.values()} == {(64, 96, 3)}


@pytest.mark.parametrize("method", ["proposed", "heuristic"])
def test_the_ceiling_is_high_and_instances_of_the_truth_reach_full_ap(tmp_path, method):
    root = small_cityscapes(tmp_path)
    task = EfficientPSTask(
        cityscapes_settings(root, fusion={"min_stuff_area_px": 30, "method": method})
    )
    rows = {stage.label: run_stage(stage)[0] for stage in task.stages()}
    samples, predictions = predictions_of(task, rows)
    ceiling = task.benchmarks()[1].name
    row = task.score(ceiling, samples[0], predictions[0])
    assert task.compute(ceiling, [row]).values["pq"] > 85


def test_faithful_scores_at_the_size_of_the_network_input(tmp_path):
    root = small_cityscapes(tmp_path)
    settings = cityscapes_settings(root, faithful=True, input={"size_hw": (32, 48)})
    task = EfficientPSTask(settings)
    rows = {stage.label: run_stage(stage)[0] for stage in task.stages()}
    samples, (prediction,) = predictions_of(task, rows)
    assert prediction.fused.id_map.shape == (32, 48)
    row = task.score(task.benchmarks()[0].name, samples[0], prediction)
    assert np.sum(row["confusion"]) <= 32 * 48
    changed = EfficientPSTask(settings.model_copy(update={"faithful": False}))
    with torch.inference_mode():
        (prediction,) = changed.predict(network(changed).eval(), samples)
    assert prediction.fused.id_map.shape == (64, 96)


def test_ap_needs_detections_that_the_fusion_does_not_see(tmp_path):
    settings = cityscapes_settings(tmp_path)
    assert network_settings(settings).roi.score_threshold == 0.05
    faithful = settings.model_copy(update={"faithful": True})
    assert network_settings(faithful).roi.score_threshold == 0.5


def test_several_views_give_one_prediction(task, rows):
    many = EfficientPSTask(
        task.settings.model_copy(
            update={
                "test_time": task.settings.test_time.model_copy(
                    update={"scales": (0.75, 1.0, 1.5), "flip": True}
                )
            }
        )
    )
    _, (prediction,) = predictions_of(many, rows)
    assert prediction.fused.id_map.shape == prediction.semantic_classes.shape == (64, 96)
    single, several = (one.benchmarks()[0].published for one in (task, many))
    assert single != several and all("multi-scale" in row.model for row in several)


def test_the_last_phase_of_the_paper_freezes_statistics(task, rows):
    model = network(task)
    data = task.dataset("train", rows)
    paper = EfficientPSTask(task.settings.model_copy(update={"recipe": "paper"}))
    main, frozen = paper.phases()
    layers = [m for m in model.modules() if isinstance(m, ActivatedBatchNorm)]
    paper.on_phase_start(model, frozen, data)
    assert frozen.name == FROZEN_PHASE and all(layer.frozen for layer in layers)
    before = {k: v.clone() for k, v in model.named_buffers()}
    batch = data.collate([data.load(0, np.random.default_rng(0))])
    paper.losses(model.train(), batch, StepContext(frozen, 0, 1, 0, (data.key(0),)))
    assert all(torch.equal(v, before[k]) for k, v in model.named_buffers())
    paper.on_phase_start(model, main, data)
    assert not any(layer.frozen for layer in layers)


def test_crops_without_things_are_drawn_again_only_if_faithful(tmp_path):
    root = small_cityscapes(tmp_path)
    tiny = {"size_hw": (64, 96), "crop_hw": (8, 8), "random_scale": None, "flip_probability": 0.0}
    things = {}
    for faithful in (True, False):
        task = EfficientPSTask(cityscapes_settings(root, faithful=faithful, input=tiny))
        rows = {stage.label: run_stage(stage)[0] for stage in task.stages()}
        data = task.dataset("train", rows)
        drawn = [data.load(0, np.random.default_rng(seed)).placed for seed in range(12)]
        things[faithful] = [bool((p.categories[1:] >= 11).any()) for p in drawn]
    assert all(things[True]) and not all(things[False])


def test_a_split_without_things_is_refused_if_faithful(tmp_path):
    root = small_cityscapes(tmp_path)
    task = EfficientPSTask(cityscapes_settings(root, faithful=True))
    rows = {stage.label: run_stage(stage)[0] for stage in task.stages()}
    for key in rows["panoptic_labels:train"].keys():  # noqa: SIM118
        row = rows["panoptic_labels:train"]._rows[key]
        row["categories"] = [min(c, 10) if c != 255 else c for c in row["categories"]]
    with pytest.raises(InputError, match="no thing in the crops"):
        task.dataset("train", rows).load(0, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("size", "settings", "expected"),
    [
        ((1024, 2048), {}, (1024, 2048)),
        ((2048, 1024), {}, (2048, 1024)),
        ((375, 1242), {"size_hw": (384, 1280)}, (384, 1272)),
        ((375, 1242), {"size_hw": (384, 1280), "keep_shape": False}, (384, 1280)),
        ((3000, 4000), {}, (1024, 1365)),
    ],
)
def test_sizes_on_the_network_input(size, settings, expected):
    assert fitted_size(size, InputSettings(**settings), 1.0) == expected


def test_exports_of_an_odd_photograph_have_its_size(task, tmp_path):
    folder = tmp_path / "photos" / "ulm"
    folder.mkdir(parents=True)
    photo = np.random.default_rng(0).integers(0, 255, (51, 77, 3), dtype=np.uint8)
    Image.fromarray(photo).save(folder / "ulm_000000_000019_leftImg8bit.png")
    (item,) = task.inputs([tmp_path / "photos"])
    sample = task.load_input(item)
    with torch.inference_mode():
        (prediction,) = task.predict(network(task).eval(), [sample])
    files, rows = {}, {}
    for format in task.formats:
        task.check_format(format)
        record = task.export(item, sample, prediction, format)
        files |= record.files
        rows[format] = record.row
    ids = read_rgb_ids(files["cityscapes_panoptic/ulm_000000_000019_panoptic.png"])
    assert ids.shape == (51, 77)
    index = task.export_index("cityscapes_panoptic", [rows["cityscapes_panoptic"]])
    content = json.loads(index["cityscapes_panoptic.json"])
    assert content["images"][0]["id"] == content["annotations"][0]["image_id"]
    assert {s["id"] for s in content["annotations"][0]["segments_info"]} == set(
        np.unique(ids[ids > 0]).tolist()
    )
    with Image.open(io.BytesIO(files[f"semantic_ids/{item.key}.png"])) as semantic:
        assert semantic.size == (77, 51)
    raw = torch.load(io.BytesIO(files[f"raw/{item.key}.pth"]), weights_only=True)
    assert raw["original_size"] == [51, 77] and raw["semantic_logits"].shape[0] == 19
    with pytest.raises(InputError):
        task.export(item, sample, prediction, "gif")


def test_what_is_missing_is_said(tmp_path):
    missing = {"backbone": {**SMALL["backbone"], "weights": "none.pth"}}
    settings = EfficientPsSettings(data={"root": str(tmp_path / "none")}, network=missing)
    found = EfficientPSTask(settings).requirements()
    assert [r.found for r in found] == [False, False]
    assert found[1].training_only


def test_a_configuration_of_the_original_is_refused(task, tmp_path):
    (tmp_path / "config.py").write_text("print('run me')")
    with pytest.raises(SettingsError, match="Python program"):
        task.import_published(tmp_path / "config.py", tmp_path)


def test_the_task_can_be_sent_to_a_worker(task):
    assert pickle.loads(pickle.dumps(task)).settings == task.settings


@pytest.mark.parametrize("path", sorted(EXPERIMENTS.glob("*.yaml")), ids=lambda p: p.stem)
def test_experiments_are_valid(path, monkeypatch):
    monkeypatch.setenv("EAGLERAY_DATA", "data")
    experiment = load_experiment(path)
    task = EfficientPSTask(experiment.settings)
    known = {one.name for one in task.benchmarks()} if path.stem != "vistas" else None
    assert known is None or set(experiment.evaluate.benchmarks) <= known


def test_several_views_stand_beside_one_with_rows_of_their_own():
    single, ceiling, several = efficientps_benchmarks(EfficientPsSettings())
    assert [b.name.removeprefix("cityscapes_val") for b in (single, ceiling, several)] == [
        "",
        "_fusion_ceiling",
        "_multi_scale",
    ]
    assert single.published == SINGLE_SCALE["cityscapes"]
    assert several.published == MULTI_SCALE["cityscapes"]
    task = EfficientPSTask(EfficientPsSettings()).on_benchmark(several)
    assert task.settings.test_time.flip
    assert len(task.settings.test_time.scales) == 6
    assert len(efficientps_benchmarks(task.settings)) == 2


def test_a_checkpoint_is_evaluated_without_training_split_and_backbone_file(tmp_path):
    folder = small_cityscapes(tmp_path / "data")
    given = cityscapes_settings(folder).model_dump()
    given["network"]["backbone"]["weights"] = str(tmp_path / "missing.safetensors")
    settings = EfficientPsSettings.model_validate(given)
    for part in ("leftImg8bit", "gtFine"):
        shutil.rmtree(folder / part / "train")
    task = EfficientPSTask(settings)
    values = {"task": "efficientps", "storage": str(tmp_path / "s"), "settings": settings}
    experiment = ExperimentSettings(**values)
    check_requirements(experiment, task, training=False)
    with pytest.raises(SettingsError, match="backbone"):
        check_requirements(experiment, task)
    prepared = prepare_stages(
        task,
        Store(experiment.storage),
        experiment.prepare,
        RunOptions(inline=True),
        task.stages_of("val"),
    )
    assert [summary.label for summary in prepared.summaries] == ["panoptic_labels:val"]
    assert len(task.dataset("val", prepared.rows))
    network(task)


def test_thresholds_and_views_are_no_part_of_a_run(tmp_path):
    plain = cityscapes_settings(small_cityscapes(tmp_path)).model_dump()
    used = {
        **plain,
        "fusion": {"score_threshold": 0.7, "fill_void": True},
        "test_time": {"flip": True},
        "evaluation": {"coco_ap": True},
    }
    roi = {**plain["network"]["roi"], "score_threshold": 0.2}
    used["network"] = {**plain["network"], "roi": roi}
    one, other = (
        training_digest(
            ExperimentSettings(task="efficientps", settings=EfficientPsSettings(**values))
        )
        for values in (plain, used)
    )
    assert one == other


def test_one_view_is_fused_as_no_views_are(task, rows):
    model = network(task).eval()
    settings = task.settings.model_copy(
        update={"fusion": task.settings.fusion.model_copy(update={"score_threshold": 0.1})}
    )
    val = task.dataset("val", rows)
    sample = val.load(0, np.random.default_rng(0))
    multiple = {"multiple": 32, "resizing": "opencv"}
    views = sample_views(sample, TestTimeSettings(), task.normalization(), **multiple)
    (plain,) = predict_panoptic(model, [sample], settings)
    seen = prediction_of(
        infer_views(model, views, sample.network_hw),
        sample.network_hw,
        sample.output_hw,
        settings,
        task.label_space().num_stuff,
    )
    assert (plain.fused.categories >= task.label_space().num_stuff).sum() > 1  # with void
    assert (seen.fused.id_map == plain.fused.id_map).mean() > 0.999
