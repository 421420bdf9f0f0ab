"""Heads of another class list: rows by name, afresh, or refused."""

import pytest
import torch
from tests.eagleray_efficientps.small_network import small_settings

from eagleray.task import SettingsError
from eagleray_efficientps.fine_tuning import CITYSCAPES_NAMES, CLASS_HEADS, common_names
from eagleray_efficientps.model.network import EfficientPsNetwork
from eagleray_vision.panoptic.label_space import CITYSCAPES, LabelSpace
from eagleray_vision.weights.class_rows import fit_network


def space(stuff, things):
    names = (*stuff, *things)
    palette = tuple((i, i, i) for i in range(len(names)))
    return LabelSpace("list", names, len(stuff), tuple(range(1, len(names) + 1)), palette)


OLD = space(("construction--flat--road", "nature--sky"), ("object--vehicle--car", "bird"))
NEW = space(("sky", "road", "wall"), ("person", "car"))


def network(seed, classes):
    torch.manual_seed(seed)
    return EfficientPsNetwork(
        small_settings(), num_stuff=classes.num_stuff, num_thing=classes.num_things
    )


def fit_to_classes(model, weights, target, source=None):
    named = source and common_names(source, target)
    return fit_network(model, weights, CLASS_HEADS, target, named)


def test_rows_are_kept_by_name_and_the_background_stays_first():
    old, new = network(0, OLD), network(1, NEW)
    fitted = fit_to_classes(new, old.state_dict(), NEW, OLD)
    before, initial, after = old.state_dict(), new.state_dict(), fitted.weights
    for name in ("semantic_head.logits.weight", "semantic_head.logits.bias"):
        assert torch.equal(after[name][0], before[name][1])  # sky
        assert torch.equal(after[name][1], before[name][0])  # road
        assert torch.equal(after[name][2], initial[name][2])  # wall
        assert torch.equal(after[name][4], before[name][2])  # car
    for name in ("box_head.classes.weight", "mask_head.logits.weight"):
        assert torch.equal(after[name][0], before[name][0])  # background
        assert torch.equal(after[name][1], initial[name][1])  # person
        assert torch.equal(after[name][2], before[name][1])  # car
    codes = after["box_head.codes.weight"]
    assert torch.equal(codes[:4], before["box_head.codes.weight"][:4])
    assert torch.equal(codes[8:], before["box_head.codes.weight"][4:8])
    new.load_state_dict(dict(after))
    assert "3 classes" in fitted.notes[0]


def test_without_a_class_list_the_heads_begin_afresh():
    old, new = network(0, OLD), network(1, NEW)
    fitted = fit_to_classes(new, old.state_dict(), NEW)
    heads = ("semantic_head.logits", "box_head.classes", "box_head.codes", "mask_head.logits")
    assert set(fitted.kept) == {f"{head}.{leaf}" for head in heads for leaf in ("weight", "bias")}
    assert "2 stuff and 2 thing classes" in fitted.kept["semantic_head.logits.bias"]


def test_a_wrong_class_list_and_another_network_are_refused():
    old, new = network(0, OLD), network(1, NEW)
    with pytest.raises(SettingsError, match="not the class list"):
        fit_to_classes(new, old.state_dict(), NEW, NEW)
    weights = {**old.state_dict(), "pyramid.output.0.conv.weight": torch.zeros(8, 8, 3, 3)}
    with pytest.raises(SettingsError, match="do not depend on the classes"):
        fit_to_classes(new, weights, NEW, OLD)


def test_vistas_has_a_class_for_each_of_cityscapes():
    vistas = space(tuple(CITYSCAPES_NAMES), ())
    assert sorted(common_names(vistas, CITYSCAPES).class_names) == sorted(CITYSCAPES.class_names)
