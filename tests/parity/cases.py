"""Finds the golden cases that the parity tests run.

Cases lie in ``$EAGLERAY_PARITY/<system>/``, by default in the copy beside this file. A file
belongs to the longest case name that begins its name, among all names that the tests of that
system ask for.
"""

from __future__ import annotations

import ast
import os
from pathlib import Path

HERE = Path(__file__).parent
SUFFIXES = (".npz", ".json")


def default_folder(system: str) -> Path:
    """Return the folder of the copies that are kept with the tests."""
    return HERE / "data" / system


def parity_folder(system: str) -> Path:
    """Return the folder whose cases are run."""
    root = os.environ.get("EAGLERAY_PARITY")
    return Path(root) / system if root else default_folder(system)


def cases(system: str, case: str) -> list[Path]:
    """Return the files of one case, sorted, whatever their seed, shape, number or suffix.

    Args:
        system: Folder of the system.
        case: First part of the file names.
    """
    known = known_cases(system) | {case}
    return [f for f in case_files(system) if _owner(f, known) == case]


def key_list(system: str, name: str) -> Path:
    """Return a file that a case needs beside its own: of the parity folder, else of the copy."""
    wanted = parity_folder(system) / name
    return wanted if wanted.exists() else default_folder(system) / name


def case_files(system: str) -> list[Path]:
    """Return all files of a system that are cases."""
    return sorted(f for f in parity_folder(system).glob("*") if f.suffix in SUFFIXES)


def known_cases(system: str) -> set[str]:
    """Return the names in the calls ``cases("<system>", "<case>")`` and ``key_list("<system>",
    "<name>")`` of that system's tests.
    """
    found = set()
    for path in HERE.glob(f"test_{system}*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in (
                "cases",
                "key_list",
            ):
                values = [a.value for a in node.args if isinstance(a, ast.Constant)]
                if len(values) == 2 and values[0] == system:
                    found.add(values[1])
    return found


def unknown_files(system: str) -> list[Path]:
    """Return the files that no test of the system runs."""
    known = known_cases(system)
    return [f for f in case_files(system) if _owner(f, known) is None]


def _owner(file: Path, known: set[str]) -> str | None:
    return max((c for c in known if file.name.startswith(c)), key=len, default=None)
