"""Prediction on files, and import: every export is written and read back as a file."""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Any
from zipfile import ZipFile

import numpy as np
import torch
from PIL import Image
from torch import nn

from eagleray.check.data import check_movable
from eagleray.check.evaluation import predicted
from eagleray.check.findings import CheckReport
from eagleray.check.values import some
from eagleray.storage import Store
from eagleray.task import (
    EaglerayError,
    Importing,
    InputError,
    Item,
    Prediction,
    Record,
    SettingsError,
)

_IMAGES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp")


def check_prediction(
    task: Prediction,
    model: nn.Module,
    paths: Sequence[Path],
    folder: Path,
    num_items: int,
    report: CheckReport,
    *,
    are_stand_ins: bool,
) -> None:
    """Predict files and export them in every format.

    Args:
        task: The task.
        model: Its model.
        paths: Files and folders, as a user names them.
        folder: Where exports are written and read back.
        num_items: Files that are predicted.
        report: Takes what is found.
        are_stand_ins: The files are the benchmarks' pictures, which the task need not read.
    """
    where = "own files"
    items: list[Item] = []
    with report.checking("inputs are listed", where):
        items = list(task.inputs(list(paths)))[:num_items]
        keys = [item.key for item in items]
        if len(set(keys)) < len(keys):
            report.add("inputs are listed", where, f"two files have the same key: {some(keys)}")
    if not items:
        report.skip("predict and export", "inputs() lists none of the files; name some: --inputs")
        return
    samples: list[Any] = []
    with report.checking("inputs are read", where):
        task = pickle.loads(pickle.dumps(task))
        try:
            samples = [task.load_input(item) for item in items]
        except InputError as error:
            if not are_stand_ins:
                raise
            reason = "the task reads no pictures of its benchmarks; name files: --inputs"
            report.skip("predict and export", f"{reason} ({error})")
    if not samples:
        return
    check_movable(samples[0], "a sample of load_input()", where, report)
    predictions = predicted(task, model, samples, where, report)
    if predictions is None:
        return
    for name in task.formats:
        try:
            task.check_format(name)
        except SettingsError as error:
            report.skip(f"format {name}", str(error))
            continue
        _check_format(task, items, samples, predictions, name, folder / name, report)


def _check_format(
    task: Prediction,
    items: Sequence[Item],
    samples: Sequence[Any],
    predictions: Sequence[Any],
    name: str,
    folder: Path,
    report: CheckReport,
) -> None:
    where = f"format {name}"
    check = "exports are files"
    store = Store(str(folder))
    rows: list[Mapping[str, Any]] = []
    written: dict[str, str] = {}
    with report.checking(check, where), torch.inference_mode():
        for item, sample, prediction in zip(items, samples, predictions, strict=True):
            record = task.export(item, sample, prediction, name)
            if not isinstance(record, Record):
                report.add(check, where, f"export() gives {type(record).__name__}, no Record")
                return
            for file, content in record.files.items():
                if file in written:
                    report.add(
                        check,
                        where,
                        f"{written[file]} and {item.key} both write {file!r}; put the item's key "
                        "into the name",
                    )
                written[file] = item.key
                _write(store, file, content, where, report)
            rows.append(json.loads(json.dumps(dict(record.row))))
        for file, content in task.export_index(name, rows).items():
            if file in written:
                report.add(check, where, f"export_index() overwrites {file!r} of {written[file]}")
            written[file] = "the index"
            _write(store, file, content, where, report)
        if not written:
            report.add(check, where, "neither export() nor export_index() writes a file")
    for file in written:
        with report.checking(f"{PurePosixPath(file).suffix or file} can be read back", where):
            if (folder / file).is_file():
                read_back(folder / file)


def _write(store: Store, file: str, content: Any, where: str, report: CheckReport) -> None:
    parts = PurePosixPath(file).parts
    if not parts or file.startswith("/") or ".." in parts or "\\" in file:
        report.add(
            "exports are files", where, f"{file!r} is no relative path below the output folder"
        )
    elif not isinstance(content, bytes | bytearray | memoryview):
        report.add(
            "exports are files", where, f"{file!r} is {type(content).__name__}; files are bytes"
        )
    else:
        store.write(file, bytes(content))


def read_back(path: Path) -> None:
    """Read a file by its suffix; raises where it is not what its name says."""
    content, suffix = path.read_bytes(), path.suffix.lower()
    if not content:
        raise ValueError(f"{path.name} is empty")
    try:
        if suffix == ".json":
            json.loads(content)
        elif suffix in _IMAGES:
            Image.open(BytesIO(content)).load()
        elif suffix in (".npy", ".npz"):
            loaded = np.load(BytesIO(content))
            if suffix == ".npz":
                [loaded[name] for name in loaded.files]
        elif suffix == ".zip":
            ZipFile(BytesIO(content)).testzip()
        elif suffix in (".txt", ".csv"):
            content.decode()
    except Exception as error:
        raise ValueError(f"{path.name} is no {suffix} file: {error}") from error


def check_import(
    task: Importing,
    model: nn.Module | None,
    published: Path | None,
    folder: Path,
    report: CheckReport,
) -> None:
    """Import a file that is none, which must be refused, and a published one where there is one.

    Args:
        task: The task.
        model: Its model, for the names of its weights.
        published: A file of weights as the original publishes it; None for none.
        folder: A folder for files.
        report: Takes what is found.
    """
    check = "a wrong file is refused"
    with report.checking(check, "import"):
        wrong = folder / "wrong.pth"
        wrong.write_bytes(b"these are no weights")
        try:
            task.import_checkpoint(wrong)
        except EaglerayError:
            pass
        else:
            report.add(check, "import", "import_checkpoint() takes a text file for weights")
    if published is None or model is None:
        report.skip("import round trip", "no published weights are given: --published FILE")
        return
    with report.checking("import round trip", "import"):
        imported = task.import_checkpoint(published)
        own, given = model.state_dict(), imported.state_dict
        wrong_shapes = [n for n in given if n in own and own[n].shape != given[n].shape]
        for problem, names in (
            ("are not in the model", sorted(set(given) - set(own))),
            ("have another shape in the model", wrong_shapes),
            (
                "are neither imported nor named missing",
                sorted(set(own) - set(given) - set(imported.missing)),
            ),
            ("are both mapped and extra", sorted(set(imported.mapped) & set(imported.extra))),
        ):
            if names:
                report.add("import round trip", "import", f"weights {problem}: {some(names)}")
        model.load_state_dict({**own, **given})
