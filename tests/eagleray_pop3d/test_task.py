"""The task on its contract: trained and evaluated in this process, asked, predicting, imported."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import cv2
import imageio_ffmpeg
import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score
from tests.eagleray_pop3d.small_task import (
    CLASSES,
    QUERIES,
    WORDS,
    small_experiment,
    small_settings,
    write_rig,
)

from eagleray.api import Experiment
from eagleray.experiment.schema import ExperimentSettings
from eagleray.runs.run_folder import training_digest
from eagleray.task import EaglerayError, InputError, SettingsError
from eagleray_pop3d.data import EvaluationFrames, EvaluationSample, read_queries
from eagleray_pop3d.picture import from_above
from eagleray_pop3d.predict import FramePrediction
from eagleray_pop3d.settings import Pop3dSettings
from eagleray_pop3d.stored_features import features_of_row
from eagleray_pop3d.task import POP3DTask
from eagleray_pop3d.voxels import (
    FREE_LABEL,
    IGNORED_LABEL,
    agnostic_labels,
    evaluation_labels,
)
from eagleray_pop3d.words import TextSettings, class_vectors, embed_texts
from eagleray_vision.codecs import codec_of_json


@pytest.fixture
def rig(tmp_path: Path) -> Path:
    write_rig(tmp_path)
    return tmp_path


def experiment(root: Path, **train: Any) -> Experiment:
    return Experiment.from_values(small_experiment(root, **train), inline=True)


def small_task(root: Path, **sections: Any) -> POP3DTask:
    return POP3DTask(Pop3dSettings.model_validate(small_settings(root, **sections)))


def test_a_run_trains_and_is_evaluated_without_features(rig: Path) -> None:
    trained = experiment(rig)
    trained.prepare()
    assert trained.train().finished
    shutil.rmtree(rig / "features")
    for folder in (rig / "storage/prepared/pop3d/features").iterdir():
        shutil.rmtree(folder)
    again = experiment(rig)
    results = {one.benchmark: one for one in again.evaluate(("occupancy", "retrieval_val"))}
    occupancy = results["occupancy"].values
    assert set(occupancy) >= {"miou_17", "miou_present", "geometric_iou", "miou_points_visible"}
    assert all(0 <= value <= 100 for value in occupancy.values())
    retrieval = results["retrieval_val"]
    assert 0 < retrieval.values["map"] <= 100
    assert set(retrieval.per_class) == {"car", "person"}
    assert retrieval.values["base_rate"] == pytest.approx(30, abs=5)
    assert not list((rig / "storage/prepared/pop3d/features").iterdir())


def test_settings_of_use_are_no_other_run(rig: Path) -> None:
    base = small_settings(rig)
    others = (
        {},
        {"cosine_scores": True},
        {"text": {"clip": "toy"}},
        {"truth": {"occ3d": "gts"}},
    )
    digests = {
        training_digest(
            ExperimentSettings(task="pop3d", settings=Pop3dSettings.model_validate(base | changed))
        )
        for changed in others
    }
    assert len(digests) == 1


def answers_of(task: POP3DTask, sample: EvaluationSample) -> FramePrediction:
    torch.manual_seed(0)
    with torch.inference_mode():
        return task.predict(task.build().eval(), [sample])[0]


def own_sample(task: POP3DTask, rig: Path) -> EvaluationSample:
    (item, *_) = task.inputs([rig / "frames"])
    return task.load_input(item)


def test_exports_of_an_own_rig(rig: Path) -> None:
    task = small_task(rig)
    (item, *others) = task.inputs([rig / "frames"])
    assert item.key == "frame0" and len(others) == 3
    sample = task.load_input(item)
    found = answers_of(task, sample)
    files = {}
    for kind in task.formats:
        files |= task.export(item, sample, found, kind).files
    assert set(files) == {"frame0.npz", "frame0.ply", "frame0.png"}
    rows = [task.export(item, sample, found, "video").row for _ in range(3)]
    film = rig / "film.mp4"
    film.write_bytes(task.export_index("video", rows)["occupancy.mp4"])
    frames = imageio_ffmpeg.read_frames(str(film))
    shape = next(frames)["source_size"]
    shown = [np.frombuffer(one, dtype=np.uint8) for one in frames]
    assert shape == (960, 480) and len(shown) == 3
    wanted = cv2.imdecode(np.frombuffer(files["frame0.png"], dtype=np.uint8), cv2.IMREAD_COLOR)
    assert np.abs(shown[0].reshape(480, 960, 3)[..., ::-1].astype(int) - wanted).mean() < 12
    assert files["frame0.ply"].startswith(b"ply")
    (rig / "a.npz").write_bytes(files["frame0.npz"])
    with np.load(rig / "a.npz", allow_pickle=False) as arrays:
        occupied = (arrays["labels"] != FREE_LABEL).sum()
        assert arrays["labels"].shape == (8, 6, 2) and len(arrays["features"]) == occupied
    with pytest.raises(InputError, match="allowed are occupancy, ply, picture, video"):
        task.export(item, sample, found, "obj")


def test_a_perfect_prediction_scores_one_hundred(rig: Path) -> None:
    task = small_task(rig)
    grid = task.settings.network.grid
    sample = own_sample(task, rig)
    rng = np.random.default_rng(1)
    classes = rng.choice([0, 4, 7, 11], size=len(sample.frame.points)).astype(np.uint8)
    labeled = EvaluationSample(sample.frame, classes, np.arange(50))
    truth = evaluation_labels(sample.frame.points, classes, grid)
    found = FramePrediction(
        np.where(truth == IGNORED_LABEL, FREE_LABEL, truth).astype(np.uint8),
        torch.zeros(0, 4),
        torch.zeros(len(classes), 4),
        np.where(classes == 0, 3, classes).astype(np.uint8),
    )
    metrics = task.compute("occupancy", [task.score("occupancy", labeled, found)])
    judged = ("miou_17", "miou_present", "geometric_iou", "miou_points", "miou_points_visible")
    for name in judged:
        assert metrics.values[name] == 100, name


def test_queries_are_checked(rig: Path) -> None:
    task = small_task(rig)
    folder = rig / "retrieval"
    assert [q.text for q in read_queries(folder, ["val"])] == ["car", "car", "person"]
    with pytest.raises(InputError, match="does not exist; truth"):
        read_queries(folder, ["val", "test"])
    (folder / "retrieval_anns_test.csv").write_text("frame9;test;annotations/x.npy;;bus\n")
    trained = experiment(rig)
    rows = {f"key_frames:{s}": trained.prepare().rows["key_frames:val"] for s in ("val", "test")}
    with pytest.raises(InputError, match=r"frame9 \('bus', split test\)"):
        task.dataset("retrieval_valtest", rows)
    (folder / "retrieval_anns_test.csv").write_text("frame1;test;bus\n")
    with pytest.raises(InputError, match="line 1: 3 fields"):
        task.dataset("retrieval_valtest", rows)
    queries = task.dataset("retrieval_val", rows)
    np.save(folder / "annotations/frame0_car.npy", np.ones(17))
    with pytest.raises(InputError, match=r"frame0 has 17 values, its sweep 400 points"):
        queries.load(0, np.random.default_rng(0))
    np.save(folder / "annotations/frame1_car.npy", np.zeros(400))
    with pytest.raises(InputError, match="no point belongs to 'car'"):
        queries.load(1, np.random.default_rng(0))


def test_key_frames_without_labels_are_named(rig: Path) -> None:
    trained = experiment(rig)
    rows = trained.prepare().rows["key_frames:val"]
    frames = EvaluationFrames(rows, small_task(rig).settings)
    assert frames.load(0, np.random.default_rng(0)).classes is not None
    (rig / "0_labels.bin").write_bytes(b"\x63" * 400)
    with pytest.raises(InputError, match="0 to 31"):
        frames.load(0, np.random.default_rng(0))


def test_words_come_from_a_table_that_knows_its_own(rig: Path) -> None:
    settings = TextSettings(
        vectors=str(rig / "words.npy"),
        words={name: (word,) for name, word in zip(CLASSES, WORDS, strict=True)},
    )
    found = class_vectors(settings, 16)
    assert found.classes == (4, 7, 11) and found.vectors.shape == (3, 16)
    with pytest.raises(EaglerayError, match="has no vector of 'dragon'"):
        embed_texts(settings, ["dragon"], 16)
    with pytest.raises(InputError, match="have 512"):
        class_vectors(settings, 512)
    with pytest.raises(SettingsError, match=r"text\.clip"):
        class_vectors(TextSettings(), 16)
    with pytest.raises(ValueError, match="dragon"):
        TextSettings(words={"dragon": ("dragon",)})


def test_seen_from_above_the_front_is_up() -> None:
    labels = np.full((4, 4, 2), FREE_LABEL, dtype=np.uint8)
    labels[3, 3, 0] = 4
    labels[0, 0, :] = IGNORED_LABEL
    picture = from_above(labels)
    assert picture.shape == (480, 480, 3)
    assert picture[5, -5, 2] > 100 and picture[5, -5, 0] < 20
    assert picture[5, 5].tolist() == [255, 255, 255]
    assert picture[-5, 5].tolist() == [60, 60, 60]


def test_target_features_answer_queries_by_themselves(rig: Path) -> None:
    values = small_experiment(rig)
    truth = {**values["settings"]["truth"], "targets": True}
    values["settings"] = {**values["settings"], "truth": truth, "cosine_scores": True}
    values["settings"]["features"]["codec"] = "fp32"
    data = values["settings"]["data"]
    # Another split is another stage upstream, whose features fit for themselves.
    values["settings"]["data"] = {**data, "val": {**data["val"], "split": "other"}}
    asked = Experiment.from_values(values, inline=True)
    asked.prepare()
    features = asked.prepare().rows["features:val"]
    assert set(features.keys()) == {"frame0", "frame1"}
    (result,) = asked.evaluate(("retrieval_val_targets",), "initial")
    assert result.values["map"] is None and result.units == len(QUERIES)
    words = np.load(rig / "words.npy")
    words /= np.linalg.norm(words, axis=1, keepdims=True)
    expected = []
    for number, text in QUERIES:
        stored = features_of_row(features[f"frame{number}"])
        vectors = codec_of_json(features.fitted()["codec"]).decode(stored.codes).numpy()
        vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        wanted = np.load(rig / f"retrieval/annotations/frame{number}_{text}.npy")[stored.points]
        scores = vectors @ words[WORDS.index(text)]
        expected.append(average_precision_score(wanted, scores))
    assert result.values["map_visible"] == pytest.approx(100 * np.mean(expected), rel=1e-5)


def test_agnostic_labels_count_points_without_a_class_as_occupied() -> None:
    evaluation = np.array([255, FREE_LABEL, 4, 255, 16], dtype=np.uint8)
    majority = np.array([FREE_LABEL, FREE_LABEL, 4, 0, 16], dtype=np.uint8)
    assert agnostic_labels(evaluation, majority).tolist() == [255, 0, 1, 1, 1]


def test_a_rig_of_other_cameras_is_refused_by_its_token(rig: Path) -> None:
    values = small_experiment(rig)
    rows = Experiment.from_values(values, inline=True).prepare().rows
    encoder = {**values["settings"]["network"]["encoder"], "num_cameras": 3}
    network = {**values["settings"]["network"], "encoder": encoder}
    task = small_task(rig, network=network)
    for source in ("train", "val", "retrieval_val"):
        with pytest.raises(InputError, match=r"key frame frame0 has 2 cameras \(left, right\)"):
            task.dataset(source, rows).load(0, np.random.default_rng(0))
    with pytest.raises(InputError, match="frame0 has 2 cameras"):
        task.load_input(next(iter(task.inputs([rig / "frames"]))))


def test_published_files_are_named_for_download() -> None:
    files = {one.file for one in POP3DTask.downloads()}
    assert {"pop3d_weights.pth", "zeroshot_weights.pth", "r101_dcn_fcos3d_pretrain.pth"} <= files
    assert all(one.license and one.url.startswith("https://") for one in POP3DTask.downloads())
