"""Checkpoints: torn ones do not exist, pickles are never opened, and what does not fit is said."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.eagleray.tiny_task import TinyTask
from tests.eagleray.train.workers import experiment, losses, train_here

from eagleray.options import RunOptions
from eagleray.progress import Silent
from eagleray.runs.metrics import claim_attempt, next_attempt
from eagleray.storage import Store
from eagleray.task import EaglerayError, SettingsError
from eagleray.train import checkpoint_weights, train_run
from eagleray.train.checkpoint import (
    Checkpoint,
    TrainState,
    damaged_files,
    forget_checkpoint,
    forget_partial,
    list_checkpoints,
    marked_checkpoints,
    read_latest,
    write_checkpoint,
)
from eagleray.train.weights import put_weights, read_weights


class Notes(Silent):
    """Keeps what was said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, text: str) -> None:
        self.lines.append(text)


@pytest.fixture
def half_done(tmp_path: Path) -> Path:
    """A run of 10 steps that stands at step 6, with checkpoints at 3 and 6."""
    train_here(tmp_path, limit=6, checkpoint_every=3)
    return tmp_path


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])


def flip_last_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))


@pytest.mark.parametrize("damage", [truncate, flip_last_byte, Path.unlink])
@pytest.mark.parametrize("file", ["model.safetensors", "optimizer.safetensors", "state.json"])
def test_damaged_checkpoint_is_passed_over(
    half_done: Path, damage: object, file: str, caplog: pytest.LogCaptureFixture
) -> None:
    expected = train_here(half_done / "other")
    damage(half_done / "checkpoints" / "main-00000006" / file)  # type: ignore[operator]
    with caplog.at_level(logging.WARNING):
        result = train_here(half_done, checkpoint_every=3)
    assert result.finished
    assert result.metrics["loss"] == expected.metrics["loss"]
    assert result.checkpoints[-2:] == ("main-00000009", "main-00000010")
    assert losses(half_done) == losses(half_done / "other")


def test_folder_without_a_marker_does_not_exist(half_done: Path) -> None:
    (half_done / "checkpoints" / "main-00000006.json").unlink()
    assert checkpoint_weights(Store(str(half_done)), "last").parent.name == "main-00000003"


def test_damaged_weights_are_not_evaluated(half_done: Path) -> None:
    flip_last_byte(half_done / "checkpoints" / "main-00000006" / "model.safetensors")
    with pytest.raises(Exception, match="is damaged"):
        checkpoint_weights(Store(str(half_done)), "main-00000006")


def test_weights_are_found_by_name(half_done: Path) -> None:
    run = Store(str(half_done))
    latest = half_done / "checkpoints" / "main-00000006" / "model.safetensors"
    for which in ("last", "best", "main-00000006", str(latest), str(latest.parent)):
        assert checkpoint_weights(run, which) == latest
    with pytest.raises(SettingsError, match=r"'main-7'.*'main-00000003', 'main-00000006'"):
        checkpoint_weights(run, "main-7")


def test_loaded_model_has_the_weights_of_the_file(half_done: Path) -> None:
    model = TinyTask(experiment().settings).build()
    source = checkpoint_weights(Store(str(half_done)), "last")
    info = put_weights(model, read_weights(source), str(source))
    assert (info.missing, info.extra, info.mismatched) == ((), (), ())
    path = half_done / "checkpoints" / "main-00000006" / "model.safetensors"
    torch.testing.assert_close(dict(model.state_dict()), load_file(path), rtol=0, atol=0)


def train_from(init_from: Path | str, folder: Path) -> list[str]:
    asked = experiment({"steps": 1}, storage=str(folder / "storage"), init_from=str(init_from))
    notes = Notes()
    train_run(
        asked,
        TinyTask(asked.settings),
        Store(str(folder)),
        {},
        RunOptions(inline=True, progress=notes),
    )
    return notes.lines


def test_weights_to_begin_with_are_told_by_name(half_done: Path, tmp_path: Path) -> None:
    state = load_file(half_done / "checkpoints" / "main-00000006" / "model.safetensors")
    del state["head.bias"]
    state["head.weight"] = torch.zeros(5, 7)
    state["tail.weight"] = torch.zeros(2)
    save_file(state, tmp_path / "foreign.safetensors")
    (told,) = train_from(tmp_path / "foreign.safetensors", tmp_path / "run")
    assert "3 tensors loaded" in told
    assert "1 missing in the file, kept as they are: head.bias" in told
    assert "1 of another shape, kept as they are: head.weight (5, 7) for (3, 7)" in told
    assert "1 not in the model, unused: tail.weight" in told


def test_weights_to_begin_with_may_be_a_uri(half_done: Path, tmp_path: Path) -> None:
    source = half_done / "checkpoints" / "main-00000006"
    remote = Store("memory://begin/run")
    remote.write("model.safetensors", (source / "model.safetensors").read_bytes())
    for name, place in (("uri", remote.uri), ("path", str(source))):
        (told,) = train_from(place, tmp_path / name)
        assert "missing" not in told
    paths = [tmp_path / n / "checkpoints/main-00000001/model.safetensors" for n in ("uri", "path")]
    assert paths[0].read_bytes() == paths[1].read_bytes()
    with pytest.raises(SettingsError, match=r"memory://begin/none/model\.safetensors cannot be"):
        train_from("memory://begin/none", tmp_path / "none")


