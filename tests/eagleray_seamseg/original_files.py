"""Configuration files in the original's form."""

from __future__ import annotations

_COMMON = """
[general]
val_interval = 5
log_interval = 5

[body]
body = resnet50
weights =
normalization_mode = syncbn
bn_frozen = no

[fpn]
{fpn}

[rpn]
{rpn}
num_pre_nms_train = 12000
num_post_nms_train = 2000
num_pre_nms_val = 6000
num_post_nms_val = 1000
min_size = 0

[roi]
num_samples = 512
nms_threshold = 0.5
score_threshold = 0.05
max_predictions = {max_predictions}

[sem]
fpn_min_level = 0
fpn_levels = 4
pooling_size = (64, 64)
ohem = .25

[optimizer]
lr = 0.01
momentum = 0.9
nesterov = yes
weight_decay = 1e-4
weight_decay_norm = no
loss_weights = (1., 1., 1., 1., 1., 1.)

[scheduler]
epochs = {epochs}
type = multistep
update_mode = batch
params = {{"milestones": {milestones}, "gamma": 0.1}}
burn_in_steps = 200
burn_in_start = 0.333

[dataloader]
shortest_size = {shortest}
longest_max_size = {longest}
random_scale = {random_scale}
random_flip = yes
train_batch_size = 1
val_batch_size = {val_batch_size}
rgb_mean = (.41738699, .45732192, .46886091)
rgb_std = (.25685097, .26509955, .29067996)
num_workers = 2
train_set = {train_set}
val_set = {val_set}
"""

VISTAS_R50 = _COMMON.format(
    fpn="extra_scales = 2\nout_strides = (4, 8, 16, 32, 64, 128)",
    rpn="anchor_ratios = (0.2, 0.5, 1., 2., 5.)\nanchor_scale = 2\nfpn_levels = 6",
    max_predictions=256,
    epochs=85,
    milestones=[144000, 176000],
    shortest=1920,
    longest=2304,
    random_scale="(0.8, 1.25)",
    val_batch_size=1,
    train_set="training",
    val_set="validation",
)
CITYSCAPES_R50 = _COMMON.format(
    fpn="extra_scales = 1\nout_strides = (4, 8, 16, 32, 64)",
    rpn="fpn_levels = 5",
    max_predictions=100,
    epochs=130,
    milestones=[36000, 44000],
    shortest=1024,
    longest=4096,
    random_scale="(0.5, 2.0)",
    val_batch_size=2,
    train_set="train",
    val_set="val",
)
