"""Training images and those of benchmarks: what chance decides, sizes, RERP's stage and share."""

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError
from tests.eagleray_ops.small_data import CLASSES, FileRows, run, small_settings, write_coco

from eagleray.task import SettingsError
from eagleray_ops.data import (
    EvaluationImages,
    LabeledFolder,
    TrainingImages,
    network_hw,
    network_image,
)
from eagleray_ops.stages import TRAIN, VAL, RerpStage, label_of, ops_stages, stage_labels
from eagleray_vision.datasets.coco_stuff import CocoStuffSource

PLAIN = {"photometric": {"enabled": False}, "flip_probability": 0.0}


def label_rows(root, settings, source=TRAIN) -> FileRows:
    (stage,) = (s for s in ops_stages(settings) if s.label == label_of(source))
    rows, rejects = run(stage, {})
    assert not rejects
    return rows


def with_input(settings, **changed):
    given = settings.input.model_dump()
    return settings.model_copy(
        update={"input": type(settings.input).model_validate({**given, **changed})}
    )


def color(sample) -> np.ndarray:
    """Return the red level of a normalized sample, which says the class."""
    mean, std = 122.7709383, 68.5005327
    return np.rint(sample.image[0].numpy() * std + mean).astype(int)


@pytest.fixture
def coco(tmp_path):
    write_coco(tmp_path / "coco", "train2017", 4)
    write_coco(tmp_path / "coco", "val2017", 2)
    return tmp_path


def test_training_images_are_crops_with_their_classes(coco):
    settings = with_input(small_settings(coco), **PLAIN, short_edges_px=(48,))
    data = TrainingImages(label_rows(coco, settings), None, coco / "coco", settings)
    assert len(data) == 4
    for index in range(4):
        sample = data.load(index, np.random.default_rng(index))
        assert sample.image.shape == (3, 32, 32) and sample.labels.shape == (32, 32)
        # short side 48 is the images' own, so nothing is interpolated: color and class agree
        np.testing.assert_array_equal(color(sample), sample.labels.numpy())
        assert set(np.unique(sample.labels)) <= set(CLASSES)