def test_weights_to_begin_with_are_used(half_done: Path, tmp_path: Path) -> None:
    folder = half_done / "checkpoints" / "main-00000006"
    (told,) = train_from(folder, tmp_path / "run")
    assert "missing" not in told
    begin = load_file(folder / "model.safetensors")["head.weight"]
    end = load_file(tmp_path / "run/checkpoints/main-00000001/model.safetensors")["head.weight"]
    assert 0 < float((end - begin).abs().max()) < 0.011


def test_run_on_an_object_store_goes_on(tmp_path: Path) -> None:
    train_here(tmp_path)
    asked = experiment(storage="memory://storage")
    run = Store("memory://storage/run")
    for limit in (4, None):
        result = train_run(
            asked, TinyTask(asked.settings), run, {}, RunOptions(inline=True, limit=limit)
        )
    assert result.checkpoints == ("main-00000004", "main-00000010")
    expected = load_file(tmp_path / "checkpoints/main-00000010/model.safetensors")
    found = load_file(checkpoint_weights(run, "last"))
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_pickle_is_refused(tmp_path: Path) -> None:
    torch.save({"head.bias": torch.zeros(3)}, tmp_path / "model.safetensors")
    with pytest.raises(SettingsError, match="not a safetensors file"):
        train_from(tmp_path / "model.safetensors", tmp_path / "run")


def test_weights_that_fit_nowhere_are_refused(tmp_path: Path) -> None:
    save_file({"other": torch.zeros(3)}, tmp_path / "other.safetensors")
    with pytest.raises(SettingsError, match=r"no tensor of .* fits the model: it has other"):
        train_from(tmp_path / "other.safetensors", tmp_path / "run")


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"there are no weights at .*none\.safetensors"):
        train_from(tmp_path / "none.safetensors", tmp_path / "run")


RECORDED = Path(__file__).parent / "data" / "recorded_run"
"""A run stopped in its second phase, the shared end of the first, and the weights that the whole
training ended with; written by the first version of the format."""
ARTIFACT_MARKER = "storage/phases/tiny/c4a89c458b4223c4/marker.json"
RECORDED_PHASES = [
    {
        "name": "a",
        "steps": 4,
        "schedule": {"kind": "cosine", "warmup_steps": 2},
        "batch_size": 4,
        "optimizer": "adamw",
        "lr": 0.02,
        "ema_decay": 0.8,
    },
    {
        "name": "b",
        "steps": 8,
        "schedule": {"kind": "poly"},
        "batch_size": 4,
        "optimizer": "adamw",
        "lr": 0.02,
        "ema_decay": 0.8,
    },
]


def assert_ends_as_recorded(folder: Path) -> None:
    found = load_file(folder / "checkpoints/b-00000008/model.safetensors")
    torch.testing.assert_close(
        found, load_file(RECORDED / "expected.safetensors"), rtol=1e-4, atol=1e-5
    )


def test_recorded_checkpoint_goes_on(tmp_path: Path) -> None:
    shutil.copytree(RECORDED / "run", tmp_path / "run")
    result = train_here(tmp_path / "run", phases=RECORDED_PHASES)
    assert (result.step, len(losses(tmp_path / "run"))) == (12, 3)
    assert_ends_as_recorded(tmp_path / "run")


def test_recorded_end_of_a_phase_is_found(tmp_path: Path) -> None:
    shutil.copytree(RECORDED / "storage", tmp_path / "storage")
    result = train_here(tmp_path / "run", phases=RECORDED_PHASES, storage=str(tmp_path / "storage"))
    assert (result.step, result.checkpoints) == (12, ("b-00000008",))
    assert_ends_as_recorded(tmp_path / "run")


def shape_of(value: Any) -> Any:
    """Return a JSON value's keys and types, without its values."""
    return (
        {k: shape_of(v) for k, v in value.items()}
        if isinstance(value, dict)
        else type(value).__name__
    )


def test_what_is_written_has_the_recorded_names_and_keys(tmp_path: Path) -> None:
    train_here(tmp_path / "run", phases=RECORDED_PHASES, storage=str(tmp_path / "storage"))
    for written, recorded in (
        ("run/checkpoints/b-00000008.json", "run/checkpoints/b-00000005.json"),
        ("run/checkpoints/b-00000008/state.json", "run/checkpoints/b-00000005/state.json"),
        (ARTIFACT_MARKER, ARTIFACT_MARKER),
    ):
        found = json.loads((tmp_path / written).read_text())
        assert shape_of(found) == shape_of(json.loads((RECORDED / recorded).read_text()))


