"""Clicks, thresholds, levels, objects and the Replica protocol on small made-up maps."""

import itertools

import numpy as np
import pytest

from eagleray_omniseg3d.click.objects import find_objects
from eagleray_omniseg3d.click.selection import (
    Prompt,
    Similarity,
    color_features,
    color_scores,
    feature_projection,
    level_thresholds,
    likeness,
    prompt_at,
    select,
)
from eagleray_omniseg3d.errors import SelectionError
from eagleray_omniseg3d.evaluation.replica_protocol import area_weights, score_object
from eagleray_omniseg3d.settings import ReplicaProtocolSettings
from eagleray_omniseg3d.view.orbit_camera import OrbitCamera

EAST, NORTH, WEST = (np.array(v, np.float32) for v in ([1, 0], [0, 1], [-1, 0]))
ORIGIN = np.zeros(3, np.float32)


def maps():
    features = np.zeros((2, 3, 2), np.float32)
    features[:, 0], features[:, 1], features[:, 2] = EAST, NORTH, WEST
    positions = np.zeros((2, 3, 3), np.float32)
    positions[..., 0] = [0, 1, 2]
    return features, positions


def test_threshold_selects_part_or_whole():
    features, positions = maps()
    flat, points = features.reshape(-1, 2), positions.reshape(-1, 3)
    prompt = prompt_at(0, 0, features, positions)
    assert select(flat, points, [prompt], 0.9).mask.sum() == 2
    assert select(flat, points, [prompt], 0.4).mask.sum() == 4
    assert select(flat, points, [prompt], 0.0).mask.sum() == 4


def test_negative_click_takes_away():
    features, positions = maps()
    flat, points = features.reshape(-1, 2), positions.reshape(-1, 3)
    prompts = [Prompt(EAST, ORIGIN), Prompt(NORTH, ORIGIN, positive=False)]
    assert (
        select(flat, points, prompts, 0.4).mask.reshape(2, 3).tolist() == [[True, False, False]] * 2
    )


def test_distance_fades_similarity():
    prompt, fading = Prompt(EAST, ORIGIN), np.exp(-2 * np.sqrt(3))
    for to_opposite, wanted in ((False, (1 + fading) / 2), (True, fading)):
        how = Similarity(distance_weight=2.0, fades_to_opposite=to_opposite)
        assert likeness(EAST[None], ORIGIN[None], prompt, how) == [1.0]
        assert likeness(EAST[None], ORIGIN[None] + 1, prompt, how) == pytest.approx(wanted)


def test_cosines_do_not_depend_on_lengths():
    long, short = Prompt(3 * EAST, ORIGIN), Prompt(EAST, ORIGIN)
    pixels, places = np.stack([0.5 * EAST, 7 * NORTH]), np.zeros((2, 3), np.float32)
    for prompt in (long, short):
        cosines = likeness(pixels, places, prompt, Similarity(normalize=True))
        np.testing.assert_allclose(cosines, [1, 0.5])
    assert likeness(pixels, places, long)[0] == pytest.approx(1.25)


@pytest.mark.parametrize(("column", "row"), [(-1, 0), (3, 0), (0, 2)])
def test_click_outside_the_image(column, row):
    with pytest.raises(SelectionError, match="outside"):
        prompt_at(column, row, *maps())


def test_click_on_nothing():
    opacity = np.array([[1.0, 0.1, 1.0]] * 2, np.float32)
    with pytest.raises(SelectionError, match="hits nothing"):
        prompt_at(1, 0, *maps(), opacity)


@pytest.mark.parametrize("threshold", [-0.1, 1.0, float("nan")])
def test_impossible_thresholds_and_no_prompt(threshold):
    with pytest.raises(SelectionError, match="threshold"):
        select(EAST[None], ORIGIN[None], [Prompt(EAST, ORIGIN)], threshold)
    with pytest.raises(SelectionError, match="positive click"):
        select(EAST[None], ORIGIN[None], [Prompt(EAST, ORIGIN, positive=False)], 0.5)


def test_levels_cut_between_groups_like_exhaustive_search():
    rng = np.random.default_rng(0)
    groups = [0.1, 0.5, 0.95]
    values = np.concatenate([rng.normal(g, 0.01, 200) for g in groups]).astype(np.float32)
    low, high = level_thresholds(values, 2)
    assert 0.15 < low < 0.45 and 0.55 < high < 0.9

    few = np.sort(rng.random(9)).astype(np.float32)
    best = min(
        itertools.combinations(range(1, 9), 2),
        key=lambda cut: sum(part.var() * len(part) for part in np.split(few, cut)),
    )
    for found, start in zip(level_thresholds(few, 2), best, strict=True):
        assert few[start - 1] < found < few[start]


def test_levels_need_distinct_similarities():
    with pytest.raises(SelectionError, match="distinct"):
        level_thresholds(np.full(10, 0.5, np.float32), 2)


