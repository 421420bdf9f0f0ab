"""Prediction through the shard machinery: exports, rejects, restarts, changed outputs."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from safetensors.torch import save_file
from tests.eagleray.predict.double_task import DoubleSettings, DoubleTask

from eagleray.experiment.schema import EvaluateSettings, ExperimentSettings
from eagleray.options import RunOptions
from eagleray.predict import predict_files
from eagleray.predict.driver import _items_per_shard
from eagleray.storage import SharedFile, Store
from eagleray.task import EaglerayError, Item, Record, SettingsError


def write_numbers(folder: Path, count: int = 12) -> Path:
    for number in range(1, count + 1):
        path = folder / f"d{number % 3}" / f"n{number:02d}.num"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(str(number))
    return folder


def predict(folder, numbers, formats=("text", "list"), *, factor=2, output="out", **options):
    task = DoubleTask(DoubleSettings(factor=factor))
    workers = None if options.get("inline", True) else 2  # asked for, else so little runs here
    experiment = ExperimentSettings(
        name="double",
        task="double",
        settings=task.settings,
        device="cpu",
        evaluate=EvaluateSettings(workers=workers),
    )
    weights = folder / "model.safetensors"
    if not weights.exists():
        save_file({k: torch.zeros_like(v) for k, v in task.build().state_dict().items()}, weights)
    paths = [numbers] if isinstance(numbers, Path) else numbers
    return predict_files(
        experiment,
        task,
        SharedFile.of(weights),
        paths,
        Store(str(folder / output)),
        formats,
        RunOptions(**{"device": "cpu", "inline": True, **options}),
    )


def tree(folder: Path) -> dict[str, bytes]:
    """Return everything below a folder but the workers' times."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "log" not in path.relative_to(folder).parts
    }


def exports(folder: Path) -> dict[str, str]:
    found = {n: c.decode() for n, c in tree(folder).items() if not n.startswith(".eagleray")}
    return {n: json.loads(c) if n.endswith("json") else c.strip() for n, c in found.items()}


def test_every_file_is_exported_in_every_format(tmp_path):
    numbers = write_numbers(tmp_path / "in")
    summary = predict(tmp_path, numbers)
    found = exports(tmp_path / "out")
    assert found.pop("list.json") == [6, 12, 18, 24, 2, 8, 14, 20, 4, 10, 16, 22]
    assert found == {f"text/d{n % 3}/n{n:02d}.txt": str(2 * n) for n in range(1, 13)}
    assert (summary.items, summary.rejected, len(summary.files)) == (12, (), 13)


def test_what_cannot_be_read_or_exported_is_counted_and_the_rest_goes_on(tmp_path):
    numbers = write_numbers(tmp_path / "in", 17)
    (numbers / "text.num").write_text("no number")
    summary = predict(tmp_path, numbers)
    assert {key for key, _ in summary.rejected} == {"d1/n13", "d2/n17", "text"}
    errors = dict(summary.rejected)
    assert "holds no number" in errors["text"]
    assert "13 brings bad luck" in errors["d1/n13"]
    assert "leaves the output folder" in errors["d2/n17"]
    assert not (tmp_path / "out.txt").exists()
    assert len(exports(tmp_path / "out")["list.json"]) == summary.items - 3 == 15


def test_same_command_computes_nothing_twice(tmp_path, monkeypatch):
    numbers = write_numbers(tmp_path / "in")
    first = predict(tmp_path, numbers)
    before = tree(tmp_path / "out")
    monkeypatch.setattr(DoubleTask, "predict", None)
    assert predict(tmp_path, numbers) == first
    assert tree(tmp_path / "out") == before


def test_new_files_are_added_to_what_is_there(tmp_path):
    numbers = write_numbers(tmp_path / "in")
    predict(tmp_path, numbers)
    (numbers / "new.num").write_text("50")
    assert predict(tmp_path, numbers).items == 13
    assert exports(tmp_path / "out")["text/new.txt"] == "100"
    assert len(exports(tmp_path / "out")["list.json"]) == 13


def test_deleted_and_damaged_exports_are_made_again(tmp_path):
    numbers = write_numbers(tmp_path / "in")
    predict(tmp_path, numbers)
    before = tree(tmp_path / "out")
    (tmp_path / "out/text/d1/n01.txt").unlink()
    (tmp_path / "out/text/d2/n05.txt").write_text("damaged")
    (tmp_path / "out/list.json").unlink()
    predict(tmp_path, numbers)
    assert tree(tmp_path / "out") == before


