"""Single bit flips and files that are gone: named where they are read, found and forgotten."""

from __future__ import annotations

import json
import shutil
import threading
from pathlib import Path

import pytest
import torch
from tests.eagleray.stages import NumbersTask, Squares, tree

from eagleray.cli.main import run as command
from eagleray.experiment.schema import PrepareSettings
from eagleray.options import RunOptions
from eagleray.prepare import folder as stage_folder
from eagleray.prepare import open_rows, prepare_stages
from eagleray.progress import Silent
from eagleray.runs.run_folder import RunFolder
from eagleray.runs.trash import delete_run, empty_trash
from eagleray.storage import DamagedError, Store
from eagleray.train.checkpoint import (
    Checkpoint,
    TrainState,
    list_checkpoints,
    read_latest,
    write_checkpoint,
)
from eagleray.verify.storage import verify_storage


class Notes(Silent):
    """Progress that keeps what it is told."""

    def __init__(self):
        self.notes = []

    def note(self, text):
        self.notes.append(text)


def prepare(place, stage=None, progress=None):
    options = RunOptions(inline=True, progress=progress or Silent())
    task = NumbersTask((stage or Squares(12, files=True),))
    settings = PrepareSettings(items_per_shard=3)
    return prepare_stages(task, Store(str(place)), settings, options).summaries[0]


def flip(path: Path, position: int) -> None:
    content = bytearray(path.read_bytes())
    content[position % len(content)] ^= 0x10
    path.write_bytes(bytes(content))


@pytest.fixture(autouse=True)
def fresh_process(monkeypatch):
    """Let this test read as a process that has read nothing yet."""
    monkeypatch.setattr(stage_folder, "_CHECKED", set())


def read_all(folder):
    rows = open_rows(folder)
    return [(rows[key]["square"], rows.read_file(key, "notes/square.txt")) for key in rows.keys()]  # noqa: SIM118


@pytest.mark.parametrize("position", range(5, 605, 60))
def test_no_flipped_bit_of_a_shard_gives_rows(tmp_path, position):
    summary = prepare(tmp_path)
    flip(sorted(Path(summary.folder.uri, "shards").iterdir())[1], position)
    with pytest.raises(DamagedError, match=rf"eagleray verify {tmp_path} --repair"):
        read_all(summary.folder)


def test_a_file_that_was_replaced_is_told_with_its_shard(tmp_path):
    summary = prepare(tmp_path)
    path = sorted(Path(summary.folder.uri, "files").rglob("*.txt"))[4]
    path.write_bytes(b"9999")
    with pytest.raises(DamagedError, match=f"{path.name} of shard {path.parts[-3]}"):
        read_all(summary.folder)


def test_verify_finds_and_forgets_just_what_is_damaged(tmp_path, capsys):
    summary = prepare(tmp_path)
    before = tree(Path(summary.folder.uri))
    assert command(["verify", str(tmp_path)]) == 0
    assert "nothing is damaged" in capsys.readouterr().out
    shards = sorted(Path(summary.folder.uri, "shards").iterdir())
    flip(shards[0], 100)
    flip(sorted(Path(summary.folder.uri, "files").rglob("*.txt"))[-1], 0)
    assert len(verify_storage(str(tmp_path)).damages) == 2
    assert command(["verify", str(tmp_path)]) == 1
    assert shards[0].name in capsys.readouterr().out
    assert command(["verify", str(tmp_path), "--repair"]) == 0
    again = prepare(tmp_path)
    assert again.computed_shards == 2 and tree(Path(summary.folder.uri)) == before
    assert verify_storage(str(tmp_path)).damages == []


def test_prepare_notices_files_that_are_gone(tmp_path):
    summary, notes = prepare(tmp_path), Notes()
    before = tree(Path(summary.folder.uri))
    sorted(Path(summary.folder.uri, "shards").iterdir())[1].unlink()
    shutil.rmtree(sorted(Path(summary.folder.uri, "files").iterdir())[0])
    again = prepare(tmp_path, progress=notes)
    assert 1 <= again.computed_shards <= 2 and "are gone" in "".join(notes.notes)
    assert tree(Path(summary.folder.uri)) == before


def checkpoint(step):
    state = TrainState(0, "main", step, step, 0)
    return Checkpoint(state, {"w": torch.full((4,), float(step))}, {}, {})


