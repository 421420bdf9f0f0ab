"""Configurations of the original become experiments: the paper's are our presets, mistakes are
named."""

import pytest
import yaml
from tests.eagleray_seamseg.original_files import CITYSCAPES_R50, VISTAS_R50

from eagleray.experiment.load import load_experiment, make_experiment
from eagleray.task import SettingsError
from eagleray_seamseg.original_config.experiment import experiment_of
from eagleray_seamseg.original_config.ini import parse_config, read_config_file
from eagleray_seamseg.original_config.keys import SECTIONS, keys_of
from eagleray_seamseg.settings import SeamlessSettings, paper_phase


def experiment(text, **options):
    values, notes = experiment_of(parse_config(text, "a.ini", **options), "data/converted")
    # through YAML, as a user's file goes
    written = yaml.safe_dump({"name": "a", **values})
    return make_experiment(yaml.safe_load(written)), values, notes


@pytest.mark.parametrize(
    ("text", "preset"), [(VISTAS_R50, "vistas_r50"), (CITYSCAPES_R50, "cityscapes_r50")]
)
def test_configurations_of_the_paper_are_our_presets(text, preset):
    found, values, _ = experiment(text)
    expected = SeamlessSettings(preset=preset)
    assert found.settings.preset == preset
    for part in ("network", "input", "fusion", "evaluation", "norm_weight_decay", "faithful"):
        assert getattr(found.settings, part) == getattr(expected, part), part
    data = found.settings.data
    assert (data.train_split, data.val_split) == (
        expected.data.train_split,
        expected.data.val_split,
    )
    assert (data.format, data.root) == ("seamless", "data/converted")
    assert found.train.phases == (paper_phase(preset),)
    assert set(values["settings"]) == {"preset", "data"}
    assert "phases" not in values["train"]
    assert (found.train.loader_workers, found.train.log_every) == (2, 5)
    assert found.evaluate.batch_size == {"vistas_r50": 1, "cityscapes_r50": 2}[preset]


def test_an_almost_empty_file_is_the_packaged_default():
    found, _, notes = experiment("[general]\n")
    expected = SeamlessSettings(preset="package")
    assert found.settings.network == expected.network
    assert found.settings.input == expected.input
    assert found.train.phases == (paper_phase("package"),)
    assert any("weights is empty" in note for note in notes)