def test_exports_that_another_prediction_overwrote_come_back(tmp_path):
    numbers = write_numbers(tmp_path / "in")
    predict(tmp_path, numbers)
    before = exports(tmp_path / "out")
    predict(tmp_path, numbers, factor=3)
    assert exports(tmp_path / "out") != before
    predict(tmp_path, numbers)
    assert exports(tmp_path / "out") == before


def test_other_files_of_the_same_names_do_not_pass_for_the_first_ones(tmp_path):
    numbers = write_numbers(tmp_path / "in")
    other = write_numbers(tmp_path / "other")
    (other / "d1/n01.num").write_text("70")
    predict(tmp_path, numbers)
    predict(tmp_path, other)
    assert exports(tmp_path / "out")["text/d1/n01.txt"] == "140"
    predict(tmp_path, numbers)
    assert exports(tmp_path / "out")["text/d1/n01.txt"] == "2"


def test_file_by_file_and_in_batches_give_the_same_bytes(tmp_path):
    numbers = write_numbers(tmp_path / "in", 40)
    predict(tmp_path, numbers)
    task = DoubleTask(DoubleSettings())
    experiment = ExperimentSettings(
        name="double", task="double", settings=task.settings, device="cpu"
    )
    evaluate = experiment.evaluate.model_copy(update={"batch_size": 4})
    predict_files(
        experiment.model_copy(update={"evaluate": evaluate}),
        task,
        SharedFile.of(tmp_path / "model.safetensors"),
        [numbers],
        Store(str(tmp_path / "batched")),
        ["text", "list"],
        RunOptions(device="cpu", inline=True),
    )
    assert exports(tmp_path / "batched") == exports(tmp_path / "out")


@pytest.mark.parametrize(
    ("count", "batch", "expected"),
    [(1, 1, 1), (10, 1, 1), (200, 1, 8), (10**6, 1, 8), (10, 4, 4), (200, 4, 8), (1000, 6, 48)],
)
def test_shards_hold_some_batches(count, batch, expected):
    assert _items_per_shard(count, batch) == expected


def test_limit_takes_the_first_files(tmp_path):
    summary = predict(tmp_path, write_numbers(tmp_path / "in"), limit=2)
    assert summary.items == 2
    assert exports(tmp_path / "out")["list.json"] == [6, 12]


def test_default_format_is_the_first_one_and_none_is_written_twice(tmp_path):
    numbers = write_numbers(tmp_path / "in", 2)
    assert len(predict(tmp_path, numbers, ()).files) == 2
    assert len(predict(tmp_path, numbers, ("text", "text")).files) == 2


def test_refusals_come_before_anything_is_written(tmp_path):
    numbers = write_numbers(tmp_path / "in")
    (tmp_path / "empty").mkdir()
    cases = [
        (numbers, ("text", "never"), {}, "cannot give 'never'"),
        (numbers, ("txt",), {}, "text"),
        (tmp_path / "gone", (), {}, "no file or folder"),
        (tmp_path / "empty", (), {}, "nothing to predict.*empty"),
        (numbers, (), {"output": "in/out"}, "lies in.*choose another --output"),
        (numbers, (), {"output": "in"}, "lies in"),
    ]
    for paths, formats, options, message in cases:
        with pytest.raises(SettingsError, match=message):
            predict(tmp_path, paths, formats, **options)
        assert not (tmp_path / options.get("output", "out") / ".eagleray").exists()


def test_output_that_cannot_be_written_ends_the_job_and_rejects_nothing(tmp_path, monkeypatch):
    numbers = write_numbers(tmp_path / "in")
    write = Store.write

    def full(self, path, content):
        if path.endswith("n05.txt"):
            raise EaglerayError("cannot write: the disk is full")
        write(self, path, content)

    monkeypatch.setattr(Store, "write", full)
    with pytest.raises(EaglerayError, match="disk is full"):
        predict(tmp_path, numbers)
    monkeypatch.undo()
    assert predict(tmp_path, numbers).rejected == ()


def test_workers_note_what_they_did_and_when(tmp_path):
    predict(tmp_path, write_numbers(tmp_path / "in"))
    (log,) = (tmp_path / "out/.eagleray/log").iterdir()
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert sorted({line["what"] for line in lines}) == ["device", "export", "load"]
    assert len(lines) == 3 * 12
    assert all(line["begin_s"] <= line["end_s"] for line in lines)