def test_a_damaged_checkpoint_is_forgotten_and_written_anew(tmp_path):
    run = RunFolder(str(tmp_path / "runs/a/main-1"))
    for step in (1, 2):
        write_checkpoint(run, checkpoint(step))
    model = Path(run.uri, "checkpoints/main-00000002/model.safetensors")
    flip(model, -1)
    assert [one.path for one in verify_storage(str(tmp_path)).damages] == [str(model)]
    latest = read_latest(run)
    assert latest is not None and latest.state.step == 1
    assert [marker.step for marker in list_checkpoints(run)] == [1]
    write_checkpoint(run, checkpoint(2))
    assert verify_storage(str(tmp_path)).damages == []
    flip(model, -1)
    verify_storage(str(tmp_path), repair=True)
    assert [marker.step for marker in list_checkpoints(run)] == [1]


class Slow(Squares):
    """Squares that wait in the middle of their work."""

    def process(self, samples):
        if 6 in samples:
            self.reached.set()
            assert self.may_go.wait(60)
        return super().process(samples)


def test_prune_leaves_alone_what_is_worked_on(tmp_path):
    prepare(tmp_path, Squares(12, factor=3))
    stage = Slow(12)
    stage.reached, stage.may_go = threading.Event(), threading.Event()
    worker = threading.Thread(target=prepare, args=(tmp_path, stage))
    worker.start()
    assert stage.reached.wait(60)
    assert command(["prune", "--storage", str(tmp_path), "--delete"]) == 0
    stage.may_go.set()
    worker.join()
    (left,) = Store(str(tmp_path)).folders("prepared/numbers/squares")
    summary = prepare(tmp_path, Squares(12))
    assert left == summary.fingerprint and summary.computed_shards == 0
    assert not list(Path(summary.folder.uri).rglob("in_use/*"))


def test_a_damaged_run_never_makes_its_data_prunable(tmp_path, capsys):
    summary = prepare(tmp_path)
    run = RunFolder(str(tmp_path / "runs/a/main-1"))
    run.record_stages({"squares": summary.fingerprint})
    run.update_summary(task="numbers")
    run.write("summary.json", b'{"task": "numb')
    assert command(["prune", "--storage", str(tmp_path), "--delete"]) == 0
    assert summary.folder.store.exists("stage.json")
    run.write("stages.json", b'{"squares": "ab')
    assert command(["prune", "--storage", str(tmp_path), "--delete"]) == 1
    assert "stages.json is damaged" in capsys.readouterr().err
    assert summary.folder.store.exists("stage.json")


def test_no_flipped_bit_of_the_index_of_keys_gives_keys(tmp_path, capsys):
    summary = prepare(tmp_path)
    (path,) = Path(summary.folder.uri).glob("manifest/*.keys.parquet")
    whole = path.read_bytes()
    for position in range(0, len(whole), max(1, len(whole) // 40)):
        path.write_bytes(whole)
        flip(path, position)
        with pytest.raises(DamagedError, match=r"eagleray verify .* --repair"):
            open_rows(summary.folder).keys()
    assert str(path) in [damage.path for damage in verify_storage(str(tmp_path)).damages]
    verify_storage(str(tmp_path), repair=True)
    assert prepare(tmp_path).computed_shards == 0
    assert len(open_rows(summary.folder).keys()) == summary.rows


def test_an_index_of_keys_of_an_earlier_version_is_read(tmp_path):
    summary = prepare(tmp_path)
    (path,) = (p for p in Path(summary.folder.uri).glob("manifest/*.json"))
    manifest = json.loads(path.read_text())
    assert len(manifest.pop("keys")) == 64
    path.write_text(json.dumps(manifest))
    assert len(open_rows(summary.folder).keys()) == summary.rows


def test_prune_keeps_what_a_run_in_the_trash_needs(tmp_path):
    summary = prepare(tmp_path)
    run = RunFolder(str(tmp_path / "runs/a/main-1"))
    run.write(run.EXPERIMENT, b"task: numbers")
    run.record_stages({"squares": summary.fingerprint})
    run.update_summary(task="numbers")
    delete_run(str(tmp_path), "a/main-1")
    assert command(["prune", "--storage", str(tmp_path), "--delete"]) == 0
    assert summary.folder.store.exists("stage.json")
    empty_trash(str(tmp_path))
    assert command(["prune", "--storage", str(tmp_path), "--delete"]) == 0
    assert not summary.folder.store.exists("stage.json")
