"""Which code made a stage's results: a digest of every module that its classes import.

The fingerprint of a stage hashes its declared version and settings, not its code, so that a comment
does not throw away a week of work. The code's digests lie beside the results instead. Where only
code has changed, the user is told which modules, and decides: compute anew, or keep.

Modules are followed through their import statements, within the task's own package and the
toolboxes (``eagleray_*``); the engine and other libraries are recorded by version
(``environment.json``). Comments and docstrings do not count.
"""

from __future__ import annotations

import ast
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any

from eagleray.prepare.fingerprint import cache_folder, canonical_json, short_hash
from eagleray.storage import Store
from eagleray.task import BaseTask, EaglerayError, Stage

_ENGINE = "eagleray"
_TOOLBOXES = "eagleray_"
_DEPTH = 3
"""How deep objects that a stage holds are looked into for classes of the task."""
_HELD = 64
"""Objects of one container that are looked into: a table of thousands holds one kind of them."""
_CACHE = "modules.json"
_PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"


@dataclass(frozen=True)
class Code:
    """What made some results.

    Args:
        python: Its minor version, of which the digests depend.
        modules: Digest by module.
        upstream: Digest of the code that made what the stage reads, by label.
    """

    python: str = _PYTHON
    modules: Mapping[str, str] = field(default_factory=dict)
    upstream: Mapping[str, str] = field(default_factory=dict)

    def encode(self) -> bytes:
        """Return the content of ``code.json``."""
        return canonical_json(asdict(self))

    @classmethod
    def decode(cls, content: bytes) -> Code:
        """Return what ``encode`` wrote; raises ValueError, KeyError or TypeError."""
        fields = json.loads(content)
        return cls(fields["python"], dict(fields["modules"]), dict(fields["upstream"]))

    @property
    def digest(self) -> str:
        """Name of all of it."""
        return short_hash(self.encode())

    def changes(self, now: Code) -> list[str]:
        """Return the modules and upstream stages that differ; nothing across Python's versions,
        whose digests cannot be compared.
        """
        if self.python != now.python:
            return []
        before = {**self.modules, **{f"what {k} gave": v for k, v in self.upstream.items()}}
        after = {**now.modules, **{f"what {k} gave": v for k, v in now.upstream.items()}}
        return sorted(k for k in before.keys() | after.keys() if before.get(k) != after.get(k))


def code_of(stage: Stage, upstream: Mapping[str, str]) -> Code:
    """Return the code that a stage runs.

    Args:
        stage: The stage; classes of the objects that it holds count too (a task, a reader).
        upstream: Digest of the code that made what it reads, by label.
    """
    held = list(_held(stage, _DEPTH))
    own = {cls.__module__.split(".")[0] for value in held for cls in _plugin_classes(value)}
    own -= {_ENGINE, "builtins", "abc", "typing"}
    modules = {cls.__module__ for value in held for cls in type(value).__mro__}
    roots = sorted(module for module in modules if _is_followed(module, own))
    return Code(modules=_digests(roots, own), upstream=dict(upstream))


def _held(value: object, depth: int) -> Iterator[object]:
    """Yield an object and what it holds."""
    yield value
    if depth == 0:
        return
    if isinstance(value, Mapping):
        inside: Iterable[object] = value.values()
    elif isinstance(value, list | tuple):
        inside = value
    else:
        inside = getattr(value, "__dict__", {}).values()
    for inner in islice(list(inside), _HELD):
        yield from _held(inner, depth - 1)


def _plugin_classes(value: object) -> Iterable[type]:
    return type(value).__mro__ if isinstance(value, Stage | BaseTask) else ()


def _is_followed(module: str, own: Set[str]) -> bool:
    package = module.split(".")[0]
    return package in own or package.startswith(_TOOLBOXES)


def _digests(roots: Iterable[str], own: Set[str]) -> dict[str, str]:
    """Return the digests of modules and of all that they import within the followed packages."""
    sources = _SourceCache()
    digests: dict[str, str] = {}
    waiting = list(roots)
    while waiting:
        module = waiting.pop()
        path = None if module in digests else _path_of(module)
        if path is None:
            continue
        digests[module], imported = sources.read(module, path)
        parents = [module.rpartition(".")[0]] if "." in module else []
        waiting += [name for name in (*imported, *parents) if _is_followed(name, own)]
    sources.save()
    return dict(sorted(digests.items()))


@cache
def _path_of(module: str) -> Path | None:
    """Return a module's file without importing it; None where it has none, or is no module."""
    known = getattr(sys.modules.get(module), "__file__", None)
    if known is None:
        try:
            spec = find_spec(module)
        except (ImportError, ValueError, AttributeError):
            return None
        known = spec.origin if spec else None
    return Path(known) if known and known.endswith(".py") else None


class _SourceCache:
    """Digest and imports of source files, remembered by path, size and time of change."""

    def __init__(self) -> None:
        self._store = Store(str(cache_folder()))
        self._is_changed = False
        try:
            self._known: dict[str, Any] = json.loads(self._store.read(_CACHE))
        except (OSError, ValueError):
            self._known = {}

    def read(self, module: str, path: Path) -> tuple[str, list[str]]:
        """Return the digest of a module's code, and the names that it imports."""
        try:
            status = path.stat()
        except OSError:
            return "missing", []
        stamp = [_PYTHON, status.st_size, status.st_mtime_ns, module]
        entry = self._known.get(str(path))
        if not isinstance(entry, dict) or entry.get("stamp") != stamp:
            digest, imported = _parsed(module, path)
            entry = {"stamp": stamp, "digest": digest, "imports": imported}
            self._known[str(path)] = entry
            self._is_changed = True
        return entry["digest"], entry["imports"]

    def save(self) -> None:
        """Remember what was read; a cache that cannot be written costs time only."""
        if self._is_changed:
            try:
                self._store.write(_CACHE, canonical_json(self._known))
            except (OSError, EaglerayError):
                return


def _parsed(module: str, path: Path) -> tuple[str, list[str]]:
    content = path.read_bytes()
    try:
        tree = ast.parse(content)
    except (SyntaxError, ValueError):
        return short_hash(content), []
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    imported = sorted(set(_imported(tree, package)))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = [part for part in node.body if not _is_text(part)]
    return short_hash(ast.dump(tree).encode("utf-8", "surrogatepass")), imported


def _is_text(node: ast.stmt) -> bool:
    """Return whether a statement is a docstring (or any other text that nothing reads)."""
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def _imported(tree: ast.Module, package: str) -> Iterator[str]:
    """Yield the names in all import statements, also inside of functions; of ``from a import b``
    both ``a`` and ``a.b``, which may be a module.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1]
            base = node.module or ""
            if node.level:
                base = ".".join([*above, *([node.module] if node.module else [])])
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)
