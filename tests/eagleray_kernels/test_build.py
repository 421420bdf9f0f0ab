"""Building: names, locks, failures, and the real compilers where they are."""

import logging
import multiprocessing
import time

import pytest
import torch

import eagleray_kernels as kernels
from eagleray_kernels import build


@pytest.fixture
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path))
    return tmp_path


@pytest.fixture
def fake_compiler(monkeypatch):
    """Stands in for the compilation alone; counts the calls."""
    calls = []

    def compile_into(device, library):
        calls.append(device)
        assert not (library.parent / "lock").exists()
        library.write_bytes(b"library")

    monkeypatch.setattr(build, "_compile", compile_into)
    monkeypatch.setattr(build, "obstacle", lambda device: "")
    return calls


def test_a_built_library_is_not_built_again(empty_cache, fake_compiler):
    first = build.build_library("cpu")
    assert first == build.build_library("cpu")
    assert first.is_relative_to(empty_cache)
    assert fake_compiler == ["cpu"]


def test_a_lock_that_a_killed_build_left_is_removed(empty_cache, fake_compiler, caplog):
    caplog.set_level(logging.WARNING, logger=build.__name__)
    library = build.library_path("cpu")
    library.parent.mkdir(parents=True)
    (library.parent / "lock").touch()
    build.build_library("cpu")
    assert fake_compiler == ["cpu"]
    assert "killed build" in caplog.text


def test_a_library_that_a_killed_build_left_half_is_built_again(empty_cache, fake_compiler):
    library = build.library_path("cpu")
    library.parent.mkdir(parents=True)
    library.write_bytes(b"half")
    build.build_library("cpu")
    assert fake_compiler == ["cpu"]
    assert library.read_bytes() == b"library"


def _build_slowly(counter):
    def compile_into(device, library):
        with counter.get_lock():
            counter.value += 1
        time.sleep(0.5)
        library.write_bytes(b"library")

    build._compile = compile_into
    build.obstacle = lambda device: ""
    build.build_library("cpu")


def test_concurrent_builders_compile_once(empty_cache):
    context = multiprocessing.get_context("fork")
    counter = context.Value("i", 0)
    builders = [context.Process(target=_build_slowly, args=(counter,)) for _ in range(3)]
    for builder in builders:
        builder.start()
    for builder in builders:
        builder.join(30)
        assert builder.exitcode == 0
    assert counter.value == 1


def test_a_change_of_sources_or_flags_changes_the_name(empty_cache, tmp_path, monkeypatch):
    before = build.library_path("cpu")
    assert before != build.library_path("cuda")
    monkeypatch.setattr(build, "_CPP_FLAGS", ("-O1",))
    assert build.library_path("cpu") != before
    monkeypatch.undo()
    copies = tmp_path / "csrc"
    copies.mkdir()
    (copies / "all.cpp").write_text("// other")
    monkeypatch.setattr(build, "_SOURCES", copies)
    assert build.library_path("cpu").name != before.name


def test_a_compilers_error_reaches_the_user(empty_cache, tmp_path, monkeypatch):
    if build.obstacle("cpu"):
        pytest.skip(build.obstacle("cpu"))
    sources = tmp_path / "csrc"
    sources.mkdir()
    (sources / "all.cpp").write_text("int broken( {")
    monkeypatch.setattr(build, "_SOURCES", sources)
    with pytest.raises(kernels.KernelBuildError, match="compiling for cpu failed"):
        build.build_library("cpu")
    assert not build.kernel_status().devices[0].is_built


def test_a_cache_that_cannot_be_written_is_named(tmp_path, monkeypatch, fake_compiler):
    blocked = tmp_path / "file"
    blocked.touch()
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(blocked))
    with pytest.raises(kernels.KernelBuildError, match="set TORCH_EXTENSIONS_DIR"):
        build.build_library("cpu")


def test_missing_tools_are_named(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert "no C++ compiler" in build.obstacle("cpu")
    monkeypatch.undo()
    if not build.obstacle("cpu"):
        monkeypatch.setattr(torch.version, "cuda", None)
        assert "CPU build" in build.obstacle("cuda")
        assert kernels.kernel_status().torch_cuda_version == ""


def test_status_tells_what_is_built(empty_cache, fake_compiler):
    assert [device.is_built for device in kernels.kernel_status().devices] == [False, False]
    build.build_library("cuda")
    status = kernels.kernel_status()
    assert [device.is_built for device in status.devices] == [False, True]
    assert status.torch_version == torch.__version__


@pytest.mark.slow
def test_the_cuda_sources_compile(empty_cache):
    if build.obstacle("cuda"):
        pytest.skip(build.obstacle("cuda"))
    library = build.build_library("cuda")
    assert library.stat().st_size > 100_000
