"""Key frames and features as stages: prepared once, read back, bad input rejected by name."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError
from tests.eagleray_vision.driving.small_tables import small_tables, write_tables

from eagleray.experiment.schema import PrepareSettings
from eagleray.options import RunOptions
from eagleray.prepare import prepare_stages
from eagleray.storage import Store
from eagleray.task import BaseTask, InputError, Settings, Stage
from eagleray_pop3d.data_settings import DataSettings, FeatureSettings, SourceSettings
from eagleray_pop3d.settings import Pop3dSettings
from eagleray_pop3d.stages import FeatureStage, KeyFrameStage, extractor_weights, read_extractor
from eagleray_pop3d.stored_features import features_of_row
from eagleray_pop3d.task import POP3DTask
from eagleray_vision.codecs import CodecError, codec_of_json
from eagleray_vision.driving.frame_json import read_frame_json
from eagleray_vision.driving.key_frame import key_frame_of_row
from eagleray_vision.driving.lidar import read_sweep
from eagleray_vision.driving.original_files import feature_file, projection_files
from eagleray_vision.driving.projection import project_frame

SIZE, CHANNELS, NUM_FRAMES = (45, 80), 16, 4
SIZES = {"left": SIZE, "right": SIZE}


class DataSettingsOfTask(Settings):
    data: DataSettings
    features: FeatureSettings


class DataOnly(BaseTask):
    name = "pop3d_data"
    settings_type = DataSettingsOfTask
    settings: DataSettingsOfTask

    def stages(self) -> Sequence[Stage]:
        data, features = self.settings.data, self.settings.features
        return [KeyFrameStage(data, "train"), FeatureStage(data, features, "train")]


def write_frame(root: Path, number: int) -> None:
    """An own rig of two cameras, with features of random vectors."""
    rng = np.random.default_rng(number)
    points = rng.normal(0, 12, (400, 5)).astype(np.float32)
    cameras = {}
    for name, side in (("left", -1.0), ("right", 1.0)):
        (root / name).mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (*SIZE, 3), dtype=np.uint8)).save(
            root / name / f"{number}.png"
        )
        c, s = np.cos(0.6 * side), np.sin(0.6 * side)
        seen = [[c, -s, 0, 0.1], [0, 0, -1, -0.3], [s, c, 0, -0.4], [0, 0, 0, 1]]
        cameras[name] = {
            "file": f"{name}/{number}.png",
            "K": [[50.0, 0, 40.0], [0, 50.0, 22.5], [0, 0, 1]],
            "lidar2cam": seen,
            "size_hw": SIZE,
        }
    (root / f"{number}.bin").write_bytes(points.tobytes())
    (root / "frames").mkdir(exist_ok=True)
    path = root / "frames" / f"frame{number}.json"
    content = {"sample_token": f"frame{number}", "timestamp": 1.0 * number, "cams": cameras}
    path.write_text(json.dumps(content | {"lidar": {"file": f"{number}.bin"}}))
    frame = read_frame_json(path)
    for name, matches in project_frame(frame, points, SIZES).items():
        (one,) = (c for c in frame.cameras if c.name == name)
        features = rng.random((len(matches.points), CHANNELS), dtype=np.float32)
        for file, data in (projection_files(one, matches) | feature_file(one, features)).items():
            (root / "features" / name).mkdir(parents=True, exist_ok=True)
            (root / "features" / file).write_bytes(data)


@pytest.fixture
def rig(tmp_path) -> Path:
    for number in range(NUM_FRAMES):
        write_frame(tmp_path, number)
    return tmp_path


def prepare(root: Path, **features):
    data = DataSettings(
        format="frames", root=str(root), train=SourceSettings(split="own", folder="frames")
    )
    stored = FeatureSettings(
        extractor="files", folder=str(root / "features"), **{"codec": "fp16", **features}
    )
    task = DataOnly(DataSettingsOfTask(data=data, features=stored))
    options = RunOptions(device="cpu", inline=True)
    store = Store(str(root / "storage"))
    return prepare_stages(task, store, PrepareSettings(items_per_shard=2), options)


def stage_of(root: Path, prepared, **features) -> FeatureStage:
    """The feature stage set up by hand, to see what it says of one item."""
    data = DataSettings(format="frames", root=str(root), train=SourceSettings(folder="frames"))
    settings = FeatureSettings(extractor="files", folder=str(root / "features"), **features)
    stage = FeatureStage(data, settings, "train")
    stage.setup("cpu", prepared.rows, {})
    return stage


@pytest.mark.parametrize("projections", [False, True])
def test_rows_hold_what_the_files_had(rig, projections):
    prepared = prepare(rig, projections=str(rig / "features") if projections else "")
    assert prepared.rejected == 0
    frames, rows = prepared.rows["key_frames:train"], prepared.rows["features:train"]
    assert sorted(frames.keys()) == sorted(rows.keys()) == [f"frame{k}" for k in range(NUM_FRAMES)]
    assert frames.summary() == {"key_frames": NUM_FRAMES, "scenes": 1}
    for key in rows.keys():  # noqa: SIM118
        frame = key_frame_of_row(frames[key])
        points = read_sweep(rig / frame.lidar.path)
        matches = project_frame(frame, points, SIZES)
        stored = features_of_row(rows[key])
        stored.check_sweep(len(points))
        expected = np.concatenate([matches[n].points for n in ("left", "right")])
        assert np.array_equal(stored.points, expected)
        assert np.bincount(stored.cameras).tolist() == [
            len(matches[n].points) for n in ("left", "right")
        ]
        features = [np.load(rig / "features" / n / f"{key[5:]}.pth.npy") for n in SIZES]
        values = stored.codes.values.numpy().view(np.float16)
        np.testing.assert_allclose(values, np.concatenate(features), atol=1e-3)
        with pytest.raises(InputError, match=f"{key} name point"):
            stored.check_sweep(3)


def test_codebook_travels_with_the_rows_and_refuses_others(rig):
    prepared = prepare(rig, codec="pq4", fit_frames=2)
    rows = prepared.rows["features:train"]
    summary = rows.summary()
    assert summary["key_frames_not_fitted"] == NUM_FRAMES - 2
    assert summary["matches"] == sum(rows[k]["num_matches"] for k in rows.keys())  # noqa: SIM118
    assert summary["bytes_of_codes"] == 4 * summary["matches"]
    assert 0.5 < summary["mean_cosine"] < 1.0
    stage = stage_of(rig, prepared, codec="pq4")
    loaded = [stage.load(item) for item in stage.items(prepared.rows)]
    stored = features_of_row(rows["frame0"])
    other = codec_of_json(stage.fit(loaded)["codec"])
    assert other.fingerprint != stored.codes.fingerprint
    with pytest.raises(CodecError, match=r"of the fit .*this codec is pq4"):
        other.decode(stored.codes)


def test_means_and_spreads_of_photographs_travel_with_the_rows(rig):
    prepared = prepare(rig, codec="ipq4", fit_frames=2)
    rows = prepared.rows["features:train"]
    summary = rows.summary()
    assert summary["bytes_of_codes"] == 4 * summary["matches"] + NUM_FRAMES * 2 * 4 * CHANNELS
    codec = codec_of_json(rows.fitted()["codec"])
    for key in rows.keys():  # noqa: SIM118
        stored = features_of_row(rows[key])
        files = [np.load(rig / "features" / n / f"{key[5:]}.pth.npy") for n in ("left", "right")]
        vectors = torch.from_numpy(np.concatenate(files))
        codes = codec.encode(vectors, torch.from_numpy(stored.cameras))
        assert torch.equal(codec.decode(stored.codes), codec.decode(codes))
        cosine = torch.nn.functional.cosine_similarity(codec.decode(codes), vectors).mean()
        assert float(cosine) == pytest.approx(rows[key]["mean_cosine"], abs=1e-6)
    row = dict(rows["frame0"])
    with pytest.raises(InputError, match="bytes of means and spreads are not those of 2"):
        features_of_row(row | {"moments": row["moments"][:-2]})
    assert "moments" not in prepare(rig, codec="pq4", fit_frames=2).rows["features:train"]["frame0"]


def test_prepared_again_in_the_same_bytes(rig):
    first = prepare(rig, codec="opq4", fit_frames=2)
    again = prepare(rig, codec="opq4", fit_frames=2)
    for key in first.rows["features:train"].keys():  # noqa: SIM118
        one, other = (p.rows["features:train"][key] for p in (first, again))
        assert one == other


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda root: (root / "left" / "1.png").unlink(), "does not exist"),
        (lambda root: Image.new("RGB", (10, 10)).save(root / "left" / "1.png"), "45 x 80"),
        (lambda root: (root / "1.bin").write_bytes(b"123"), "truncated"),
        (lambda root: (root / "features" / "right" / "1.pth.npy").unlink(), "has no features"),
        (
            lambda root: np.save(root / "features" / "right" / "1.pth.npy", np.ones((3, 16), "f4")),
            "one row per match",
        ),
    ],
)
def test_bad_key_frames_are_rejects_by_name(rig, change, said):
    change(rig)
    prepared = prepare(rig)
    assert prepared.rejected == 1
    assert sorted(prepared.rows["features:train"].keys()) == ["frame0", "frame2", "frame3"]
    stage = stage_of(rig, prepared)
    (item,) = (i for i in stage.items(prepared.rows) if i.key == "frame1")
    with pytest.raises(InputError, match=said) as caught:
        stage.load(item)
    assert "frame1" in str(caught.value)


def test_tables_unpacked_in_part_are_named(tmp_path):
    root = write_tables(tmp_path, small_tables())
    data = DataSettings(root=str(root), version="v1.0-mini", train=SourceSettings())
    stage = KeyFrameStage(data, "train")
    (item,) = stage.items({})
    with pytest.raises(InputError, match=r"in part: of 2 scenes .*LIDAR_TOP.*scene-0061"):
        stage.load(item)
    for scene in ("scene-0061", "scene-0103"):
        for frame in small_paths(root, scene):
            frame.parent.mkdir(parents=True, exist_ok=True)
            frame.write_bytes(b"")
    assert len(stage.load(item)) == 6


def small_paths(root: Path, scene: str) -> list[Path]:
    rows = json.loads((root / "v1.0-mini" / "sample_data.json").read_text())
    files = [root / row["filename"] for row in rows if f"{scene}/sample0" in row["filename"]]
    labels = json.loads((root / "v1.0-mini" / "lidarseg.json").read_text())
    return files + [root / r["filename"] for r in labels if f"{scene}/sample0" in r["filename"]]


def test_codecs_are_checked_with_the_settings():
    with pytest.raises(ValidationError, match="codec 'pq' does not exist"):
        FeatureSettings(codec="pq")


def test_features_of_the_toy_clip_need_no_file(rig):
    features = FeatureSettings(extractor="maskclip", weights="toy", long_px=64, short_px=64)
    assert extractor_weights(features).name == "toy_clip.safetensors"
    assert read_extractor(features).channels == 128
    task = POP3DTask(Pop3dSettings(features=features))
    assert {one.name: one.found for one in task.requirements()}["the extractor's weights"]
    unknown = POP3DTask(Pop3dSettings(features=features.model_copy(update={"weights": "toys"})))
    assert not unknown.requirements()[1].found
