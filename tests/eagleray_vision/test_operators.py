"""What the doctor learns about the compiled operators."""

from __future__ import annotations

from eagleray_kernels import kernel_status
from eagleray_vision.operators import operator_requirements


def named(requirements):
    return {r.name: r for r in requirements}


def test_operators_are_optional_and_told_as_they_are(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path))
    found = named(operator_requirements())["operators for cpu"]
    assert found.optional and not found.found
    (status,) = [d for d in kernel_status().devices if d.device == "cpu"]
    assert (found.build is None) == bool(status.obstacle)
    status.library.parent.mkdir(parents=True)
    status.library.touch()
    status.library.with_suffix(".complete").touch()
    found = named(operator_requirements())["operators for cpu"]
    assert found.found
    if found.build is not None:
        assert found.build() == status.library


def test_without_a_compiler_the_hint_names_it(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    found = named(operator_requirements())["operators for cpu"]
    assert found.build is None and "no C++ compiler" in found.hint
