"""Stages on their first items: listing, loading, records against the schema, and the rows that the
engine stores of them.
"""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

import torch

from eagleray.check.findings import CheckReport
from eagleray.check.values import difference
from eagleray.options import RunOptions
from eagleray.prepare import StageFolder, StageRun, run_stage, stage_fingerprint
from eagleray.prepare.columns import arrow_schema, to_table
from eagleray.storage import Store
from eagleray.task import BaseTask, InputError, Item, Record, Rows, Stage

ALL_ROWS = "stages"
"""Where findings about the stages together belong."""


def check_stages(
    task: BaseTask, storage: Store, num_items: int, report: CheckReport
) -> dict[str, Rows]:
    """Check all stages of a task, upstream first.

    Args:
        task: The task.
        storage: Where the rows go.
        num_items: Items per stage.
        report: Takes what is found.

    Returns:
        The rows of the stages by label; one with findings, and what reads it, has none.
    """
    rows: dict[str, Rows] = {}
    stages: Sequence[Stage] = ()
    with report.checking("stages are listed", ALL_ROWS):
        stages = list(task.stages())
        labels = [stage.label for stage in stages]
        twice = sorted({label for label in labels if labels.count(label) > 1})
        if twice:
            report.add("stages are listed", ALL_ROWS, f"two stages have the label {twice[0]!r}")
    for stage in stages:
        missing = [label for label in stage.upstream if label not in rows]
        if missing:
            report.skip(f"stage {stage.label}", f"it reads {missing[0]}, which has no rows")
            continue
        upstream = {label: rows[label] for label in stage.upstream}
        _check_stage(stage, upstream, num_items, report)
        if report.is_clean(f"stage {stage.label}"):
            _store(stage, upstream, storage, num_items, report, rows)
    return rows


def _check_stage(
    stage: Stage, upstream: Mapping[str, Rows], num_items: int, report: CheckReport
) -> None:
    where = f"stage {stage.label}"
    with report.checking("schema is known", where):
        arrow_schema(stage.schema)
    with report.checking("settings can be stored", where):
        json.dumps(stage.settings().model_dump(mode="json"))
    with report.checking("it can be pickled", where):
        stage = pickle.loads(pickle.dumps(stage))
    items: list[Item] = []
    with report.checking("items are stable", where):
        items = list(islice(stage.items(upstream), num_items))
        _check_items(items, list(islice(stage.items(upstream), num_items)), where, report)
    if not items or not report.is_clean(where):
        return
    samples: list[Any] = []
    stage = copy.copy(stage)
    with report.checking("setup", where):
        stage.setup("cpu", upstream, {})
        if stage.fit_items:
            fitted = stage.fit([stage.load(item) for item in items[: stage.fit_items]])
            stage.setup("cpu", upstream, json.loads(json.dumps(fitted)))
    if report.is_clean(where):
        samples = _load_twice(stage, items, where, report)
    if samples and report.is_clean(where):
        with report.checking("records fit the schema", where):
            _check_records(stage, samples, where, report)


def _check_items(first: list[Item], again: list[Item], where: str, report: CheckReport) -> None:
    check = "items are stable"
    if not first:
        report.add(check, where, "items() lists nothing; look at the task's settings")
    keys = [item.key for item in first]
    twice = sorted({key for key in keys if keys.count(key) > 1})
    if twice:
        report.add(check, where, f"two items have the key {twice[0]!r}; keys must be unique")
    for one, other in zip(first, again, strict=False):
        if one != other:
            report.add(
                check,
                where,
                f"items() gives {one.key!r} ({one.identity!r}) first and {other.key!r} "
                f"({other.identity!r}) when it is called again; keys and identities must stay",
            )
            return
    for item in first:
        if difference(json.loads(json.dumps(item.payload)), dict(item.payload)):
            report.add(
                check,
                where,
                f"the payload of {item.key!r} changes as JSON; use lists, strings, numbers, "
                "booleans and None",
            )
            return


def _load_twice(stage: Stage, items: Sequence[Item], where: str, report: CheckReport) -> list[Any]:
    """Load every item twice with other global seeds; return what can be loaded."""
    samples = []
    rejected = []
    with report.checking("load is deterministic", where):
        for item in items:
            try:
                torch.manual_seed(1)
                first = stage.load(item)
                torch.manual_seed(2)
                again = stage.load(item)
            except InputError as error:
                rejected.append(str(error))
                continue
            samples.append(first)
            changed = difference(first, again)
            if changed:
                report.add(
                    "load is deterministic",
                    where,
                    f"load({item.key!r}) gives another {changed} when it is called again",
                )
        if not samples:
            report.add("load is deterministic", where, f"no item can be read: {rejected[0]}")
    return samples


def _check_records(stage: Stage, samples: list[Any], where: str, report: CheckReport) -> None:
    check = "records fit the schema"
    size = stage.resources.batch_size
    processed: list[Any] = []
    for start in range(0, len(samples), size):
        batch = samples[start : start + size]
        results = stage.process(batch)
        if len(results) != len(batch):
            report.add(
                check,
                where,
                f"process() gives {len(results)} results for {len(batch)} samples; it must give "
                "one per sample",
            )
            return
        processed += results
    keys: list[str] = []
    for result in processed:
        records = stage.encode(result)
        if isinstance(records, Record) or not all(isinstance(r, Record) for r in records):
            report.add(
                check,
                where,
                f"process() and encode() give {type(records).__name__} for a sample; each sample "
                "needs a sequence of Records",
            )
            return
        keys += [record.key for record in records]
        to_table(records, "", arrow_schema(stage.schema))
        for name, content in ((n, c) for record in records for n, c in record.files.items()):
            if not isinstance(content, bytes | bytearray | memoryview):
                report.add(
                    check, where, f"file {name!r} is {type(content).__name__}; files are bytes"
                )
    twice = sorted({key for key in keys if keys.count(key) > 1})
    if twice:
        report.add(check, where, f"two records have the key {twice[0]!r}; keys must be unique")


def _store(
    stage: Stage,
    upstream: Mapping[str, Rows],
    storage: Store,
    num_items: int,
    report: CheckReport,
    rows: dict[str, Rows],
) -> None:
    """Run the stage through the engine; its rows are what the rest of the task reads."""
    where = f"stage {stage.label}"
    with report.checking("rows are stored and read", where):
        fingerprint = stage_fingerprint(stage, dict.fromkeys(stage.upstream, "checked"))
        folder = StageFolder(storage.child(f"{stage.label.replace(':', '-')}-{fingerprint}"))
        options = RunOptions(inline=True, limit=num_items, device="cpu")
        summary, stored = run_stage(StageRun(stage, folder, upstream), options)
        for key in stored.keys()[:num_items]:
            stored[key]
        json.dumps(dict(stored.summary()))
        if not summary.rows:
            report.add(
                "rows are stored and read",
                where,
                f"{summary.items} items gave no row; the first reject: {summary.rejects[:1]}",
            )
            return
        rows[stage.label] = stored
