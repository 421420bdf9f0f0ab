"""The guide for authors names the hooks that there are, and all of them."""

import re
from pathlib import Path

from eagleray.task import Batches, Dataset, Importing, Querying, Stage, Task, Viewing

GUIDE = Path(__file__).resolve().parents[2] / "tasks" / "README.md"


def hooks(cls):
    names = {name for base in cls.__mro__ for name in vars(base) if base.__module__ != "builtins"}
    return {n for n in names if not n.startswith("_") and callable(getattr(cls, n))}


def test_the_table_of_hooks_is_whole():
    table = GUIDE.read_text().split("## Who calls what")[1].split("\n## ")[0]
    first = "\n".join(line.split("|")[1] for line in table.splitlines() if line.startswith("| `"))
    named = {name.split(".")[-1] for name in re.findall(r"`([A-Za-z_.]+)[`(]", first)}
    known = set()
    for cls in (Task, Importing, Viewing, Querying, Stage, Dataset, Batches):
        known |= hooks(cls)
    known -= {"settings_type", "flags_type"}
    assert named == known
