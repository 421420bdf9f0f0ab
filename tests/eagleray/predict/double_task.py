"""A task that doubles the numbers in a user's files, importable by workers of other processes."""

import json
import os
from pathlib import Path
from typing import ClassVar

import torch
from torch import nn

from eagleray.task import InputError, Item, Prediction, Record, Settings, SettingsError

DIE_AT = "DOUBLE_DIES_AT"
"""Environment variable: number of the event (export made, or file written) that kills."""


class DoubleSettings(Settings):
    """What the exports depend on."""

    factor: int = 2
    """Multiplies the numbers."""


class DoubleTask(Prediction):
    """Formats ``text`` (a file each), ``list`` (a file over all), ``never`` (refused)."""

    name, summary, settings_type = "double", "Doubles numbers.", DoubleSettings
    formats: ClassVar = ("text", "list", "never")

    def build(self):
        return nn.Linear(1, 1)

    def predict(self, model, samples):
        assert torch.is_inference_mode_enabled()
        return [self.settings.factor * number for number in samples]

    def inputs(self, paths):
        for path in paths:
            for file in sorted(path.rglob("*.num")) if path.is_dir() else [path]:
                key = file.relative_to(path if path.is_dir() else path.parent)
                yield Item(key.with_suffix("").as_posix(), file.read_text(), {"path": str(file)})

    def load_input(self, item):
        try:
            return int(Path(item.payload["path"]).read_text())
        except ValueError as error:
            raise InputError(f"{item.payload['path']} holds no number") from error

    def check_format(self, format):
        if format == "never":
            raise SettingsError("these settings cannot give 'never'")

    def export(self, item, sample, prediction, format):
        if prediction == 26:
            raise InputError("13 brings bad luck")
        name = "../out.txt" if prediction == 34 else f"{format}/{item.key}.txt"
        files = {name: f"{prediction}\n".encode()} if format == "text" else {}
        return Record(item.key, {"value": prediction}, files)

    def export_index(self, format, rows):
        if format != "list":
            return {}
        assert len(rows) == len(list(rows))
        return {"list.json": json.dumps([row["value"] for row in rows]).encode()}


def die_after(store_type, event: int) -> None:
    """Let this process be killed at the n-th file that is written or created, before it is there,
    or, for odd events, right after.
    """
    left = [event // 2 + 1]

    def wrapped(name):
        original = getattr(store_type, name)

        def act(self, path, content):
            left[0] -= 1
            if left[0] == 0 and event % 2 == 0:
                os._exit(137)
            result = original(self, path, content)
            if left[0] == 0:
                os._exit(137)
            return result

        return act

    for name in ("write", "create"):
        setattr(store_type, name, wrapped(name))