def test_the_same_generator_draws_the_same_and_another_epoch_something_else(coco):
    settings = small_settings(coco)
    data = TrainingImages(label_rows(coco, settings), None, coco / "coco", settings)
    first, again, other = (data.load(0, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert (first.image == again.image).all() and (first.labels == again.labels).all()
    assert first.image.shape != other.image.shape or (first.image != other.image).any()


def test_small_images_are_padded_to_the_crop_with_void(coco):
    settings = with_input(small_settings(coco), short_edges_px=(16,))
    data = TrainingImages(label_rows(coco, settings), None, coco / "coco", settings)
    samples = [data.load(k, np.random.default_rng(k)) for k in (0, 1)]
    assert samples[0].image.shape == (3, 16, 24)
    batch = data.collate(samples)
    assert batch.images.shape == (2, 3, 32, 32) and batch.labels.shape == (2, 32, 32)
    assert (batch.labels[:, 16:] == 255).all() and (batch.images[:, :, 16:] == 0).all()
    assert (batch.labels[:, :16, :24] != 255).all()


def offline(root, **rerp):
    return small_settings(root, rerp={"mode": "offline", **rerp})


def test_the_rerp_stage_gives_the_same_bytes_whoever_runs_it_and_in_which_order(coco):
    settings = offline(coco)
    stages = {stage.label: stage for stage in ops_stages(settings)}
    labels = label_rows(coco, settings)
    rows, rejects = run(stages["rerp:train"], {label_of(TRAIN): labels})
    assert not rejects and len(rows) == 4
    turned = FileRows()
    turned.rows = dict(reversed(labels.rows.items()))
    again, _ = run(stages["rerp:train"], {label_of(TRAIN): turned})
    assert again.files == rows.files
    other, _ = run(RerpStage(offline(coco, seed=1), TRAIN, shuffle=True), {label_of(TRAIN): labels})
    assert other.files != rows.files
    straight, _ = run(stages["rerp:val_rerp"], {label_of(VAL): label_rows(coco, settings, VAL)})
    assert len(straight) == 2


def test_the_rerp_stage_fills_a_folder_in_the_originals_layout(coco):
    folder = coco / "written"
    settings = offline(coco, folder=str(folder))
    run(RerpStage(settings, TRAIN, shuffle=True), {label_of(TRAIN): label_rows(coco, settings)})
    names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*.[jp][pn]g"))
    kind = "train2017_erp_shuffle"
    assert names[0] == f"annotations/{kind}/erp_shuffle_{0:012d}_labelTrainIds.png"
    assert names[4] == f"images/{kind}/erp_shuffle_{0:012d}.jpg" and len(names) == 8
    # what was written is a data set that the reader of COCO-Stuff takes
    written = CocoStuffSource(folder)
    (first, *_) = written.labeled_images(kind)
    assert set(written.read_label(first).categories.tolist()) <= {255, *CLASSES}
    assert Image.open(first.image_path).size == (32, 32)


def test_a_photograph_without_its_label_is_rejected_before_rerp_sees_it(coco):
    (coco / f"coco/annotations/train2017/{1:012d}.png").unlink()
    (coco / f"coco/annotations/train2017/{7:012d}.png").write_bytes(b"nobody's")
    settings = offline(coco)
    (stage,) = (s for s in ops_stages(settings) if s.label == label_of(TRAIN))
    labels, rejects = run(stage, {})
    assert list(rejects) == [f"{1:012d}"] and "does not exist" in str(rejects[f"{1:012d}"])
    rows, _ = run(RerpStage(settings, TRAIN, shuffle=True), {label_of(TRAIN): labels})
    assert list(rows.keys()) == [f"{k:012d}" for k in (0, 2, 3)]


@pytest.mark.parametrize("mode", ["offline", "online"])
@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_distorted_images_are_mixed_in_at_the_share_asked_for(coco, mode, share):
    settings = small_settings(coco, rerp={"mode": mode, "share": share})
    settings = with_input(settings, **PLAIN, short_edges_px=(32,))
    labels = label_rows(coco, settings)
    distorted = None
    if mode == "offline":
        distorted, _ = run(RerpStage(settings, TRAIN, shuffle=True), {label_of(TRAIN): labels})
    data = TrainingImages(labels, distorted, coco / "coco", settings)
    # RERP leaves the corners empty, so their labels are void
    samples = [data.load(k % 4, np.random.default_rng(k)) for k in range(120)]
    found = np.mean([bool(one.labels[0, 0] == 255) for one in samples])
    assert abs(found - share) < 0.12 and (share not in (0.0, 1.0) or found == share)


def test_on_the_fly_every_epoch_sees_another_distortion(coco):
    settings = small_settings(coco, rerp={"mode": "online", "yaw_deg": 20.0}, faithful=False)
    settings = with_input(settings, **PLAIN, short_edges_px=(32,))
    data = TrainingImages(label_rows(coco, settings), None, coco / "coco", settings)
    first, again, other = (data.load(0, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert (first.labels == again.labels).all() and (first.labels != other.labels).any()


def test_settings_that_rerp_cannot_follow_are_refused(tmp_path):
    with pytest.raises(ValidationError, match="even side"):
        small_settings(tmp_path, input={"crop_px": 33}, rerp={"mode": "online"})
    with pytest.raises(ValidationError, match="faithful to false"):
        small_settings(tmp_path, rerp={"mode": "online", "yaw_deg": 10.0})


def test_images_of_benchmarks_are_resized_and_keep_their_labels(coco):
    settings = small_settings(coco)
    rows = label_rows(coco, settings, VAL)
    data = EvaluationImages(LabeledFolder(rows, coco / "coco"), settings)
    assert [data.key(k) for k in range(2)] == [f"{k:012d}" for k in (0, 1)]
    sample = data.load(1, np.random.default_rng(0))
    assert sample.key == data.key(1)
    assert sample.image.shape == (3, 32, 48) and sample.truth.shape == (48, 72)
    assert set(np.unique(sample.truth)) <= set(CLASSES) and sample.output_hw == (48, 72)


def test_sizes_of_panoramas(tmp_path):
    paper = small_settings(
        tmp_path, input={"short_edge_px": 640, "long_edge_px": 2560, "pad_multiple_px": 32}
    )
    assert network_hw((400, 2048), paper) == (500, 2560)
    assert network_hw((2048, 4096), paper) == (640, 1280)
    around = paper.model_copy(update={"faithful": False})
    # around the seam nothing may be padded, so the width becomes a multiple of 32
    assert network_hw((400, 2000), around) == (512, 2560)
    assert network_hw((390, 1000), around) == (640, 1632)
    assert network_hw((480, 640), around) == (640, 853)
    photo = np.zeros((39, 100, 3), np.uint8)
    assert network_image(photo, around).shape == (3, 640, 1632)
    assert network_image(photo, paper, scale=0.5).shape == (3, 320, 820)


def test_a_missing_data_set_is_named_with_its_setting(coco):
    settings = small_settings(coco)
    assert stage_labels(VAL, settings) == [label_of(VAL)]
    with pytest.raises(SettingsError, match=r"no folder.*data\.wildpass_root"):
        stage_labels("wildpass", settings)
    assert {stage.source for stage in ops_stages(settings)} == {TRAIN, VAL}
    (coco / "wildpass/images/val").mkdir(parents=True)
    assert {stage.source for stage in ops_stages(settings)} == {TRAIN, VAL, "wildpass"}