def test_a_driver_that_was_cut_off_cannot_change_what_another_one_wrote(tmp_path: Path) -> None:
    run = Store(str(tmp_path))
    old, new = (
        Checkpoint(TrainState(0, "main", 5, 5, 0), {"w": torch.full((3,), v)}, {}, {})
        for v in (1.0, 2.0)
    )
    write_checkpoint(run, new, attempt=2)
    before = list_checkpoints(run)

    class CutOff(Store):
        """Looked around before the other one wrote."""

        def files(self, folder: str = "", *, recursive: bool = False) -> list[str]:
            return []

    write_checkpoint(CutOff(str(tmp_path)), old, attempt=1)
    assert list_checkpoints(run) == before
    latest = read_latest(run)
    assert latest is not None and latest.model["w"].tolist() == [2.0] * 3
    forget_partial(run)
    assert run.folders("checkpoints") == ["main-00000005.2"]
    assert read_latest(run) is not None


def test_each_start_has_a_number_of_its_own(tmp_path: Path) -> None:
    run = Store(str(tmp_path))
    assert [claim_attempt(run) for _ in range(3)] == [1, 2, 3]
    run.write("metrics/000007-00000001.jsonl", b"")
    assert claim_attempt(run) == next_attempt(run)


def test_what_killed_writers_left_goes_at_the_next_start(half_done: Path) -> None:
    folder = half_done / "checkpoints"
    (folder / "main-00000009").mkdir()
    (folder / "main-00000009" / "model.safetensors").write_bytes(b"half")
    (folder / "main-00000006.json.bak").write_bytes(b"somebody's")
    (folder / "mine").mkdir()
    (folder / "mine" / "kept").write_bytes(b"1")
    (folder / "main-00000003.json").write_bytes(b"{ damaged")
    forget_partial(Store(str(half_done)))
    left = sorted(p.name for p in folder.iterdir() if p.is_dir())
    assert left == ["main-00000003", "main-00000006", "mine"]
    assert train_here(half_done).finished


def snapshot(step: int, value: float = 1.0) -> Checkpoint:
    state = TrainState(phase_idx=0, phase="main", step=step, total_step=step, seed=0)
    return Checkpoint(state, {"w": torch.full((3,), value)}, {}, {})


def test_a_torn_marker_is_never_gone_while_it_is_replaced(tmp_path: Path) -> None:
    class Watching(Store):
        def delete(self, path: str, **options: Any) -> None:
            assert not path.endswith(".json"), f"{path} is gone for a moment"
            super().delete(path, **options)

    run = Watching(str(tmp_path))
    write_checkpoint(run, snapshot(3))
    truncate(tmp_path / "checkpoints/main-00000003/model.safetensors")
    assert not list_checkpoints(run)
    write_checkpoint(run, snapshot(3, 2.0), attempt=2)
    (marker,) = list_checkpoints(run)
    assert marker.folder == "main-00000003.2"
    latest = read_latest(run)
    assert latest is not None and float(latest.model["w"][0]) == 2.0


def test_a_marker_that_another_driver_finished_meanwhile_stays(tmp_path: Path) -> None:
    class Meanwhile(Store):
        def create(self, path: str, content: bytes) -> bool:
            write_checkpoint(Store(str(tmp_path)), snapshot(3, 7.0))
            return super().create(path, content)

    write_checkpoint(Meanwhile(str(tmp_path)), snapshot(3), attempt=2)
    latest = read_latest(Store(str(tmp_path)))
    assert latest is not None and float(latest.model["w"][0]) == 7.0


def test_copies_beside_checkpoints_are_passed_over_and_told(
    half_done: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = half_done / "checkpoints"
    shutil.copytree(folder / "main-00000006", folder / "main-00000006.bak")
    shutil.copy(folder / "main-00000006.json", folder / "main-00000006.bak.json")
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            names = [marker.name for marker in list_checkpoints(Store(str(half_done)))]
    assert names == ["main-00000003", "main-00000006"]
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 2 and all("no checkpoint of this run" in text for text in told)


def test_a_checkpoint_of_a_later_start_is_verified_where_its_files_are(tmp_path: Path) -> None:
    run = Store(str(tmp_path))
    write_checkpoint(run, snapshot(3), attempt=2)
    (marker,) = marked_checkpoints(run)
    assert damaged_files(run, marker) == []
    flip_last_byte(tmp_path / "checkpoints/main-00000003.2/model.safetensors")
    ((path, _),) = damaged_files(run, marker)
    assert path == "checkpoints/main-00000003.2/model.safetensors"
    forget_checkpoint(run, marker)
    assert not any((tmp_path / "checkpoints").iterdir())


def test_training_does_not_go_on_from_nan(half_done: Path) -> None:
    run = Store(str(half_done))
    latest = read_latest(run)
    assert latest is not None
    name = next(n for n, v in latest.model.items() if v.is_floating_point())
    latest.model[name].fill_(float("nan"))
    shutil.rmtree(half_done / "checkpoints/main-00000006")
    write_checkpoint(run, latest)
    with pytest.raises(EaglerayError, match=rf"main-00000006.*NaN in 1 of .*{name}.*--new"):
        train_here(half_done, checkpoint_every=3)