_DYING = """
import os, sys
from pathlib import Path
from typing import ClassVar
from tests.eagleray.predict.double_task import die_after
from tests.eagleray.predict.test_driver import predict
from eagleray.storage import SharedFile, Store
for event in map(int, sys.argv[3:]):
    child = os.fork()  # imports once, and no thread runs yet
    if child == 0:
        die_after(Store, event)
        predict(Path(sys.argv[1]) / str(event), Path(sys.argv[2]))
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_killed_at_any_file_the_same_command_ends_in_the_same_bytes(tmp_path):
    """Before and after exports, rows, markers, the manifest and the JSON over all."""
    numbers = write_numbers(tmp_path / "in", 5)
    events = list(range(0, 50, 3))
    for name in ("whole", *events):
        (tmp_path / str(name)).mkdir()
    predict(tmp_path / "whole", numbers)
    expected = tree(tmp_path / "whole" / "out")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    arguments = [sys.executable, "-c", _DYING, tmp_path, numbers, *events]
    done = subprocess.run(
        list(map(str, arguments)), env=environment, capture_output=True, text=True, timeout=240
    )
    statuses = [int(line) for line in done.stdout.split()]
    assert len(statuses) == len(events), done.stderr
    assert set(statuses) <= {0, 137}, done.stderr
    unfinished = [event for event in events if tree(tmp_path / str(event) / "out") != expected]
    assert len(unfinished) >= 10
    for event in events:
        predict(tmp_path / str(event), numbers)
        assert tree(tmp_path / str(event) / "out") == expected


class FlatTask(DoubleTask):
    """Writes every format under the name of the file, and forgets suffixes."""

    formats: ClassVar = ("half", "double")

    def inputs(self, paths):
        for path in paths:
            for file in sorted(path.rglob("*.*")):
                yield Item(file.stem, file.read_text(), {"path": str(file)})

    def export(self, item, sample, prediction, format):
        value = prediction if format == "double" else sample // 2
        return Record(item.key, {"value": value}, {f"{item.key}.txt": f"{value}\n".encode()})

    def export_index(self, format, rows):
        return {"all.txt": f"{[row['value'] for row in rows]}\n".encode()}


class OneNameTask(FlatTask):
    """Writes all files under one name."""

    def export(self, item, sample, prediction, format):
        return Record(item.key, {"value": 0}, {"out.txt": b"0"})


def predict_flat(folder, task_cls, formats):
    task = task_cls(DoubleSettings())
    experiment = ExperimentSettings(name="flat", task="flat", settings=task.settings, device="cpu")
    weights = folder / "model.safetensors"
    save_file({k: torch.zeros_like(v) for k, v in task.build().state_dict().items()}, weights)
    options = RunOptions(device="cpu", inline=True)
    return predict_files(
        experiment,
        task,
        SharedFile.of(weights),
        [folder / "in"],
        Store(str(folder / "out")),
        formats,
        options,
    )


def test_formats_of_one_name_have_a_folder_each(tmp_path):
    write_numbers(tmp_path / "in", 2)
    summary = predict_flat(tmp_path, FlatTask, ("half", "double"))
    assert len(summary.files) == len(set(summary.files)) == 6
    assert exports(tmp_path / "out") == {
        "half/n01.txt": "0", "half/n02.txt": "1", "half/all.txt": "[0, 1]",
        "double/n01.txt": "2", "double/n02.txt": "4", "double/all.txt": "[2, 4]",
    }  # fmt: skip


def test_keys_that_collide_keep_their_suffixes(tmp_path):
    (tmp_path / "in" / "b").mkdir(parents=True)
    for name, text in {"a.jpg": "1", "a.png": "2", "b/a.png": "3", "c.png": "4"}.items():
        (tmp_path / "in" / name).write_text(text)
    found = exports(predict_flat(tmp_path, FlatTask, ("double",)) and tmp_path / "out")
    assert found.pop("all.txt") == "[2, 4, 6, 8]"
    assert {"a.jpg.txt": "2", "c.txt": "8"}.items() <= found.items()
    assert sorted(found.values()) == ["2", "4", "6", "8"] and len(found) == 4


def test_exports_that_overwrite_each_other_are_told(tmp_path):
    write_numbers(tmp_path / "in", 2)
    with pytest.raises(EaglerayError, match=r"overwrote it, such as 'out.txt'"):
        predict_flat(tmp_path, OneNameTask, ("double",))
