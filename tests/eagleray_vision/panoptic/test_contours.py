"""Contours against a rasterizer and hand-drawn cases."""

import numpy as np
import pytest
from pycocotools import mask as coco_mask
from shapely import contains_xy
from shapely.geometry import LineString, Polygon

from eagleray_vision.panoptic.coco_instances import box_xywh, column_runs, instance_annotation
from eagleray_vision.panoptic.contours import mask_contours, mask_polygons, simplify_polyline


def test_rectangle_starts_under_its_lower_right_pixel_and_goes_left():
    mask = np.zeros((6, 8), bool)
    mask[1:3, 2:5] = True
    (contour,) = mask_contours(mask)
    assert contour[0].tolist() == [2.5, 4.0]
    assert contour[1].tolist() == [2.5, 3.0]
    assert np.array_equal(contour[0], contour[-1])


def test_region_runs_clockwise_and_its_hole_the_other_way():
    mask = np.ones((7, 7), bool)
    mask[3, 3] = False
    outer, hole = mask_contours(mask)
    # on the screen rows grow downwards, so clockwise has positive area in (column, row)
    assert signed_area(outer) > 0
    assert signed_area(hole) < 0


def signed_area(contour):
    row, column = contour[:, 0], contour[:, 1]
    return 0.5 * np.sum(column[:-1] * row[1:] - column[1:] * row[:-1])


def test_diagonal_neighbors_stay_apart():
    assert len(mask_contours(np.eye(3, dtype=bool))) == 3


def test_area_inside_contours_is_that_of_the_mask():
    rng = np.random.default_rng(0)
    for _ in range(20):
        mask = rng.random((9, 11)) < 0.6
        contours = mask_contours(mask)
        # each of the contour's points lies half-way between a pixel inside and one outside
        for contour in contours:
            assert Polygon(contour).is_valid or len(contour) < 5
        # a corner pixel is cut by 1/8, so compare point by point instead: centers inside are inside
        winding = sum(np.sign(signed_area(c)) * inside(c, mask.shape) for c in contours)
        assert np.array_equal(winding, mask)


def inside(contour, shape):
    polygon = Polygon(contour)
    rows, columns = np.indices(shape)
    return contains_xy(polygon, rows.ravel(), columns.ravel()).reshape(shape).astype(int)


def test_simplified_line_stays_within_the_tolerance():
    rng = np.random.default_rng(1)
    line = np.cumsum(rng.normal(size=(200, 2)), axis=0)
    for tolerance in (0.5, 2.0):
        simple = simplify_polyline(line, tolerance)
        assert 2 < len(simple) < len(line)
        assert np.array_equal(simple[[0, -1]], line[[0, -1]])
        assert LineString(simple).hausdorff_distance(LineString(line)) <= tolerance + 1e-9
    assert simplify_polyline(line, 0) is line
    assert len(simplify_polyline(line[:1], 2.0)) == 1


def test_simplification_equals_shapely_on_an_open_line():
    # the middle points project onto the chord, where both libraries measure alike
    line = np.stack([np.arange(60.0), 5 * np.sin(np.arange(60) / 6)], axis=1)
    expected = np.array(LineString(line).simplify(1.0, preserve_topology=False).coords)
    assert np.array_equal(simplify_polyline(line, 1.0), expected)


def test_polygons_rasterize_to_the_mask():
    mask = np.zeros((60, 80), bool)
    mask[10:50, 20:70] = True
    mask[30:50, 60:70] = False
    polygons = mask_polygons(mask)
    code = coco_mask.merge(coco_mask.frPyObjects(polygons, 60, 80))
    found = coco_mask.decode(code).astype(bool)
    assert (found & mask).sum() / (found | mask).sum() > 0.95


def test_tiny_and_empty_masks_have_no_polygon():
    assert mask_contours(np.zeros((4, 4), bool)) == []
    assert mask_polygons(np.eye(1, dtype=bool)) == []
    annotation = {"annotation_id": 1, "image_id": 1, "category_id": 1}
    assert instance_annotation(np.eye(1, dtype=bool), is_crowd=False, **annotation) is None
    assert instance_annotation(np.zeros((2, 2), bool), is_crowd=True, **annotation) is None
    assert instance_annotation(np.eye(1, dtype=bool), is_crowd=True, **annotation)["area"] == 1


@pytest.mark.parametrize("seed", range(3))
def test_runs_and_box_equal_pycocotools(seed):
    mask = np.random.default_rng(seed).random((7, 9)) < 0.4
    code = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    ours = coco_mask.frPyObjects({"counts": column_runs(mask), "size": [7, 9]}, 7, 9)
    assert ours["counts"] == code["counts"]
    assert box_xywh(mask) == coco_mask.toBbox(code).tolist()
    assert box_xywh(np.zeros((3, 3), bool)) == [0, 0, 0, 0]
