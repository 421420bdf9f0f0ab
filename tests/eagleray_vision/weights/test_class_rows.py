"""Rows of heads with another layout than Seamless': boxes and masks of the background, too."""

import torch

from eagleray_vision.panoptic.label_space import LabelSpace
from eagleray_vision.weights.class_rows import (
    ClassHead,
    ClassHeads,
    class_tensors,
    fit_to_classes,
)

HEADS = ClassHeads(
    (
        ClassHead("box.cls.", things_only=True, first_row=1),
        ClassHead("box.reg.", things_only=True, first_row=4, rows_per_class=4),
        ClassHead("mask.logits.", things_only=True, first_row=1),
        ClassHead("semantic.logits."),
    )
)


def tensors(num_stuff, num_things, first):
    rows = {"box.cls": num_things + 1, "box.reg": 4 * (num_things + 1)}
    rows |= {"mask.logits": num_things + 1, "semantic.logits": num_stuff + num_things}
    biases = {f"{name}.bias": first + torch.arange(float(n)) for name, n in rows.items()}
    return {**biases, "stem.weight": torch.full((3,), float(first))}


def space(stuff, things):
    names = (*stuff, *things)
    colors = ((0, 0, 0),) * len(names)
    return LabelSpace("list", names, len(stuff), tuple(range(len(names))), colors)


def test_rows_of_the_background_come_from_the_file_and_those_of_classes_by_name():
    file, own = tensors(1, 2, first=100), tensors(1, 3, first=0)
    dependent = class_tensors(own, tensors(2, 4, first=0))
    assert set(dependent) == set(own) - {"stem.weight"}
    fitted = fit_to_classes(own, dependent, file, HEADS, space("a", "xcb"), space("a", "bc"))
    rows = {name: value.tolist() for name, value in fitted.weights.items()}
    assert rows["box.cls.bias"] == [100, 1, 102, 101]
    assert rows["box.reg.bias"][:8] == [100, 101, 102, 103, 4, 5, 6, 7]
    assert rows["box.reg.bias"][8:] == [108, 109, 110, 111, 104, 105, 106, 107]
    assert rows["mask.logits.bias"] == [100, 1, 102, 101]
    assert rows["semantic.logits.bias"] == [100, 1, 102, 101]
    assert rows["stem.weight"] == [100] * 3
    assert fitted.notes[1] == "1 classes begin afresh: x"


def test_the_numbers_of_classes_are_told_from_the_heads():
    assert HEADS.describe(tensors(11, 8, first=0)) == "11 stuff and 8 thing classes"
    file = tensors(11, 8, first=0)
    semantic_only = {"semantic.logits.bias": file["semantic.logits.bias"]}
    assert HEADS.describe(semantic_only) == "19 classes"
    assert HEADS.describe({"mask.logits.bias": file["mask.logits.bias"]}) == "8 things"
    assert HEADS.describe({}) == "other classes"
