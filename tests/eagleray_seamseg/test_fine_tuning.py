"""Training from a checkpoint of another class list: what begins afresh is said, by name."""

import json

import msgpack
import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.eagleray_seamseg.small_network import small_settings
from tests.eagleray_seamseg.small_settings import cityscapes_settings
from tests.eagleray_vision.small_data import small_cityscapes, small_coco

from eagleray.api import Experiment
from eagleray.progress import Silent
from eagleray.task import SettingsError
from eagleray_seamseg.fine_tuning import CLASS_HEADS, class_list
from eagleray_seamseg.model.network import SeamlessNetwork
from eagleray_seamseg.settings import SeamlessSettings
from eagleray_seamseg.task import SeamlessTask
from eagleray_vision.panoptic.label_space import CITYSCAPES, LabelSpace
from eagleray_vision.weights.class_rows import fit_network, tensors_of_classes

CLASS_TENSORS = {
    f"{module}.{kind}"
    for module in ("sem_head.conv_sem", "roi_head.roi_cls", "roi_head.roi_bbx", "roi_head.roi_msk")
    for kind in ("weight", "bias")
}


def space(stuff, things):
    count = len(stuff) + len(things)
    return LabelSpace(
        "list", (*stuff, *things), len(stuff), tuple(range(count)), ((0, 0, 0),) * count
    )


def network(num_stuff, num_thing, seed=0, **changes):
    torch.manual_seed(seed)
    return SeamlessNetwork(small_settings(**changes), num_stuff=num_stuff, num_thing=num_thing)


def fit_to_classes(model, weights, target, source=None):
    return fit_network(model, weights, CLASS_HEADS, target, source)


def test_tensors_that_depend_on_classes_are_found_by_their_shapes():
    assert set(tensors_of_classes(network(3, 2))) == CLASS_TENSORS


def test_heads_of_other_classes_begin_afresh_together():
    file, model = network(28, 37).state_dict(), network(2, 1, seed=1)
    found = fit_to_classes(model, file, space("ab", "c"))
    assert set(found.kept) == CLASS_TENSORS
    assert set(found.weights) == set(file) - CLASS_TENSORS
    assert (
        "28 stuff and 37 thing classes, this network 2 stuff and 1 thing"
        in found.kept["roi_head.roi_cls.bias"]
    )


def test_one_other_class_is_enough_for_all_heads():
    """Things alike in number, but not the stuff: whose rows they are is not known."""
    found = fit_to_classes(network(2, 3), network(4, 3).state_dict(), space("ab", "cde"))
    assert set(found.kept) == CLASS_TENSORS


def test_the_same_classes_keep_everything():
    file = network(2, 3).state_dict()
    found = fit_to_classes(network(2, 3, seed=1), file, space("ab", "cde"))
    assert not found.kept
    assert found.weights == file


def test_other_shapes_are_refused_by_name():
    file = dict(network(28, 37).state_dict())
    file["rpn_head.conv_obj.weight"] = torch.zeros(7, 16, 1, 1)
    with pytest.raises(SettingsError, match=r"rpn_head\.conv_obj\.weight: file \(7, 16, 1, 1\)"):
        fit_to_classes(network(2, 1), file, space("ab", "c"))


def test_rows_are_kept_by_class_names():
    """Stuff (a, b) and things (c, d) become stuff (b, x, c) and things (d, a)."""
    source, target = space("ab", "cd"), space("bxc", "da")
    file, model = network(2, 2).state_dict(), network(3, 2, seed=1)
    own = {k: v.clone() for k, v in model.state_dict().items()}
    found = fit_to_classes(model, file, target, source)
    assert not found.kept
    assert found.weights.keys() == file.keys()
    semantic = found.weights["sem_head.conv_sem.bias"]
    expected = (file["sem_head.conv_sem.bias"], own["sem_head.conv_sem.bias"])
    # b, x, c, d, a
    assert torch.equal(
        semantic,
        torch.stack(
            [expected[0][i] for i in (1,)] + [expected[1][1]] + [expected[0][i] for i in (2, 3, 0)]
        ),
    )
    classes = found.weights["roi_head.roi_cls.weight"]
    assert torch.equal(classes[:2], file["roi_head.roi_cls.weight"][[0, 2]])
    assert torch.equal(classes[2], own["roi_head.roi_cls.weight"][2])
    boxes = found.weights["roi_head.roi_bbx.weight"]
    assert torch.equal(boxes[:4], file["roi_head.roi_bbx.weight"][4:8])
    assert torch.equal(boxes[4:], own["roi_head.roi_bbx.weight"][4:])
    masks = found.weights["roi_head.roi_msk.weight"]
    assert torch.equal(masks[0], file["roi_head.roi_msk.weight"][1])
    assert torch.equal(masks[1], own["roi_head.roi_msk.weight"][1])
    assert found.notes == (
        "8 tensors keep the rows of 4 classes of list by name (b, c, d, a)",
        "1 classes begin afresh: x",
        "no things in the file, so without detections: a",
    )
    assert all(torch.equal(value, own[k]) for k, value in model.state_dict().items())


def test_names_win_over_positions_even_where_shapes_agree():
    file = network(2, 1).state_dict()
    found = fit_to_classes(network(2, 1, seed=1), file, space("ba", "c"), space("ab", "c"))
    bias = file["sem_head.conv_sem.bias"]
    assert torch.equal(found.weights["sem_head.conv_sem.bias"], bias[[1, 0, 2]])


def test_names_that_are_there_twice_are_not_guessed():
    file, model = network(2, 1).state_dict(), network(2, 1, seed=1)
    found = fit_to_classes(model, file, space("ab", "c"), space("aa", "c"))
    own = model.state_dict()["sem_head.conv_sem.bias"]
    assert torch.equal(found.weights["sem_head.conv_sem.bias"][:2], own[:2])