EVERY_KEY = {
    ("general", "log_interval"): ("7", lambda e: e.train.log_every, 7),
    ("general", "score_threshold"): (".6", lambda e: e.settings.fusion.score_threshold, 0.6),
    ("general", "overlap_threshold"): (".4", lambda e: e.settings.fusion.overlap_threshold, 0.4),
    ("general", "min_stuff_area"): ("99", lambda e: e.settings.fusion.min_stuff_area_px, 99),
    ("general", "eval_mode"): ("separate", lambda e: e.settings.evaluation.mode, "separate"),
    ("general", "eval_coco"): ("on", lambda e: e.settings.evaluation.coco_ap, True),
    ("body", "body"): ("resnet18", lambda e: e.settings.network.body.backbone, "resnet18"),
    ("body", "body_params"): (
        '{"dilation": [1, 1, 2, 2], "caffe_mode": True}',
        lambda e: (e.settings.network.body.dilation, e.settings.network.body.stem_bias),
        ((1, 1, 2, 2), True),
    ),
    ("optimizer", "lr"): ("0.5", lambda e: e.train.phases[0].lr, 0.5),
    ("optimizer", "weight_decay"): ("1e-2", lambda e: e.train.phases[0].weight_decay, 1e-2),
    ("optimizer", "momentum"): ("0.5", lambda e: e.train.phases[0].momentum, 0.5),
    ("optimizer", "nesterov"): ("no", lambda e: e.train.phases[0].nesterov, False),
    ("optimizer", "weight_decay_norm"): ("0", lambda e: e.settings.norm_weight_decay, False),
    ("optimizer", "loss_weights"): (
        "(1, 2, 3, 4, 5, 6)",
        lambda e: e.settings.network.loss_weights,
        (1, 2, 3, 4, 5, 6),
    ),
    ("scheduler", "epochs"): ("3", lambda e: e.train.phases[0].epochs, 3),
    ("scheduler", "type"): None,
    ("scheduler", "params"): ('{"gamma": 2}', lambda e: e.train.phases[0].schedule.power, 2),
    ("scheduler", "update_mode"): ("epoch", lambda e: e.train.phases[0].schedule.kind, "poly"),
    ("scheduler", "burn_in_steps"): ("9", lambda e: e.train.phases[0].schedule.warmup_steps, 9),
    ("scheduler", "burn_in_start"): (".1", lambda e: e.train.phases[0].schedule.warmup_start, 0.1),
    ("dataloader", "shortest_size"): ("500", lambda e: e.settings.input.shortest_px, 500),
    ("dataloader", "longest_max_size"): ("600", lambda e: e.settings.input.longest_max_px, 600),
    ("dataloader", "random_scale"): (
        "(.5, .7, .9)",
        lambda e: e.settings.input.random_scale,
        (0.5, 0.7, 0.9),
    ),
    ("dataloader", "random_flip"): ("False", lambda e: e.settings.input.flip_probability, 0.0),
    ("dataloader", "train_batch_size"): ("3", lambda e: e.train.phases[0].batch_size, 24),
    ("dataloader", "val_batch_size"): ("4", lambda e: e.evaluate.batch_size, 4),
    ("dataloader", "rgb_mean"): (
        "(.1, .2, .3)",
        lambda e: e.settings.input.rgb_mean,
        (0.1, 0.2, 0.3),
    ),
    ("dataloader", "rgb_std"): (
        "(.1, .2, .3)",
        lambda e: e.settings.input.rgb_std,
        (0.1, 0.2, 0.3),
    ),
    ("dataloader", "num_workers"): ("3", lambda e: e.train.loader_workers, 3),
    ("dataloader", "train_set"): ("a", lambda e: e.settings.data.train_split, "a"),
    ("dataloader", "val_set"): ("b", lambda e: e.settings.data.val_split, "b"),
}
"""Other values than the defaults: what is written, where it arrives, as what."""

NETWORK = {
    "body": {"weights": "r.pth", "num_frozen": 1, "bn_frozen": False, "normalization_mode": "gn"}
    | {"activation": "elu", "activation_slope": 0.2, "gn_groups": 8},
    "fpn": {"out_channels": 64, "extra_scales": 3, "interpolation": "bilinear"}
    | {"inputs": ("mod3", "mod4", "mod5")},
    "rpn": {"hidden_channels": 32, "anchor_ratios": (1.0,), "anchor_scale": 3.5}
    | {"nms_threshold": 0.6, "num_pre_nms_train": 11, "num_post_nms_train": 12}
    | {"num_pre_nms_val": 13, "num_post_nms_val": 14, "min_size": 5, "num_samples": 15}
    | {"pos_ratio": 0.1, "pos_threshold": 0.8, "neg_threshold": 0.2, "void_threshold": 0.9}
    | {"sigma": 2.5, "fpn_min_level": 1, "fpn_levels": 3},
    "roi": {"roi_size": (10, 12), "num_samples": 16, "pos_ratio": 0.3, "pos_threshold": 0.6}
    | {"neg_threshold_hi": 0.4, "neg_threshold_lo": 0.1, "void_threshold": 0.6}
    | {"void_is_background": True, "nms_threshold": 0.4, "score_threshold": 0.1}
    | {"max_predictions": 17, "fpn_canonical_scale": 100, "fpn_canonical_level": 1}
    | {"fpn_min_level": 1, "fpn_levels": 2, "sigma": 1.5, "bbx_reg_weights": (1.0, 2.0, 3.0, 4.0)},
    "sem": {"fpn_min_level": 1, "fpn_levels": 2, "pooling_size": (8, 9), "ohem": 0.5},
}


@pytest.mark.parametrize("place", [p for p in EVERY_KEY if EVERY_KEY[p]], ids="/".join)
def test_every_key_arrives(place):
    text, found, expected = EVERY_KEY[place]
    default = experiment("[general]\n")[0]
    assert found(default) != expected or place == ("scheduler", "update_mode")
    section, key = place
    assert found(experiment(f"[{section}]\n{key} = {text}\n")[0]) == expected


