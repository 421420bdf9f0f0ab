"""Data sets: samples by key, alike however often they are read, whose tensors can be moved."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from eagleray.check.findings import CheckReport
from eagleray.check.values import difference, some, stray_tensors
from eagleray.devices import to_device
from eagleray.task import Batches, Dataset, DataTask, InputError, Rows

_ELSEWHERE = torch.device("meta")
"""A device that has no memory: what is moved there shows that it can be moved anywhere."""


def open_data(
    task: DataTask, source: str, rows: Mapping[str, Rows], where: str, report: CheckReport
) -> Dataset | Batches | None:
    """Return a data source that can be opened and pickled, None with a finding."""
    data: Dataset | Batches | None = None
    with report.checking("data can be opened", where):
        data = task.dataset(source, rows)
        if isinstance(data, Dataset):
            copied: Dataset = pickle.loads(pickle.dumps(data))
            if len(copied) == 0:
                report.add("data can be opened", where, f"dataset({source!r}) has no samples")
                return None
            data = copied
    return data


def load_samples(
    data: Dataset, count: int, where: str, report: CheckReport
) -> tuple[list[str], list[Any]]:
    """Load the first samples, each twice with other global seeds; return keys and samples."""
    keys: list[str] = []
    samples: list[Any] = []
    check = "load is deterministic"
    with report.checking(check, where):
        for index in range(min(count, len(data))):
            key = data.key(index)
            try:
                first = _load_seeded(data, index, 1)
                again = _load_seeded(data, index, 2)
            except InputError as error:
                report.skip(f"{where}, sample {key}", str(error))
                continue
            changed = difference(first, again)
            if changed:
                report.add(
                    check,
                    where,
                    f"load({index}) gives another {changed} for the same rng; take all randomness "
                    "from the rng that load is given",
                )
            keys.append(key)
            samples.append(first)
        if not samples:
            report.add(check, where, "none of the first samples can be read")
        if len(set(keys)) < len(keys):
            report.add(check, where, f"two samples have the same key: {some(sorted(keys))}")
    return keys, samples


def _load_seeded(data: Dataset, index: int, global_seed: int) -> Any:
    torch.manual_seed(global_seed)
    np.random.seed(global_seed)
    return data.load(index, np.random.default_rng(0))


def check_movable(value: Any, what: str, where: str, report: CheckReport) -> None:
    """Find tensors that stay behind when the engine moves a batch or sample to a device."""
    with report.checking("tensors can be moved", where):
        stray = stray_tensors(to_device(value, _ELSEWHERE), _ELSEWHERE)
        if stray:
            report.add(
                "tensors can be moved",
                where,
                f"{what} holds tensors that the engine cannot move to a device: {some(stray)}; "
                "use tensors in dataclasses, tuples, lists and dicts",
            )
