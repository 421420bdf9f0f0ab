"""The rules of the house that a test can hold: layout, direction of imports, names and sizes."""

from __future__ import annotations

import ast
import platform
import re
import subprocess
from collections import defaultdict
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TOPS = ("platform", "tasks", "cuda_ops")
SOURCES = [p for top in TOPS for p in sorted((ROOT / top).rglob("*.py"))]
TEXT_SUFFIXES = (".py", ".md", ".yaml", ".toml", ".txt", ".json", ".sh", "")
FIVE = ("ops", "pop3d", "omniseg3d", "efficientps", "seamseg")
SYSTEMS = [s for s in (f"eagleray_{n}" for n in FIVE) if (ROOT / "tasks" / s / "task.py").exists()]
ROOMS = [
    *("task.py", "settings.py", "stages.py", "data.py", "model", "losses.py", "benchmarks.py"),
    *("predict.py", "published.py", "checkpoint_import.py"),
]
MAX_FILE_LINES, MAX_FUNCTION_LINES = 600, 80


def imported_modules(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def roots(modules: set[str]) -> set[str]:
    return {m.split(".")[0] for m in modules}


def package_of(path: Path) -> str:
    return path.relative_to(ROOT).parts[1]


def test_source_roots_are_no_packages():
    for top in TOPS:
        assert not (ROOT / top / "__init__.py").exists(), f"{top}/ is a source root, not a package"
    assert Path(platform.__file__).name == "platform.py"


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_run_one_way(path):
    modules, package = imported_modules(path), package_of(path)
    ours = {m for m in roots(modules) if m.startswith("eagleray")}
    if package == "eagleray":
        assert ours <= {"eagleray"}, "the engine imports no plugin, toolbox or kernel"
        return
    assert not roots(modules) & {"ray", "deepspeed"}, "only the engine imports ray or deepspeed"
    from_engine = {m for m in modules if m.split(".")[0] == "eagleray"}
    assert all(m == "eagleray" or m.startswith("eagleray.task") for m in from_engine), from_engine
    shared = {"eagleray_kernels", "eagleray_vision", "eagleray"}
    allowed = {
        "eagleray_kernels": {"eagleray_kernels"},
        "eagleray_vision": {"eagleray_kernels", "eagleray_vision", "eagleray"},
        "eagleray_toyworld": {*shared, "eagleray_toyworld"},
    }.get(package, {*shared, "eagleray_toyworld", package})
    assert ours <= allowed, f"{package} must not import {ours - allowed}"


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts[1:]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room_of(module: str, modules: dict[str, Path]) -> str:
    """Return the folder of a package that a module lies in, or the module where it lies in none."""
    package, *rest = module.split(".")
    if not rest:
        return module
    inside = f"{package}.{rest[0]}"
    return inside if modules.get(inside, ROOT).name == "__init__.py" else module


def imports_of_ours() -> dict[str, set[str]]:
    modules = {module_of(path): path for path in SOURCES}
    graph = {}
    for module, path in modules.items():
        names = imported_modules(path) & set(modules)
        # `from package.module import name` names the package too: what counts is what is read.
        graph[module] = {n for n in names if not any(o.startswith(f"{n}.") for o in names)}
    return graph


@pytest.mark.parametrize("level", ["files", "rooms"])
def test_no_circle_of_imports(level):
    modules = {module_of(path): path for path in SOURCES}
    graph: dict[str, set[str]] = defaultdict(set)
    for module, imported in imports_of_ours().items():
        for other in imported:
            ends = [module, other]
            if level == "rooms":
                ends = [room_of(end, modules) for end in ends]
            if ends[0] != ends[1]:
                graph[ends[0]].add(ends[1])
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(reversed(error.args[1])))


def test_no_docstring_only_points_elsewhere():
    pointing = re.compile(r'^\s*"""(See|As in|Same as|Like) [`A-Za-z.]*\.?"""', re.M)
    assert not [str(p.relative_to(ROOT)) for p in SOURCES if pointing.search(p.read_text())]


def test_no_reference_leaves_the_repository():
    outside = re.compile(r"\bspecs/|\bspec (section )?[0-9]|platform-facts|\bdesign\.md")
    texts = [*SOURCES, *(ROOT / "experiments").rglob("*.yaml"), *(ROOT / "docs").rglob("*.md")]
    texts += [p for top in TOPS for p in (ROOT / top).rglob("*.md")]
    assert not [str(p.relative_to(ROOT)) for p in texts if outside.search(p.read_text())]


def test_references_to_the_originals_exist():
    section = re.compile(r"docs/originals/([a-z0-9]+)\.md,?(?: section)? ([0-9]+(?:\.[0-9]+)?)")
    for path in SOURCES:
        for system, number in section.findall(path.read_text()):
            page = (ROOT / "docs" / "originals" / f"{system}.md").read_text()
            heading = re.compile(rf"^(#+ )?\(?{re.escape(number)}\.? ", re.M)
            assert heading.search(page), f"{path.relative_to(ROOT)}: {system}.md has no {number}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_files_and_functions_stay_small(path):
    text = path.read_text()
    assert len(text.splitlines()) <= MAX_FILE_LINES
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno - node.lineno < MAX_FUNCTION_LINES, node.name
    assert path.name not in ("utils.py", "helpers.py", "misc.py", "common.py")


def test_every_plugin_has_the_same_rooms():
    for system in SYSTEMS:
        folder = ROOT / "tasks" / system
        assert not [room for room in ROOMS if not (folder / room).exists()], system


def test_no_path_of_a_machine_and_no_address_of_a_registry():
    listed = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files"], capture_output=True, text=True, check=True
    ).stdout.split()
    private = re.compile(r"(^|[^A-Za-z0-9_./])/(root|home|work|mnt)/")
    address = re.compile(r"https?://[^\s\"')]*(pypi|npmjs|pythonhosted|debian)", re.I)
    for name in listed:
        path = ROOT / name
        if path.suffix not in TEXT_SUFFIXES or not path.is_file():
            continue
        for number, line in enumerate(path.read_text(errors="ignore").splitlines(), 1):
            assert not private.search(line), f"{name}:{number}"
            assert not address.search(line), f"{name}:{number}"