def test_every_key_of_the_network_arrives():
    text = ""
    for section, values in NETWORK.items():
        text += f"[{section}]\n" + "".join(f"{key} = {value}\n" for key, value in values.items())
    network = experiment(text.replace("False", "no").replace("True", "yes"))[0].settings.network
    default = SeamlessSettings(preset="package").network
    for section, values in NETWORK.items():
        for key, value in values.items():
            assert getattr(getattr(network, section), key) == value, (section, key)
            assert getattr(getattr(default, section), key) != value, (section, key)


def test_the_tables_of_this_test_hold_every_key():
    seen = {(s, k) for s, values in NETWORK.items() for k in values} | set(EVERY_KEY)
    without = {
        ("general", "val_interval"),
        ("general", "cudnn_benchmark"),
        ("body", "out_channels"),
        ("body", "out_strides"),
        ("fpn", "out_strides"),
        ("rpn", "stride"),
        ("dataloader", "coco_gt"),
    }
    assert seen | without == {(s, k) for s, keys in SECTIONS.items() for k in keys}
    for section, key in without:
        value = {"coco_gt": "a.json", "out_strides": "(4, 8, 16, 32)", "cudnn_benchmark": "yes"}
        _, _, notes = experiment(f"[{section}]\n{key} = {value.get(key, 1)}\n")
        assert any(note.startswith(f"[{section}] {key} has no counterpart: ") for note in notes)


@pytest.mark.parametrize(
    ("scheduler", "expected"),
    [
        (
            'type = linear\nparams = {"from": 1, "to": 0.1}',
            {"kind": "linear", "start_factor": 1, "end_factor": 0.1},
        ),
        (
            'type = step\nparams = {"step_size": 30, "gamma": 0.5}',
            {"kind": "step", "step_size": 30, "gamma": 0.5},
        ),
        (
            'type = multistep\nupdate_mode = epoch\nparams = {"milestones": [40, 60], "gamma": 0.5}'
            "\nepochs = 80",
            {"kind": "multistep", "milestone_fractions": (0.5, 0.75), "gamma": 0.5},
        ),
        (
            'type = step\nupdate_mode = epoch\nparams = {"step_size": 30, "gamma": 0.5}'
            "\nepochs = 90",
            {"kind": "multistep", "milestone_fractions": (1 / 3, 2 / 3), "gamma": 0.5},
        ),
    ],
)
def test_schedules(scheduler, expected):
    schedule = experiment(f"[scheduler]\n{scheduler}\n")[0].train.phases[0].schedule
    assert {key: getattr(schedule, key) for key in expected} == expected
    assert (schedule.warmup_steps, schedule.first_step, schedule.lag_steps) == (500, 1, 1)


def test_schedule_by_epochs_that_cannot_be_had_is_said():
    _, _, notes = experiment("[scheduler]\nupdate_mode = epoch\n")
    assert any("hold_steps" in note for note in notes)


