from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.eagleray_seamseg.small_network import small_network, small_settings
from tests.eagleray_vision.small_batch import NUM_STUFF, NUM_THING

from eagleray_seamseg.checkpoint_import import MODULES, import_snapshot
from eagleray_vision.weights.tensors import WeightFileError


def snapshot(state: dict[str, torch.Tensor]) -> dict[str, Any]:
    """Return what the original writes: nested state dictionaries, config text and progress."""
    nested: dict[str, Any] = {m: {} for m in MODULES}
    for name, value in state.items():
        module, key = name.split(".", 1)
        nested[module][key] = value
    nested["optimizer"] = {"state": {0: {"momentum_buffer": torch.zeros(2)}}, "param_groups": []}
    nested["loss_meter"] = {"sum": torch.zeros(1)}
    meta = {"epoch": 3, "best_score": np.float64(0.38), "global_step": np.int64(12)}
    return {"config": "[body]", "state_dict": nested, "training_meta": meta}


def read(path: Path, num_thing: int = NUM_THING) -> Any:
    return import_snapshot(path, small_settings(), num_stuff=NUM_STUFF, num_thing=num_thing)


@pytest.mark.parametrize("legacy", [False, True])
def test_every_entry_of_a_snapshot_is_accounted_for(tmp_path: Path, legacy: bool) -> None:
    state = small_network().state_dict()
    content = snapshot(state)
    counter = "backbone.mod1.bn1.num_batches_tracked"
    content["state_dict"]["body"][counter] = torch.tensor(7)
    path = tmp_path / "model.pth.tar"
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    found = read(path)
    assert set(found.mapped) == set(state)
    assert found.missing == ()
    extra = {"config", "training_meta", "state_dict.optimizer", "state_dict.loss_meter"}
    assert set(found.extra) == {*extra, f"body.{counter}"}
    assert all(torch.equal(v, state[k]) for k, v in found.state_dict.items())
    small_network().load_state_dict(found.state_dict)


def test_negative_weights_are_copied_raw(tmp_path: Path) -> None:
    state = small_network().state_dict()
    state["body.backbone.mod1.bn1.weight"].neg_()
    torch.save(snapshot(state), tmp_path / "a.pth")
    found = read(tmp_path / "a.pth").state_dict
    assert (found["body.backbone.mod1.bn1.weight"] < 0).all()


def test_missing_and_flat_entries_are_reported(tmp_path: Path) -> None:
    state = dict(small_network().state_dict())
    del state["rpn_head.conv_obj.bias"]
    state["stranger"] = torch.zeros(1)
    torch.save(state, tmp_path / "flat.pt")
    found = read(tmp_path / "flat.pt")
    assert found.missing == ("rpn_head.conv_obj.bias",)
    assert found.extra == ("stranger",)


def test_other_class_counts_are_named(tmp_path: Path) -> None:
    torch.save(snapshot(small_network().state_dict()), tmp_path / "a.pth")
    with pytest.raises(
        WeightFileError, match="3 stuff and 2 thing classes, the network has 3 and 5"
    ):
        read(tmp_path / "a.pth", num_thing=5)


class Hostile:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("touched-by-unpickling"),))


def test_a_pickle_that_runs_code_is_refused(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": {"body": Hostile()}}, tmp_path / "bad.pth")
    with pytest.raises(WeightFileError, match="other pickles can run code"):
        read(tmp_path / "bad.pth")
    assert not Path("touched-by-unpickling").exists()


@pytest.mark.parametrize("content", [b"", b"no pickle", b"PK\x03\x04 cut off"])
def test_damaged_files_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad.pth").write_bytes(content)
    with pytest.raises(WeightFileError, match="cannot be read"):
        read(tmp_path / "bad.pth")


def test_files_of_something_else_are_refused(tmp_path: Path) -> None:
    torch.save({"state_dict": {"fc.weight": torch.zeros(2)}}, tmp_path / "a.pth")
    with pytest.raises(WeightFileError, match="holds no tensor of a Seamless network"):
        read(tmp_path / "a.pth")
    torch.save([torch.zeros(2)], tmp_path / "list.pth")
    with pytest.raises(WeightFileError, match="holds a list"):
        read(tmp_path / "list.pth")