def test_another_class_list_than_the_weights_have_is_refused():
    with pytest.raises(SettingsError, match=r"roi_cls.weight would have 2 rows, but it has 3"):
        fit_to_classes(
            network(2, 1), network(3, 2).state_dict(), space("ab", "c"), space("abc", "d")
        )


def test_class_lists_are_read(tmp_path):
    assert class_list("cityscapes") is CITYSCAPES
    meta = {"categories": ["a", "b"], "num_stuff": 1, "num_thing": 1, "original_ids": [0, 1]}
    meta["palette"] = [[0, 0, 0]] * 2
    (tmp_path / "metadata.bin").write_bytes(msgpack.packb({"meta": meta}))
    assert class_list(str(tmp_path / "metadata.bin")).class_names == ("a", "b")
    labels = [{"name": "road", "color": [4, 5, 6], "evaluate": True, "instances": False}]
    (tmp_path / "config.json").write_text(json.dumps({"labels": labels}))
    assert class_list(str(tmp_path / "config.json")).class_names == ("road",)
    small_coco(tmp_path)
    found = class_list(str(tmp_path / "annotations" / "panoptic_val.json"))
    assert found.class_names == ("tree-merged", "person")
    (tmp_path / "bad.bin").write_bytes(b"\xc1")
    (tmp_path / "bad.json").write_text("[]")
    for name in ("bad.bin", "bad.json", "gone.json", "gone.bin"):
        with pytest.raises(SettingsError, match=f"init_class_list .*{name}"):
            class_list(str(tmp_path / name))


class Told(Silent):
    def __init__(self):
        self.lines = []

    def note(self, text):
        self.lines.append(text)


def train_one_step(root, weights, **settings):
    """Train on the small Cityscapes labels as a data set of three classes, one step."""
    values = cityscapes_settings(root, **settings).model_dump(mode="json")
    told = Told()
    experiment = Experiment.from_values(
        {
            "task": "seamseg",
            "name": "tune",
            "storage": str(root / "storage"),
            "settings": values,
            "train": {
                "init_from": str(weights),
                "phases": [{"steps": 1, "batch_size": 1}],
            },
            "device": "cpu",
        },
        inline=True,
        progress=told,
    )
    result = experiment.train()
    assert result.finished
    (folder,) = (root / "storage").glob("runs/tune/*/checkpoints/main-00000001")
    return "\n".join(told.lines), load_file(folder / "model.safetensors"), experiment


def three_classes(root):
    """Write a data set of three classes in the original's format: road, sky, car."""
    from tests.eagleray_seamseg.test_stages import write_seamless

    write_seamless(root)
    meta = {"categories": ["road", "sky", "car"], "num_stuff": 2, "num_thing": 1}
    meta |= {"palette": [[1, 1, 1]] * 3, "original_ids": [7, 23, 26]}
    images = [
        {"id": name, "size": [20, 30], "cat": [255, 0, 2], "iscrowd": [0, 0, 0]} for name in "ab"
    ]
    (root / "metadata.bin").write_bytes(msgpack.packb({"images": images, "meta": meta}))
    (root / "lst" / "train.txt").write_text("a\n")
    return {"root": str(root), "format": "seamless", "train_split": "train", "val_split": "val"}


def checkpoint_of_65_classes(root, settings):
    torch.manual_seed(5)
    source = SeamlessNetwork(settings.network, num_stuff=28, num_thing=37)
    save_file({k: v.clone() for k, v in source.state_dict().items()}, root / "vistas.safetensors")
    return source.state_dict()


def test_fine_tuning_trains_and_names_the_tensors_that_begin_afresh(tmp_path):
    data = three_classes(tmp_path / "data")
    settings = cityscapes_settings(tmp_path / "data")
    body = {**settings.network.body.model_dump(), "num_frozen": 2}
    network = {**settings.network.model_dump(mode="json"), "body": body}
    file = checkpoint_of_65_classes(tmp_path, settings)
    weights = tmp_path / "vistas.safetensors"
    told, trained, experiment = train_one_step(tmp_path, weights, data=data, network=network)
    assert "8 begin afresh, because their rows are classes" in told
    assert "28 stuff and 37 thing classes, this network 2 stuff and 1 thing classes" in told
    assert all(name in told for name in CLASS_TENSORS)
    assert "missing in the file" not in told
    assert "of another shape" not in told
    stem = "body.backbone.mod1.conv1.weight"
    assert torch.equal(trained[stem], file[stem])
    assert trained["sem_head.conv_sem.bias"].shape == (3,)
    # frozen modules need no file of weights where the checkpoint has them
    assert experiment.task.settings.network.body.weights is None
    found = {r.name: r.found for r in experiment.task.requirements()}
    assert found["backbone weights"] is False


def test_fine_tuning_refuses_another_network(tmp_path):
    data = three_classes(tmp_path / "data")
    settings = cityscapes_settings(tmp_path / "data")
    checkpoint_of_65_classes(tmp_path, settings)
    network = settings.network.model_dump(mode="json")
    network["fpn"]["out_channels"] = 32
    with pytest.raises(SettingsError, match=r"do not depend on the classes.*body\.fpn\.lateral"):
        train_one_step(tmp_path, tmp_path / "vistas.safetensors", data=data, network=network)


def test_the_task_reads_the_class_list_of_the_checkpoint(tmp_path):
    settings = cityscapes_settings(small_cityscapes(tmp_path), init_class_list="cityscapes")
    task = SeamlessTask(settings)
    model = task.build()
    found = task.fit_weights(model, model.state_dict())
    assert "keep the rows of 19 classes of cityscapes19 by name" in found.notes[0]
    assert SeamlessSettings().init_class_list == ""