def test_projection_spans_the_largest_variance():
    rng = np.random.default_rng(1)
    features = rng.normal(size=(400, 6)).astype(np.float32) * [5, 4, 3, 0.1, 0.1, 0.1]
    projection = feature_projection(features.astype(np.float32))
    assert projection.shape == (6, 3)
    np.testing.assert_allclose(projection.T @ projection, np.eye(3), atol=1e-6)
    assert np.abs(projection[3:]).max() < 0.1
    assert feature_projection(features[:, :2].astype(np.float32)).shape == (2, 3)
    shown = color_features(features.reshape(20, 20, 6).astype(np.float32), projection)
    assert shown.min() >= 0 and shown.max() <= 1


def test_unselected_scores_share_one_color():
    colors = color_scores(np.array([[-3.0, 0.0, 1.0]], np.float32))
    assert (colors[0, 0] == colors[0, 1]).all() and (colors[0, 1] != colors[0, 2]).any()


def test_objects_are_found_and_spread_to_pixels():
    rng = np.random.default_rng(2)
    centers = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1.0]])
    truth = np.repeat([0, 1, 2], 150)
    features = (centers[truth] + rng.normal(0, 0.03, (450, 3))).astype(np.float32)
    objects = find_objects(features, np.zeros((450, 3), np.float32), min_points=30)
    found = objects.assign(features)
    for k in range(3):
        ids, counts = np.unique(found[truth == k], return_counts=True)
        assert counts.max() > 140 and ids[counts.argmax()] > 0
    assert len(np.unique(found[found > 0])) == 3
    assert objects.assign(-features[:1]).tolist() == [0]


def test_no_objects_in_few_points():
    with pytest.raises(SelectionError, match="points"):
        find_objects(np.ones((5, 3), np.float32), np.zeros((5, 3), np.float32))


class Views:
    def __init__(self, labels, features):
        self._labels, self._features = labels, features

    def labels(self, view_idx):
        return self._labels[view_idx]

    def features(self, view_idx):
        return self._features[view_idx]

    def positions(self, view_idx):
        return np.zeros((*self._labels[view_idx].shape, 3), np.float32)


def test_replica_object_with_telling_features_scores_one_and_a_single_view_zero():
    rng = np.random.default_rng(3)
    labels = [rng.integers(1, 3, (6, 7)) for _ in range(3)]
    labels[2][:] = 2
    features = [np.stack([lab == 1, lab == 2], -1).astype(np.float16) for lab in labels]
    depths = [np.full((6, 7), 1000 + i) for i in range(3)]
    weights = area_weights(labels, depths, 1)
    assert weights[2] == 0
    score = score_object(Views(labels, features), weights, 1)
    assert score.iou == 1.0 and score.num_views == 2
    assert score.reference_idx == int(weights.argmax())
    alone = score_object(Views(labels, features), weights * (weights == weights.max()), 1)
    assert alone.iou == 0.0 and alone.num_views == 1
    assert score_object(Views(labels, features), np.zeros(3), 1).reference_idx == -1


class OneRow(Views):
    """Views of one row of pixels; positions do not matter."""

    def __init__(self, labels, features):
        super().__init__(
            [np.array([row]) for row in labels], [f.astype(np.float16) for f in features]
        )


def without_positions(**values):
    return ReplicaProtocolSettings(
        positive_position_weight=0.0, negative_position_weight=0.0, **values
    )


def test_replica_similarities_are_rounded_as_the_features_are():
    """1 + 0.99268 is 1.99219 in float16, a threshold: not above it, where float32 would be."""
    step = 1 / 128
    decoy, below = 1 - step + 2**-11, 1 - step - 2**-9
    rows = [[1.0, 0.0], [decoy, 0.121], [below, 0.1395]]
    units = np.array(rows, np.float16)
    assert (np.linalg.norm(units.astype(np.float64), axis=1).astype(np.float16) == 1).all()
    reference, other = units[[0, 2]][None], units[[0, 1]][None]
    views = OneRow([[1, 2], [1, 2]], [reference, other])
    settings = without_positions(negative_weight=0.0)
    score = score_object(views, np.array([2.0, 1.0]), 1, settings)
    assert score.threshold == pytest.approx(2 - step)
    assert score.iou == 1.0


def test_replica_thresholds_begin_where_the_weight_of_negatives_lets_scores_fall():
    """With weight 2 the object scores 2 - 2 * 1.5 = -1, the rest 1.5 - 2 * 2 = -2.5."""
    units = np.array([[1.0, 0.0], [0.5, np.sqrt(0.75)]])[None]
    views = OneRow([[1, 2], [1, 2]], [units, units])
    score = score_object(views, np.array([2.0, 1.0]), 1, without_positions(negative_weight=2.0))
    assert score.iou == 1.0
    assert score.threshold == pytest.approx(-2.5, abs=1 / 128)


def test_orbit_camera_keeps_its_distance():
    camera = OrbitCamera().orbit(100, -40).zoom(3)
    pose = camera.world_from_cam
    np.testing.assert_allclose(pose[:3, :3] @ pose[:3, :3].T, np.eye(3), atol=1e-12)
    assert np.linalg.norm(pose[:3, 3]) == pytest.approx(2.5 * 1.1**-3)
    assert camera.pan(0, 0).world_from_cam.tolist() == pose.tolist()
