"""Weight files as they come from strangers: damaged, of odd tensors, or hostile."""

import os
import pickle
import zipfile

import pytest
import safetensors.torch
import torch

from eagleray_vision.weights.accounting import check_shapes
from eagleray_vision.weights.tensors import WeightFileError, read_tensors, require_plain


class Canary:
    """Runs a command where a reader unpickles it."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def saved(path, content):
    torch.save(content, path)
    return path


@pytest.mark.parametrize(
    "write", [torch.save, lambda value, path: path.write_bytes(pickle.dumps(value))]
)
def test_a_hostile_pickle_is_not_run_and_what_it_asked_for_is_named(tmp_path, write):
    file = tmp_path / "a.pth"
    write({"weight": Canary(tmp_path / "ran")}, file)
    with pytest.raises(WeightFileError, match=r"a\.pth .*asks for (posix|os|nt)\.system") as error:
        read_tensors(file)
    assert "weights_only" not in str(error.value)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("content", [{1: torch.ones(1)}, {"state_dict": {b"a": torch.ones(1)}}])
def test_keys_that_are_no_text_are_refused(tmp_path, content):
    with pytest.raises(WeightFileError, match=r"keys.* are no text"):
        read_tensors(saved(tmp_path / "a.pth", content))
    part = {"state_dict": {"body": {3: torch.ones(1)}}}
    with pytest.raises(WeightFileError, match=r"of state_dict\.body are no text"):
        read_tensors(saved(tmp_path / "a.pth", part))


def test_numbers_as_keys_are_fine_where_an_optimizer_has_them(tmp_path):
    state = {"optimizer": {"state": {0: {"step": torch.ones(1)}}}, "state_dict": {}}
    assert read_tensors(saved(tmp_path / "a.pth", state)).keys() == state.keys()


ODD = {
    "sparse": torch.eye(3).to_sparse(),
    "device meta": torch.ones(3, 3, device="meta"),
    "complex": torch.ones(3, 3, dtype=torch.complex64),
    "NaN": torch.full((3, 3), float("nan")),
    "infinite": torch.full((3, 3), float("-inf"), dtype=torch.float16),
    "NaN or": torch.full((1,), float("nan")).expand(10**6, 10**6),
    "no tensor": [1.0] * 9,
}


@pytest.mark.parametrize("what", ODD)
def test_tensors_that_no_network_can_be_given_are_named_with_their_reason(tmp_path, what):
    with pytest.raises(WeightFileError, match=rf"w\.pth: 1 of 2 .*\(b: .*{what}"):
        require_plain(tmp_path / "w.pth", {"a": torch.ones(3), "b": ODD[what]})


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_quantized_tensors_are_refused(tmp_path):
    quantized = torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8)
    with pytest.raises(WeightFileError, match="quantized"):
        require_plain(tmp_path / "w.pth", {"a": quantized})


def test_tensors_that_fit_by_shape_are_looked_at_too(tmp_path):
    tensors, own = {"a": torch.tensor([float("nan")])}, {"b": torch.ones(1)}
    with pytest.raises(WeightFileError, match="NaN"):
        check_shapes(tmp_path / "w.pth", tensors, {"a": "b"}, own, "hint")


@pytest.mark.parametrize("name", ["a.pth", "a.safetensors"])
def test_damaged_files_and_what_is_no_file_are_refused(tmp_path, name):
    whole = {"a": torch.arange(1000.0)}
    file = tmp_path / name
    (safetensors.torch.save_file if name.endswith("safetensors") else torch.save)(whole, file)
    content = file.read_bytes()
    for part in (b"", content[:7], content[: len(content) // 2], b"\xff" * 200):
        file.write_bytes(part)
        with pytest.raises(WeightFileError, match=r"cannot be read as a file of tensors"):
            read_tensors(file)
    file.unlink()
    os.mkfifo(file)
    with pytest.raises(WeightFileError, match="is no regular file"):
        read_tensors(file)


def test_a_file_that_unpacks_to_more_than_it_is_is_refused(tmp_path):
    source, bomb = saved(tmp_path / "a.pth", {"a": torch.zeros(100_000)}), tmp_path / "b.pth"
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as new:
        for member in old.namelist():
            new.writestr(member, old.read(member))
    with pytest.raises(WeightFileError, match="would unpack to"):
        read_tensors(bomb)