def test_unknown_keys_and_sections_are_named_with_the_nearest():
    text = "[rpn]\nanchor_ratio = (1,)\nnum_samples = 3\n[optimiser]\nlr = 1\n[DEFAULT]\nlr = 2\n"
    found, _, notes = experiment(text)
    assert any("[rpn] anchor_ratio" in n and "did you mean 'anchor_ratios'?" in n for n in notes)
    assert any("[optimiser]" in n and "did you mean 'optimizer'?" in n for n in notes)
    assert any("section [DEFAULT]" in n for n in notes)
    assert found.settings.network.rpn.num_samples == 3
    assert found.train.phases[0].lr == 0.01


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[rpn]\nnum_samples = many\n", r"a\.ini: \[rpn\] num_samples = 'many': must be a whole"),
        ("[rpn]\nnum_samples =\n", "must be a whole number"),
        ("[optimizer]\nlr = fast\n", "must be a number"),
        ("[optimizer]\nnesterov = perhaps\n", "must be one of 1, yes, true, on, 0"),
        ("[roi]\nroi_size = (14, \n", "must be a Python literal"),
        ("[roi]\nroi_size = __import__('os').getcwd()\n", "names and calls are not allowed"),
        ("[roi]\nroi_size = (7, 7)\n", r"network\.roi\.roi_size: .*must be even"),
        ("[rpn]\nnms_threshold = 7\n", r"a\.ini: network\.rpn\.nms_threshold"),
        ("[rpn]\nfpn_levels = 9\n", r"rpn\.fpn_min_level \+ rpn\.fpn_levels = 9"),
        ("[rpn]\nsigma = 1\nsigma = 2\n", "option 'sigma' .*already exists"),
        ("sigma = 1\n", "no section headers"),
        ("[settings]\npreset = a\n", "none of the sections general, body"),
        ("", "none of the sections"),
        ("[body]\nbody = vgg16\n", "known are resnet18"),
        ("[body]\nbody_params = {'classes': 3}\n", "body_params: classes cannot be carried over"),
        ("[scheduler]\ntype = cosine\n", "type is one of linear, step, poly, multistep"),
        ("[scheduler]\ntype = step\n", "needs a dictionary with step_size, gamma"),
        (
            '[scheduler]\ntype = step\nparams = {"step_size": 1.5, "gamma": 1}\n',
            "whole numbers are needed",
        ),
        ("[optimizer]\nloss_weights = (1, 1)\n", "give 6 numbers"),
        ("[dataloader]\nrandom_scale = (1.0, 0.5)\n", "give \\(lowest, highest\\)"),
    ],
)
def test_mistakes_are_refused(text, message):
    with pytest.raises(SettingsError, match=message):
        experiment(text)


def test_missing_and_binary_files_are_refused(tmp_path):
    with pytest.raises(SettingsError, match=r"gone\.ini"):
        read_config_file(tmp_path / "gone.ini")
    (tmp_path / "a.ini").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SettingsError, match=r"a\.ini is no configuration file"):
        read_config_file(tmp_path / "a.ini")
    with pytest.raises(SettingsError, match="is no configuration file"):
        read_config_file(tmp_path)


def test_kinds_have_the_keys_of_their_defaults():
    panoptic, instances, detection = (
        {(s, k) for s, keys in keys_of(kind).items() for k in keys}
        for kind in ("panoptic", "instance_seg", "detection")
    )
    assert {s for s, _ in panoptic - instances} == {"general", "sem"}
    assert instances - detection == {("roi", "void_is_background")}
    assert detection < instances < panoptic


def test_instance_segmentation_says_what_there_is_not():
    text = "[optimizer]\nloss_weights = (1, 2, 3, 4, 5)\n[sem]\nohem = .5\n"
    found, _, notes = experiment(text)
    assert found.settings.network.layout == "instance"
    assert found.settings.network.loss_weights == (1, 2, 3, 4, 5, 0)
    assert found.settings.evaluation.coco_ap
    assert found.settings.evaluation.mode == "separate"
    assert any("no semantic head" in note for note in notes)
    assert any("section [sem] is not of a instance_seg configuration" in note for note in notes)
    assert not any("mask branch" in note for note in notes)


def test_detection_says_that_masks_mean_nothing():
    text = "[optimizer]\nloss_weights = (1, 2, 3, 4)\n[roi]\nvoid_is_background = yes\n"
    found, _, notes = experiment(text)
    assert found.settings.network.loss_weights == (1, 2, 3, 4, 0, 0)
    assert not found.settings.network.roi.void_is_background
    assert any("masks and their AP mean nothing" in note for note in notes)
    assert any("[roi] void_is_background is not of a detection" in note for note in notes)


def test_kind_can_be_given_where_no_weights_of_losses_tell():
    assert parse_config("[rpn]\n", "a.ini", "detection").kind == "detection"
    stated = "[optimizer]\nloss_weights = (1, 1, 1, 1, 1, 1)\n"
    assert parse_config(stated, "a.ini", "detection").kind == "panoptic"


def test_written_experiment_loads(tmp_path):
    values, _ = experiment_of(parse_config(VISTAS_R50, "a.ini"), "data")
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(values))
    assert load_experiment(tmp_path / "a.yaml").name == "a"
